//! Helpers for the tests: decoders that get octets in both ways, by copy and in place.

use std::sync::LazyLock;

use super::*;

pub(super) fn decoder(limit: u64) -> ContentDecoder {
    ContentDecoder::new(Budget::default(), 0, limit)
}

/// Creates a decoder with room in a reused block, whose leftover octets look like the end of data.
fn decoder_with_room() -> ContentDecoder {
    static USED: LazyLock<Budget> = LazyLock::new(Budget::default);
    let mut decoder = ContentDecoder::new(USED.clone(), 0, u64::MAX);
    while decoder.filling.is_none() {
        let mut block = USED.block(BLOCK).unwrap();
        block.fill(&b"\r\n.\r\n".repeat(BLOCK));
        drop(block);
        decoder.filling = USED.block(BLOCK);
    }
    decoder
}

/// Copies octets into the decoder's room while it has any, and passes the others to `decode`.
fn in_place(
    decoder: &mut ContentDecoder,
    mut octets: &[u8],
    take: impl Fn(&mut ContentDecoder, usize) -> (usize, Vec<u8>),
    decode: impl Fn(&mut ContentDecoder, &[u8]) -> Progress,
) -> Progress {
    let whole = octets.len();
    while !octets.is_empty() {
        let room = decoder.room();
        let (here, behind) = octets.split_at(octets.len().min(room.len()));
        room[..here.len()].copy_from_slice(here);
        let (taken, rest) = take(decoder, here.len());
        assert_eq!(rest, here[taken..]);
        let left = if here.is_empty() { behind } else { &rest };
        if let Progress::End(end) = decode(decoder, left) {
            return Progress::End(whole - octets.len() + taken + end);
        }
        octets = if here.is_empty() { &[] } else { behind };
    }
    Progress::More
}

/// Decodes DATA that arrives in these parts, by copy and in place. Both results must be equal.
pub(super) fn read<'w>(parts: impl IntoIterator<Item = &'w [u8]> + Clone) -> Option<Read> {
    let read = read_by(decoder(u64::MAX), parts.clone(), ContentDecoder::data);
    let read_in_place = read_by(decoder_with_room(), parts, |decoder, part| {
        in_place(decoder, part, ContentDecoder::data_in_place, ContentDecoder::data)
    });
    assert_eq!(read, read_in_place);
    read
}

fn read_by<'w>(
    mut decoder: ContentDecoder,
    parts: impl IntoIterator<Item = &'w [u8]>,
    data: impl Fn(&mut ContentDecoder, &[u8]) -> Progress,
) -> Option<Read> {
    let mut taken = 0;
    for part in parts {
        match data(&mut decoder, part) {
            Progress::More => taken += part.len(),
            Progress::End(end) => {
                let (bare, size) = (decoder.saw_bare(), decoder.size());
                let content = decoder.finish().unwrap();
                let (dots, content) = (content.dots(), content.segments().concat());
                return Some(Read { content, taken: taken + end, bare, size, dots });
            }
        }
    }
    None
}

pub(super) fn join<'w>(chunks: impl IntoIterator<Item = &'w [u8]> + Clone) -> (Vec<u8>, bool) {
    let finish = |decoder: ContentDecoder| {
        let bare = decoder.saw_bare();
        let content = decoder.finish().unwrap();
        let (dots, content) = (content.dots(), content.segments().concat());
        assert!(dots == Dots::Perhaps || dots_slowly(&content) == Dots::None);
        (content, bare)
    };
    let mut decoder = decoder(u64::MAX);
    chunks.clone().into_iter().for_each(|chunk| decoder.chunk(chunk));
    let joined = finish(decoder);
    let mut decoder = decoder_with_room();
    for chunk in chunks {
        in_place(&mut decoder, chunk, ContentDecoder::chunk_in_place, |decoder, chunk| {
            decoder.chunk(chunk);
            Progress::More
        });
    }
    assert_eq!(finish(decoder), joined);
    joined
}

/// Octets that need no change are not copied, with DATA or with BDAT.
#[test]
fn plain_content_is_not_moved() {
    let taken = |wire: &[u8], take: fn(&mut ContentDecoder, usize) -> (usize, Vec<u8>)| {
        let mut decoder = decoder_with_room();
        decoder.room()[..wire.len()].copy_from_slice(wire);
        take(&mut decoder, wire.len()).0
    };
    let plain = b"Dots... Behind a line, none.\r\n\r\n".repeat(GLANCE / PIECE * 5);
    assert_eq!(taken(&plain, ContentDecoder::data_in_place), plain.len());
    let dots = b".\r\n..\r\n".repeat(GLANCE);
    assert_eq!(taken(&dots, ContentDecoder::chunk_in_place), dots.len());
    // Octets are taken up to the first change, with a tolerance of two octets.
    for change in [5, 70, GLANCE, GLANCE + PIECE + 1, 2 * GLANCE + 9] {
        let wire = [&[b'x'; 2 * GLANCE + 9][..change], b"\r\n..", &plain].concat();
        let taken = taken(&wire, ContentDecoder::data_in_place);
        assert!((change - 2..=change + 2).contains(&taken), "{taken} before {change}");
    }
}
