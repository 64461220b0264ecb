//! Mail data: in from the wire (end of data, un-stuffing, BDAT, bare CR and LF) and out to it
//! (dot-stuffing). The strict half of the promise that nothing is smuggled.
//!
//! All that the decoder does depends on an octet and on the few that came before it on the wire.
//! So its state is just these few octets, and the end of data is one comparison with them.

use std::ops::Range;

use bytes::Bytes;

/// Mail data: `*( line CRLF )`, where no line holds a CR or LF. Only the decoders of this file make
/// it, so that the writer has nothing to check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailData(Bytes);

impl MailData {
    /// Makes mail data of any octets: LF without CR becomes CRLF, CR without LF becomes a space,
    /// a last line without CRLF gets one.
    pub fn normalise(octets: &[u8]) -> Self {
        let mut decoder = ContentDecoder::new(octets.len(), u64::MAX);
        decoder.chunk(octets);
        decoder.finish()
    }

    /// The octets.
    pub fn octets(&self) -> &Bytes {
        &self.0
    }
}

/// What becomes of a CR or LF that stands alone in mail data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineEndings {
    /// LF becomes CRLF, CR a space (what Postfix 3.9 does by default).
    #[default]
    Normalise,
    /// The mail data is read to its end, then refused with `550 5.5.2`.
    Refuse,
}

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const END_OF_DATA: &[u8; 5] = b"\r\n.\r\n";

/// Octets on the wire on which it depends what the next one means.
const BEFORE: usize = END_OF_DATA.len() - 1;
/// Octets that are looked at together: few enough to be at hand still when they are copied.
const BLOCK: usize = 2048;
/// Octets that are looked at together where something is to change.
const PIECE: usize = 64;
/// The buffer for content grows by this part of itself: mail data is most of what sessions hold, and
/// doubling, as a `Vec` does by itself, would leave up to half of it empty. Still each octet is
/// moved a bounded number of times (nine on average), and large buffers are moved by the system.
const GROWTH: usize = 8;
/// It grows by no less than this many octets.
const LEAST_GROWTH: usize = 4_096;

/// Decodes the mail data of one message, from DATA or from BDAT chunks. How the input is cut does
/// not matter.
///
/// It holds the decoded content, an eighth of that and a constant; [`Self::finish`] gives back what
/// was not needed.
#[derive(Debug)]
pub(crate) struct ContentDecoder {
    /// What was decoded, but for a CR at the very end, which is held back until its LF is seen.
    output: Vec<u8>,
    limit: u64,
    size: u64,
    /// The last octets on the wire.
    wire: [u8; BEFORE],
    bare: bool,
}

/// How far a decoder came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All octets were taken, more are to come.
    More,
    /// The end of data was seen; this many octets were taken.
    End(usize),
}

impl ContentDecoder {
    /// `capacity`: octets to make room for (a trusted bound of the SIZE the client announced).
    /// `limit`: octets of decoded content beyond which nothing is kept.
    pub(crate) fn new(capacity: usize, limit: u64) -> Self {
        let capacity = usize::try_from(limit).map_or(capacity, |limit| capacity.min(limit));
        let output = Vec::with_capacity(capacity);
        // What went before, a DATA line, ended in CRLF.
        Self { output, limit, size: 0, wire: [0, 0, CR, LF], bare: false }
    }

    /// Takes octets behind DATA, up to and including the end of data `CRLF . CRLF`, whose first CRLF
    /// may be the one that ended the DATA line (RFC 5321 section 4.1.1.4).
    pub(crate) fn data(&mut self, input: &[u8]) -> Progress {
        self.decode::<true>(input)
    }

    /// Takes octets of a BDAT chunk; the caller counts (RFC 3030 section 2). Chunks join as if there
    /// were no border.
    pub(crate) fn chunk(&mut self, input: &[u8]) {
        self.decode::<false>(input);
    }

    /// Whether a CR or LF stood alone, if nothing more comes: a CR at the very end of a BDAT chunk
    /// counts here, but may still get its LF.
    pub(crate) fn saw_bare(&self) -> bool {
        self.bare || self.holds_cr()
    }

    /// Whether the content went beyond the limit. What was kept by then has been freed.
    pub(crate) fn over_limit(&self) -> bool {
        self.size > self.limit
    }

    /// Octets of decoded content so far, kept or not, as SIZE counts them (RFC 1870 section 3): with
    /// CRLF, without stuffing.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The mail data, after the end of data or the last chunk. BDAT may end anywhere: a CR without
    /// LF becomes a space there too, and a last line without CRLF gets one, whatever the limit.
    /// Empty if the content went beyond the limit, which the caller is to ask first.
    pub(crate) fn finish(mut self) -> MailData {
        if self.over_limit() {
            return MailData::default();
        }
        self.output.reserve_exact(b" \r\n".len());
        if self.holds_cr() {
            self.output.push(b' ');
        }
        if !self.output.is_empty() && !self.output.ends_with(b"\r\n") {
            self.output.extend_from_slice(b"\r\n");
        }
        MailData(self.output.into_boxed_slice().into())
    }

    /// `DOTS`: whether dots have a meaning.
    fn decode<const DOTS: bool>(&mut self, input: &[u8]) -> Progress {
        for begin in (0..input.len()).step_by(BLOCK) {
            let block = begin..input.len().min(begin + BLOCK);
            if let Some(end) = self.take::<DOTS>(input, block) {
                return Progress::End(end);
            }
        }
        Progress::More
    }

    /// Takes a part of the input whole if it can, or else in halves.
    fn take<const DOTS: bool>(&mut self, input: &[u8], part: Range<usize>) -> Option<usize> {
        let Range { start, end } = part;
        if self.is_plain::<DOTS>(input, part.clone()) {
            self.take_plain(&input[part]);
            None
        } else if part.len() <= PIECE {
            self.take_rough::<DOTS>(&input[part]).map(|end| start + end)
        } else {
            let middle = start + (part.len() / 2).next_multiple_of(PIECE);
            self.take::<DOTS>(input, start..middle)
                .or_else(|| self.take::<DOTS>(input, middle..end))
        }
    }

    /// Whether this part of the input stands in the content as it does on the wire.
    fn is_plain<const DOTS: bool>(&self, input: &[u8], part: Range<usize>) -> bool {
        // A dot that was deleted may turn out to be the end of data.
        let behind_dot = matches!(self.wire, [.., LF, b'.'] | [_, LF, b'.', CR]);
        if DOTS && behind_dot || is_rough::<DOTS>(self.wire[BEFORE - 1], input[part.start]) {
            return false;
        }
        // The pair that was just looked at is among these: a round number of them is faster.
        let second = part.start.max(1)..part.end;
        let pairs = input[second.start - 1..second.end - 1].iter().zip(&input[second]);
        !pairs.fold(false, |rough, (first, second)| rough | is_rough::<DOTS>(*first, *second))
    }

    fn take_plain(&mut self, octets: &[u8]) {
        if self.holds_cr() {
            self.keep(b"\r");
        }
        self.keep(octets.strip_suffix(b"\r").unwrap_or(octets));
        self.remember(octets);
    }

    /// Takes a piece with something to change in it, up to the end of data if that is in it; says
    /// where that is. It does not branch on what it reads, so no spelling makes it slow.
    fn take_rough<const DOTS: bool>(&mut self, piece: &[u8]) -> Option<usize> {
        let mut window = [0; BEFORE + PIECE + 1];
        window[..BEFORE].copy_from_slice(&self.wire);
        window[BEFORE..][..piece.len()].copy_from_slice(piece);
        let end = if DOTS { end_of_data(&window) } else { None };
        let piece = &piece[..end.unwrap_or(piece.len())];
        // A CR at the end is held back, as if its LF were sure to come.
        window[BEFORE + piece.len()..].fill(LF);

        // What each octet becomes: so many octets, of which the second can only be LF.
        let mut first = [0; PIECE];
        let mut count = [0; PIECE];
        let mut bare = [0; PIECE];
        for at in 0..PIECE {
            let here = at + BEFORE;
            let (octet, last, next) = (window[here], window[here - 1], window[here + 1]);
            let (cr, lf) = (octet == CR, octet == LF);
            let stuffed = DOTS & (window[here - 2] == CR) & (last == LF) & (octet == b'.');
            first[at] = if cr {
                b' '
            } else if lf {
                CR
            } else {
                octet
            };
            count[at] = 1 + u8::from(lf) - u8::from(stuffed) - u8::from(cr & (next == LF));
            bare[at] = u8::from((last == CR) != lf);
        }
        self.bare |= bare[..piece.len()].iter().fold(0, |all, bare| all | bare) != 0;

        let mut decoded = [0; 1 + 2 * PIECE];
        let mut length = 0;
        if self.holds_cr() && piece.first() != Some(&LF) {
            decoded[0] = b' ';
            length = 1;
        }
        for (first, count) in first.iter().zip(&count).take(piece.len()) {
            decoded[length..length + 2].copy_from_slice(&[*first, LF]);
            length += usize::from(*count);
        }
        length -= if end.is_some() { 2 } else { 0 };
        self.keep(&decoded[..length]);
        self.remember(piece);
        end
    }

    fn remember(&mut self, octets: &[u8]) {
        let last = &octets[octets.len().saturating_sub(BEFORE)..];
        self.wire.rotate_left(last.len());
        self.wire[BEFORE - last.len()..].copy_from_slice(last);
    }

    fn holds_cr(&self) -> bool {
        self.wire[BEFORE - 1] == CR
    }

    fn keep(&mut self, octets: &[u8]) {
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.over_limit() {
            self.output = Vec::new();
        } else {
            if self.output.capacity() - self.output.len() < octets.len() {
                let room = octets.len().max(self.output.len() / GROWTH).max(LEAST_GROWTH);
                self.output.reserve_exact(room);
            }
            self.output.extend_from_slice(octets);
        }
    }
}

/// Where the end of data is over in a window, counted from what is behind `BEFORE`.
fn end_of_data(window: &[u8; BEFORE + PIECE + 1]) -> Option<usize> {
    let is_end = |at: usize| (0..5).fold(true, |is, n| is & (window[at + n] == END_OF_DATA[n]));
    let any = (0..PIECE).fold(false, |any, at| any | is_end(at));
    if any { (0..PIECE).find(|at| is_end(*at)).map(|at| at + 1) } else { None }
}

/// Whether something is to change where these two octets meet: CR without LF, LF without CR, or a
/// dot that may be the first of a line.
fn is_rough<const DOTS: bool>(first: u8, second: u8) -> bool {
    ((first == CR) != (second == LF)) | (DOTS & (first == LF) & (second == b'.'))
}

/// Octets that are copied together if a line among them begins with a dot.
const STUFFED: usize = 4096;

/// Appends to `output` the segments of mail data (each of whole lines) as they stand between 354 and
/// the reply: stuffed (RFC 5321 section 4.5.2), and ended by `.` CRLF, which is the last element.
///
/// Octets are passed on uncopied, but for blocks of 4 KiB in which a line begins with a dot. So
/// there are no more than two elements for 4 KiB, and what is copied is no more than four thirds
/// of the content, whatever is in it.
pub(crate) fn write_data(segments: &[Bytes], output: &mut Vec<Bytes>) {
    let mut last = LF;
    for segment in segments {
        let mut passed = 0;
        for begin in (0..segment.len()).step_by(STUFFED) {
            let end = segment.len().min(begin + STUFFED);
            let block = &segment[begin..end];
            if has_dot(last, block) {
                output.extend((passed < begin).then(|| segment.slice(passed..begin)));
                output.push(stuff(last, block));
                passed = end;
            }
            last = segment[end - 1];
        }
        output.extend((passed < segment.len()).then(|| segment.slice(passed..)));
    }
    if last != LF {
        output.push(Bytes::from_static(b"\r\n"));
    }
    output.push(Bytes::from_static(b".\r\n"));
}

/// Whether a line in a block, which is not empty and follows on the octet `last`, begins with a dot.
fn has_dot(last: u8, block: &[u8]) -> bool {
    let is_dot = |first: u8, second: u8| (first == LF) & (second == b'.');
    let pairs = block.iter().zip(&block[1..]);
    is_dot(last, block[0])
        || pairs.fold(false, |any, (first, second)| any | is_dot(*first, *second))
}

fn stuff(mut last: u8, block: &[u8]) -> Bytes {
    // A dot behind an LF is at most every second octet. Here too nothing branches on the content.
    let mut stuffed = vec![0; block.len() + block.len() / 2 + 2];
    let mut length = 0;
    for octet in block.iter().copied() {
        stuffed[length..length + 2].copy_from_slice(&[octet; 2]);
        length += 1 + usize::from((last == LF) & (octet == b'.'));
        last = octet;
    }
    stuffed.truncate(length);
    stuffed.into_boxed_slice().into()
}

#[cfg(test)]
mod tests;
