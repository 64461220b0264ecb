//! Decodes mail data from the wire (end of data, dot-unstuffing, BDAT, bare CR and LF) and encodes
//! it again (dot-stuffing). This module is the strict half of the protection against SMTP
//! smuggling.
//!
//! The decoder's output depends only on the current octet and the few octets before it on the wire.
//! So its state is just these few octets, and the end of data is found by one comparison with them.

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

/// Mail data: `*( line CRLF )`, where no line contains a CR or LF. The data is in blocks that never
/// move. Only the decoder in this file creates it, so the writer has nothing to check.
#[derive(Debug, Clone, Default)]
pub struct MailData {
    blocks: Blocks,
    dots: Dots,
    /// The budget that the blocks are charged to. `None` is an unlimited budget.
    budget: Option<Budget>,
}

/// Knowledge about lines that begin with a dot and need dot-stuffing when they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Dots {
    /// No line begins with a dot.
    #[default]
    None,
    /// Some lines begin with a dot, or this is not known.
    Perhaps,
}

impl MailData {
    /// Converts any octets into mail data: LF without CR becomes CRLF, CR without LF becomes a
    /// space, and a last line without CRLF gets one.
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

    /// Returns the octets, block by block. Lines may begin in one block and end in another.
    pub fn segments(&self) -> &[Bytes] {
        self.blocks.as_slice()
    }

    /// Returns the length in octets.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Returns whether the mail data is empty.
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

/// Reason why the content of a message was not kept, although it was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentFault {
    /// The content is over the size limit. Client fault.
    TooBig,
    /// The memory budget is exhausted. Not the client's fault; a retry may succeed.
    NoMemory,
}

/// The treatment of a bare CR or LF in mail data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LineEndings {
    /// A bare LF becomes CRLF and a bare CR becomes a space (the default of Postfix 3.9).
    #[default]
    Normalise,
    /// The mail data is read to its end and then refused with `550 5.5.2`.
    Refuse,
}

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const END_OF_DATA: &[u8; 5] = b"\r\n.\r\n";

/// Number of previous octets on the wire that decide the meaning of the next one.
const BEFORE: usize = END_OF_DATA.len() - 1;
/// Octets that are scanned together. They are few enough to be in the CPU cache still when they are
/// copied.
const GLANCE: usize = 2048;
/// Octets that are scanned together where something has to change.
const PIECE: usize = 64;
/// Octets that are copied together if each becomes one octet, or each becomes two.
const EIGHT: usize = 8;

/// Decoder for the mail data of one message, from DATA or from BDAT chunks. The result does not
/// depend on how the input is split.
///
/// It holds the decoded content and at most one block that is not full.
#[derive(Debug)]
pub(crate) struct ContentDecoder {
    budget: Budget,
    /// The owner whose share is charged for all blocks after the first.
    owner: Option<Owner>,
    /// The decoded content. A CR at the very end is held back until the next octet shows whether it
    /// is bare. If the current time is known, full blocks are in `held`, from where they can be
    /// given up for other messages.
    full: Blocks,
    held: Option<Hold>,
    filling: Option<Block>,
    /// The current time as last set by the caller, and whether a block was filled since.
    now: Option<Instant>,
    has_filled: bool,
    /// The message size in octets that the client has announced.
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

/// Progress of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All octets were taken; the end of data was not seen.
    More,
    /// The end of data was seen after this many octets of the input.
    End(usize),
}

impl ContentDecoder {
    /// Creates a decoder. `announced` is the size that the client has announced, or 0; it is only a
    /// hint. If the decoded content exceeds `limit` octets, nothing is kept.
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
            // The DATA line before the mail data ended in CRLF.
            wire: [0, 0, CR, LF],
            last: LF,
            dots: Dots::None,
            bare: false,
            starved: false,
        }
    }

    /// Decodes octets after DATA, up to and including the end of data `CRLF . CRLF`. Its first CRLF
    /// may be the one that ended the DATA line (RFC 5321 section 4.1.1.4).
    pub(crate) fn data(&mut self, input: &[u8]) -> Progress {
        self.decode::<true>(input)
    }

    /// Decodes octets of a BDAT chunk; the caller counts them (RFC 3030 section 2). Chunks are
    /// joined as if they were one.
    pub(crate) fn chunk(&mut self, input: &[u8]) {
        self.unlooked();
        self.decode::<false>(input);
    }

    /// Records that dots were not looked for: they have no meaning in a chunk.
    fn unlooked(&mut self) {
        self.dots = Dots::Perhaps;
    }

    /// Returns whether the input so far contains a bare CR or LF. A CR at the very end of a BDAT
    /// chunk counts here, although its LF may still follow.
    pub(crate) fn saw_bare(&self) -> bool {
        self.bare || self.holds_cr()
    }

    /// Returns the reason why the content is not kept, or `None` if it is kept. If there is a
    /// reason, the blocks have been freed.
    pub(crate) fn fault(&self) -> Option<ContentFault> {
        if self.size > self.limit {
            Some(ContentFault::TooBig)
        } else {
            let is_given_up = self.held.as_ref().is_some_and(Hold::is_given_up);
            (self.starved || is_given_up).then_some(ContentFault::NoMemory)
        }
    }

    /// Returns the octets of decoded content so far, kept or not. They are counted as SIZE counts
    /// them (RFC 1870 section 3): with CRLF, without dot-stuffing.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the mail data after the end of data or the last chunk. BDAT may end anywhere: a CR
    /// without LF becomes a space there, too. A last line without CRLF gets one, even beyond the
    /// limit.
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

    /// Decodes input up to the end of data. With `DOTS`, dots at the start of a line have a
    /// meaning.
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

    /// Takes the rest of the input if it ends as most mail does: lines that need no change,
    /// followed by the end of data.
    fn take_plain_end(&mut self, input: &[u8], begin: usize) -> bool {
        let lines = input.strip_suffix(b".\r\n").filter(|lines| lines.ends_with(b"\r\n"));
        let lines = lines.map_or(0, <[u8]>::len);
        let is_end = begin + 2 <= lines && self.is_plain::<true>(input, begin..lines);
        if is_end {
            self.take_plain(&input[begin..lines]);
        }
        is_end
    }

    /// Takes a part of the input piece by piece. Returns the position after the end of data, if it
    /// is found.
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

    /// Returns whether this part of the input is copied to the content unchanged. All input before
    /// it must have been taken.
    fn is_plain<const DOTS: bool>(&self, input: &[u8], part: Range<usize>) -> bool {
        self.goes_on_plain::<DOTS>(input[part.start]) && is_plain::<DOTS>(input, part)
    }

    /// Returns whether the next octet on the wire is copied to the content unchanged.
    fn goes_on_plain<const DOTS: bool>(&self, next: u8) -> bool {
        // A dot that was just removed may be part of the end of data.
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

    /// Takes a piece in which something has to change, up to the end of data if the piece contains
    /// it. Returns the position after the end of data. The code does not branch on the octets it
    /// reads, so no input makes it slow.
    fn take_rough<const DOTS: bool>(&mut self, piece: &[u8]) -> Option<usize> {
        let mut window = [0; BEFORE + PIECE + 1];
        window[..BEFORE].copy_from_slice(&self.wire);
        window[BEFORE..][..piece.len()].copy_from_slice(piece);
        // Without a dot the piece contains neither the end of data nor dot-stuffing.
        let has_dot = window.iter().fold(false, |any, octet| any | (*octet == b'.'));
        let end = if DOTS && has_dot { end_of_data(&window) } else { None };
        let piece = &piece[..end.unwrap_or(piece.len())];
        // A CR at the end is held back: here it is treated as if LF followed.
        window[BEFORE + piece.len()..].fill(LF);

        // For each octet, the first octet of its output and the length of its output. A second
        // octet can only be LF.
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

        // The length is a `u8` and the array has 256 places, so the compiler needs no bounds
        // checks.
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

/// Returns the position after the end of data in a window, counted from offset `BEFORE`.
fn end_of_data(window: &[u8; BEFORE + PIECE + 1]) -> Option<usize> {
    let is_end = |at: usize| (0..5).fold(true, |is, n| is & (window[at + n] == END_OF_DATA[n]));
    let any = (0..PIECE).fold(false, |any, at| any | is_end(at));
    if any { (0..PIECE).find(|at| is_end(*at)).map(|at| at + 1) } else { None }
}

/// Returns whether something must change between these two octets: a CR without LF, an LF without
/// CR, or a dot that may begin a line.
fn is_rough<const DOTS: bool>(first: u8, second: u8) -> bool {
    ((first == CR) != (second == LF)) | (DOTS & (first == LF) & (second == b'.'))
}

/// Returns whether nothing must change between the octets of `part`, nor between its first octet
/// and the octet before it in `input`.
fn is_plain<const DOTS: bool>(input: &[u8], part: Range<usize>) -> bool {
    // The first pair begins with the octet before `part`. There are then as many pairs as octets in
    // `part`, usually `PIECE`, and such a round number is faster.
    let second = part.start.max(1)..part.end;
    !is_any_rough::<DOTS>(&input[second.start - 1..second.end - 1], &input[second])
}

/// Returns whether something must change between any octet of `first` and the octet at the same
/// place in `second`. Vectorised for the CPU that it runs on.
fn is_any_rough<const DOTS: bool>(first: &[u8], second: &[u8]) -> bool {
    #[inline(always)]
    fn is_any<const DOTS: bool>(first: &[u8], second: &[u8]) -> bool {
        let pairs = first.iter().zip(second);
        pairs.fold(false, |rough, (first, second)| rough | is_rough::<DOTS>(*first, *second))
    }
    dispatch!(Level::new(), _ => is_any::<DOTS>(first, second))
}

/// Returns whether a line in `block` begins with a dot. `last` is the octet before the block.
fn begins_with_dot(last: u8, block: &[u8]) -> bool {
    let is_dot = |first: u8, second: u8| (first == LF) & (second == b'.');
    let Some((first, rest)) = block.split_first() else { return false };
    let pairs = block.iter().zip(rest);
    is_dot(last, *first) || pairs.fold(false, |any, (first, second)| any | is_dot(*first, *second))
}

#[cfg(test)]
mod tests;
