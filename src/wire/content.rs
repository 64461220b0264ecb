//! Mail data: in from the wire (end of data, un-stuffing, BDAT, bare CR and LF) and out to it
//! (dot-stuffing). The strict half of the promise that nothing is smuggled.
//!
//! All that the decoder does depends on an octet and on the few that came before it on the wire.
//! So its state is just these few octets, and the end of data is one comparison with them.

use std::ops::Range;

use bytes::Bytes;

use super::blocks::Blocks;
use super::budget::{BLOCK, Block, Budget};

/// Mail data: `*( line CRLF )`, where no line holds a CR or LF, in blocks that are never moved. Only
/// the decoders of this file make it, so that the writer has nothing to check.
#[derive(Debug, Clone, Default)]
pub struct MailData(Blocks);

impl MailData {
    /// Makes mail data of any octets: LF without CR becomes CRLF, CR without LF becomes a space,
    /// a last line without CRLF gets one.
    pub fn normalise(octets: &[u8]) -> Self {
        let mut decoder = ContentDecoder::new(Budget::new(usize::MAX), octets.len(), u64::MAX);
        decoder.chunk(octets);
        decoder.finish().unwrap_or_default()
    }

    /// The octets, block by block. Lines may begin in one block and end in another.
    pub fn segments(&self) -> &[Bytes] {
        self.0.as_slice()
    }

    /// How many octets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.segments().is_empty()
    }

    pub(crate) fn blocks(&self) -> &Blocks {
        &self.0
    }
}

/// Why mail data that was read to its end is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentFault {
    /// It went beyond the limit. The client is at fault.
    TooBig,
    /// There was no memory for it. Nobody is at fault, and it may pass later.
    NoMemory,
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
const GLANCE: usize = 2048;
/// Octets that are looked at together where something is to change.
const PIECE: usize = 64;
/// Octets of the first block where the client has not said how large its message is: most messages
/// are small, and a client that is slow must not hold much.
const FIRST: usize = 8 << 10;

/// Decodes the mail data of one message, from DATA or from BDAT chunks. How the input is cut does
/// not matter.
///
/// It holds the decoded content and less than one block of room for more.
#[derive(Debug)]
pub(crate) struct ContentDecoder {
    budget: Budget,
    /// What was decoded, but for a CR at the very end, which is held back until its LF is seen.
    full: Blocks,
    filling: Option<Block>,
    /// Octets that the client has announced.
    announced: usize,
    limit: u64,
    size: u64,
    /// The last octets on the wire.
    wire: [u8; BEFORE],
    bare: bool,
    starved: bool,
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
    /// `announced`: how large the client said its message is, 0 if it did not; it is no more than a
    /// hint. `limit`: octets of decoded content beyond which nothing is kept.
    pub(crate) fn new(budget: Budget, announced: usize, limit: u64) -> Self {
        Self {
            budget,
            full: Blocks::default(),
            filling: None,
            announced,
            limit,
            size: 0,
            // What went before, a DATA line, ended in CRLF.
            wire: [0, 0, CR, LF],
            bare: false,
            starved: false,
        }
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

    /// What stands in the way of keeping the content. What was kept by then has been freed.
    pub(crate) fn fault(&self) -> Option<ContentFault> {
        if self.size > self.limit {
            Some(ContentFault::TooBig)
        } else {
            self.starved.then_some(ContentFault::NoMemory)
        }
    }

    /// Octets of decoded content so far, kept or not, as SIZE counts them (RFC 1870 section 3): with
    /// CRLF, without stuffing.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The mail data, after the end of data or the last chunk. BDAT may end anywhere: a CR without
    /// LF becomes a space there too, and a last line without CRLF gets one, whatever the limit.
    pub(crate) fn finish(mut self) -> Result<MailData, ContentFault> {
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        if self.holds_cr() {
            self.store(b" \r\n");
        } else if self.wire[BEFORE - 1] != LF {
            self.store(b"\r\n");
        }
        if self.starved {
            return Err(ContentFault::NoMemory);
        }
        self.put_away();
        Ok(MailData(self.full))
    }

    /// `DOTS`: whether dots have a meaning.
    fn decode<const DOTS: bool>(&mut self, input: &[u8]) -> Progress {
        for begin in (0..input.len()).step_by(GLANCE) {
            let block = begin..input.len().min(begin + GLANCE);
            if self.is_plain::<DOTS>(input, block.clone()) {
                self.take_plain(&input[block]);
            } else if let Some(end) = self.take::<DOTS>(input, block) {
                return Progress::End(end);
            }
        }
        Progress::More
    }

    /// Takes a part of the input piece by piece; says where the end of data was over.
    fn take<const DOTS: bool>(&mut self, input: &[u8], part: Range<usize>) -> Option<usize> {
        let end = part.end;
        for begin in part.step_by(PIECE) {
            let piece = begin..end.min(begin + PIECE);
            if self.is_plain::<DOTS>(input, piece.clone()) {
                self.take_plain(&input[piece]);
            } else if let Some(end) = self.take_rough::<DOTS>(&input[piece]) {
                return Some(begin + end);
            }
        }
        None
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
        if self.fault().is_none() {
            self.store(octets);
        }
        if self.fault().is_some() {
            self.full = Blocks::default();
            self.filling = None;
        }
    }

    fn store(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            if self.filling.as_ref().is_none_or(Block::is_full) {
                self.put_away();
                self.filling = self.budget.block(self.room());
            }
            match &mut self.filling {
                Some(block) => octets = &octets[block.fill(octets)..],
                None => {
                    self.starved = true;
                    return;
                }
            }
        }
    }

    /// The block that was being filled is full, or the last.
    fn put_away(&mut self) {
        if let Some(block) = self.filling.take() {
            self.full.push(Bytes::from_owner(block));
        }
    }

    /// Octets of the next block: of the first one as many as were announced.
    fn room(&self) -> usize {
        match (self.full.is_empty(), self.announced) {
            (false, _) => BLOCK,
            (true, 0) => FIRST,
            // Mail that ends within a line, by BDAT, gets an end of line.
            (true, announced) => announced.saturating_add(b" \r\n".len()).min(BLOCK),
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

/// Octets that are copied before what was written is handed on.
const BATCH: usize = 64 << 10;

/// Writes mail data as it stands between 354 and the reply: stuffed (RFC 5321 section 4.5.2), and
/// ended by `.` CRLF, which is the last element. It writes in batches, so that what has to be
/// copied is never more than a part of the whole.
///
/// Octets are passed on uncopied, but for blocks of 4 KiB in which a line begins with a dot. So
/// there are no more than two elements for 4 KiB, and what is copied is no more than four thirds
/// of the content, whatever is in it.
#[derive(Debug)]
pub(crate) struct DataWriter {
    segments: std::vec::IntoIter<Bytes>,
    /// What is left of the segment that was begun.
    rest: Bytes,
    last: u8,
    ended: bool,
}

impl DataWriter {
    /// For these segments of mail data, cut anywhere.
    pub(crate) fn new(segments: Vec<Bytes>) -> Self {
        Self { segments: segments.into_iter(), rest: Bytes::new(), last: LF, ended: false }
    }

    /// Appends the next batch to `output`; nothing once the end was written.
    pub(crate) fn write(&mut self, output: &mut Vec<Bytes>) {
        let mut copied = 0;
        while !self.ended && copied < BATCH {
            if self.rest.is_empty() {
                match self.segments.next() {
                    Some(segment) => self.rest = segment,
                    None => self.end(output),
                }
                continue;
            }
            let plain = self.plain();
            if plain > 0 {
                self.last = self.rest[plain - 1];
                output.push(self.rest.split_to(plain));
            }
            if !self.rest.is_empty() {
                let block = self.rest.split_to(self.rest.len().min(STUFFED));
                output.push(stuff(self.last, &block));
                self.last = block[block.len() - 1];
                copied += block.len();
            }
        }
    }

    /// Whether the end was written.
    pub(crate) fn is_done(&self) -> bool {
        self.ended
    }

    /// How many octets of the rest, in blocks, hold no line that begins with a dot.
    fn plain(&self) -> usize {
        let mut last = self.last;
        for begin in (0..self.rest.len()).step_by(STUFFED) {
            let end = self.rest.len().min(begin + STUFFED);
            if has_dot(last, &self.rest[begin..end]) {
                return begin;
            }
            last = self.rest[end - 1];
        }
        self.rest.len()
    }

    fn end(&mut self, output: &mut Vec<Bytes>) {
        if self.last != LF {
            output.push(Bytes::from_static(b"\r\n"));
        }
        output.push(Bytes::from_static(b".\r\n"));
        self.ended = true;
    }
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
