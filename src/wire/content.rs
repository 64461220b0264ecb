//! Mail data: in from the wire (end of data, un-stuffing, BDAT, bare CR and LF) and out to it
//! (dot-stuffing). The strict half of the promise that nothing is smuggled.
//!
//! All that the decoder does depends on an octet and on the few that came before it on the wire.
//! So its state is just these few octets, and the end of data is one comparison with them.

mod in_place;
mod keeping;
mod writer;

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use fearless_simd::{Level, dispatch};

use super::blocks::Blocks;
use super::budget::{Block, Budget, Hold};
use super::holders::Owner;
pub(crate) use writer::DataWriter;

/// Mail data: `*( line CRLF )`, where no line holds a CR or LF, in blocks that are never moved. Only
/// the decoders of this file make it, so that the writer has nothing to check.
#[derive(Debug, Clone, Default)]
pub struct MailData {
    blocks: Blocks,
    dots: Dots,
    /// What the blocks are charged to. `None` is an unlimited budget.
    budget: Option<Budget>,
}

/// Whether lines begin with a dot, and so have to be stuffed when they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Dots {
    /// None does.
    #[default]
    None,
    /// Some do, or nobody has looked.
    Perhaps,
}

impl MailData {
    /// Makes mail data of any octets: LF without CR becomes CRLF, CR without LF becomes a space,
    /// a last line without CRLF gets one.
    pub fn normalise(octets: &[u8]) -> Self {
        let mut decoder = ContentDecoder::new(Budget::new(usize::MAX), octets.len(), u64::MAX);
        decoder.chunk(octets);
        let mut data = decoder.finish().unwrap_or_default();
        let mut last = LF;
        let dots = data.segments().iter().any(|segment| {
            let before = std::mem::replace(&mut last, segment[segment.len() - 1]);
            begins_with_dot(before, segment)
        });
        data.dots = if dots { Dots::Perhaps } else { Dots::None };
        data
    }

    /// The octets, block by block. Lines may begin in one block and end in another.
    pub fn segments(&self) -> &[Bytes] {
        self.blocks.as_slice()
    }

    /// How many octets.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.segments().is_empty()
    }

    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(crate) fn dots(&self) -> Dots {
        self.dots
    }

    /// Returns the budget that copies of the mail data are charged to.
    pub(crate) fn budget(&self) -> Budget {
        self.budget.clone().unwrap_or_else(|| Budget::new(usize::MAX))
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
/// Octets that are moved together where each becomes one, or each two.
const EIGHT: usize = 8;

/// Decodes the mail data of one message, from DATA or from BDAT chunks. How the input is cut does
/// not matter.
///
/// It holds the decoded content and no more than one block of room for more.
#[derive(Debug)]
pub(crate) struct ContentDecoder {
    budget: Budget,
    /// In whose share the content is, behind its first block.
    owner: Option<Owner>,
    /// What was decoded, but for a CR at the very end, which is held back until its LF is seen. Full
    /// blocks are held where they can be given up for others, if it is known what time it is.
    full: Blocks,
    held: Option<Hold>,
    filling: Option<Block>,
    /// The time, as far as it was told, and whether a block was filled since.
    now: Option<Instant>,
    has_filled: bool,
    /// Octets that the client has announced.
    announced: usize,
    limit: u64,
    size: u64,
    /// The last octets on the wire.
    wire: [u8; BEFORE],
    /// The last octet of the content.
    last: u8,
    dots: Dots,
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
            owner: None,
            full: Blocks::default(),
            held: None,
            filling: None,
            now: None,
            has_filled: false,
            announced,
            limit,
            size: 0,
            // What went before, a DATA line, ended in CRLF.
            wire: [0, 0, CR, LF],
            last: LF,
            dots: Dots::None,
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
        self.unlooked();
        self.decode::<false>(input);
    }

    /// Dots mean nothing in a chunk, so they are not looked for.
    fn unlooked(&mut self) {
        self.dots = Dots::Perhaps;
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
            let is_given_up = self.held.as_ref().is_some_and(Hold::is_given_up);
            (self.starved || is_given_up).then_some(ContentFault::NoMemory)
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
        let mut blocks = match self.held.take() {
            Some(held) => held.finish().ok_or(ContentFault::NoMemory)?,
            None => self.full,
        };
        if let Some(block) = self.filling.take() {
            blocks.push(Bytes::from_owner(block));
        }
        Ok(MailData { blocks, dots: self.dots, budget: Some(self.budget) })
    }

    /// `DOTS`: whether dots have a meaning.
    fn decode<const DOTS: bool>(&mut self, input: &[u8]) -> Progress {
        for begin in (0..input.len()).step_by(GLANCE) {
            let block = begin..input.len().min(begin + GLANCE);
            if self.is_plain::<DOTS>(input, block.clone()) {
                self.take_plain(&input[block]);
            } else if DOTS && block.end == input.len() && self.take_plain_end(input, begin) {
                return Progress::End(input.len());
            } else if let Some(end) = self.take::<DOTS>(input, block) {
                return Progress::End(end);
            }
        }
        Progress::More
    }

    /// Takes the rest of the input if it is what mail mostly ends with: lines in which nothing is to
    /// change, and the end of data behind them.
    fn take_plain_end(&mut self, input: &[u8], begin: usize) -> bool {
        let lines = input.strip_suffix(b".\r\n").filter(|lines| lines.ends_with(b"\r\n"));
        let lines = lines.map_or(0, <[u8]>::len);
        let is_end = begin + 2 <= lines && self.is_plain::<true>(input, begin..lines);
        if is_end {
            self.take_plain(&input[begin..lines]);
        }
        is_end
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

    /// Whether this part of the input stands in the content as it does on the wire. What is before
    /// it was taken.
    fn is_plain<const DOTS: bool>(&self, input: &[u8], part: Range<usize>) -> bool {
        self.goes_on_plain::<DOTS>(input[part.start]) && is_plain::<DOTS>(input, part)
    }

    /// Whether the next octet on the wire stands in the content as it does there.
    fn goes_on_plain<const DOTS: bool>(&self, next: u8) -> bool {
        // A dot that was deleted may turn out to be the end of data.
        let behind_dot = matches!(self.wire, [.., LF, b'.'] | [_, LF, b'.', CR]);
        !(DOTS && behind_dot || is_rough::<DOTS>(self.wire[BEFORE - 1], next))
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
        // Where there is no dot nothing ends and nothing is stuffed.
        let has_dot = window.iter().fold(false, |any, octet| any | (*octet == b'.'));
        let end = if DOTS && has_dot { end_of_data(&window) } else { None };
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

        // With a length of one octet no place is out of its bounds, and none is looked after.
        let mut decoded = [0; 1 << u8::BITS];
        let mut length = 0_u8;
        if self.holds_cr() && piece.first() != Some(&LF) {
            decoded[0] = b' ';
            length = 1;
        }
        count[piece.len()..].fill(0);
        for (first, count) in first.as_chunks::<EIGHT>().0.iter().zip(count.as_chunks().0) {
            let here = &mut decoded[usize::from(length)..];
            if *count == [1; EIGHT] {
                here[..EIGHT].copy_from_slice(first);
                length += EIGHT as u8;
                continue;
            }
            if *count == [2; EIGHT] {
                let pairs = here.as_chunks_mut().0.iter_mut();
                pairs.zip(first).for_each(|(pair, first)| *pair = [*first, LF]);
                length += 2 * EIGHT as u8;
                continue;
            }
            for (first, count) in first.iter().zip(count) {
                decoded[usize::from(length)] = *first;
                decoded[usize::from(length + 1)] = LF;
                length += count;
            }
        }
        length -= if end.is_some() { 2 } else { 0 };
        let decoded = &decoded[..usize::from(length)];
        if has_dot && begins_with_dot(self.last, decoded) {
            self.dots = Dots::Perhaps;
        }
        self.keep(decoded);
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

/// Whether nothing is to change between the octets of this part, and where it meets what is before it
/// in the input.
fn is_plain<const DOTS: bool>(input: &[u8], part: Range<usize>) -> bool {
    // With what is before it there is a round number of pairs, which is faster.
    let second = part.start.max(1)..part.end;
    !is_any_rough::<DOTS>(&input[second.start - 1..second.end - 1], &input[second])
}

/// Whether something is to change between any two octets that stand so beside each other, of so
/// many at a time as the processor can.
fn is_any_rough<const DOTS: bool>(first: &[u8], second: &[u8]) -> bool {
    #[inline(always)]
    fn is_any<const DOTS: bool>(first: &[u8], second: &[u8]) -> bool {
        let pairs = first.iter().zip(second);
        pairs.fold(false, |rough, (first, second)| rough | is_rough::<DOTS>(*first, *second))
    }
    dispatch!(Level::new(), _ => is_any::<DOTS>(first, second))
}

/// Whether a line in a block, which follows on the octet `last`, begins with a dot.
fn begins_with_dot(last: u8, block: &[u8]) -> bool {
    let is_dot = |first: u8, second: u8| (first == LF) & (second == b'.');
    let Some((first, rest)) = block.split_first() else { return false };
    let pairs = block.iter().zip(rest);
    is_dot(last, *first) || pairs.fold(false, |any, (first, second)| any | is_dot(*first, *second))
}

#[cfg(test)]
mod tests;
