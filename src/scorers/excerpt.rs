//! Limits the part of a large message that is sent to a daemon.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memrchr;

use crate::message::Message;

/// The handling of a message above the size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Oversize {
    /// Sends the head of the message, as many whole lines as fit. Padding a spam message does not
    /// avoid the scan.
    #[default]
    Head,
    /// Skips the scan, as `spamc` does. Large messages pass unscanned.
    Skip,
}

/// The largest message that is sent whole, and the handling of larger ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct SizeLimit {
    pub(super) octets: usize,
    pub(super) oversize: Oversize,
}

impl SizeLimit {
    /// Returns the part of the message to send, or `None` to send nothing.
    pub(super) fn excerpt<'m>(&self, message: &'m Message) -> Option<Cow<'m, [Bytes]>> {
        if message.len() <= self.octets {
            return Some(message.segments().into());
        }
        (self.oversize == Oversize::Head).then(|| head(message.segments(), self.octets).into())
    }
}

/// Returns as many whole lines of `segments` as fit into `limit` octets. A line may span any number
/// of segments.
fn head(segments: &[Bytes], limit: usize) -> Vec<Bytes> {
    let mut room = limit;
    let mut head = Vec::new();
    for segment in segments {
        let fitting = segment.len().min(room);
        head.push(segment.slice(..fitting));
        room -= fitting;
        if fitting < segment.len() {
            break;
        }
    }
    // Cut after the last line end.
    while let Some(last) = head.pop() {
        if let Some(at) = memrchr(b'\n', &last) {
            head.push(last.slice(..=at));
            break;
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the excerpt of a single slice, octet by octet (reference implementation).
    fn naive(octets: &[u8], limit: usize) -> &[u8] {
        let mut end = octets.len().min(limit);
        while end > 0 && octets[end - 1] != b'\n' {
            end -= 1;
        }
        &octets[..end]
    }

    fn cut(octets: &[u8], cuts: &[usize]) -> Vec<Bytes> {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (octets.len() + 1)).collect();
        cuts.extend([0, octets.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| Bytes::copy_from_slice(&octets[pair[0]..pair[1]])).collect()
    }

    proptest! {
        #[test]
        fn a_head_is_whole_lines_wherever_segments_begin(
            text in "([a-c]{0,5}\n?){0,12}",
            cuts in proptest::collection::vec(any::<usize>(), 0..8),
            limit in 0..70_usize,
        ) {
            // `excerpt` never calls `head` for a message that fits.
            prop_assume!(limit < text.len());
            let head = head(&cut(text.as_bytes(), &cuts), limit).concat();
            prop_assert_eq!(&head, naive(text.as_bytes(), limit));
        }
    }
}
