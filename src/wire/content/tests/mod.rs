use proptest::collection::vec;
use proptest::prelude::*;

use super::writer::{BATCH, STUFFED};
use super::*;
use crate::wire::budget::{BLOCK, FIRST};

mod in_place;
mod room;

use in_place::{decoder, join, read};

/// Result of decoding: the content, the number of octets taken, whether a CR or LF was bare, the
/// size, and whether lines of the content begin with a dot.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    content: Vec<u8>,
    taken: usize,
    bare: bool,
    size: u64,
    dots: Dots,
}

/// Reference decoder for DATA: follows RFC 5321 section 4.5.2 line by line. Returns `None` without
/// an end of data.
fn read_slowly(wire: &[u8]) -> Option<Read> {
    let (mut content, mut taken, mut bare) = (Vec::new(), 0, false);
    loop {
        let length = wire[taken..].windows(2).position(|pair| pair == b"\r\n")?;
        let line = &wire[taken..taken + length];
        taken += length + 2;
        if line == b"." {
            let size = content.len() as u64;
            let dots = dots_slowly(&content);
            return Some(Read { content, taken, bare, size, dots });
        }
        bare |= normalise_slowly(line.strip_prefix(b".").unwrap_or(line), &mut content);
        content.extend(b"\r\n");
    }
}

fn dots_slowly(content: &[u8]) -> Dots {
    let dots = content.split(|octet| *octet == b'\n').any(|line| line.starts_with(b"."));
    if dots { Dots::Perhaps } else { Dots::None }
}

/// Normalises a line without its CRLF, in which every CR and LF is bare. Returns whether there was
/// one.
fn normalise_slowly(line: &[u8], content: &mut Vec<u8>) -> bool {
    for octet in line {
        match octet {
            b'\n' => content.extend(b"\r\n"),
            b'\r' => content.push(b' '),
            _ => content.push(*octet),
        }
    }
    line.iter().any(|octet| b"\r\n".contains(octet))
}

/// Reference decoder for joined chunks. Returns the content and whether a CR or LF was bare.
fn join_slowly(chunks: &[u8]) -> (Vec<u8>, bool) {
    let (mut content, mut bare, mut rest) = (Vec::new(), false, chunks);
    while let Some(length) = rest.windows(2).position(|pair| pair == b"\r\n") {
        bare |= normalise_slowly(&rest[..length], &mut content);
        content.extend(b"\r\n");
        rest = &rest[length + 2..];
    }
    bare |= normalise_slowly(rest, &mut content);
    if !content.is_empty() && !content.ends_with(b"\r\n") {
        content.extend(b"\r\n");
    }
    (content, bare)
}

/// Returns the input in one part, octet by octet, and split in two at every place.
fn cuts(wire: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let halves = (1..wire.len()).map(|at| vec![&wire[..at], &wire[at..]]);
    [vec![wire], wire.chunks(1).collect()].into_iter().chain(halves)
}

/// Splits the input at these places, taken modulo its length.
fn cut_at<'w>(wire: &'w [u8], places: &[usize]) -> Vec<&'w [u8]> {
    let mut places: Vec<usize> = places.iter().map(|at| at % (wire.len() + 1)).collect();
    places.extend([0, wire.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect()
}

fn write(segments: &[Bytes]) -> Vec<u8> {
    let output = write_out(segments, Dots::Perhaps);
    assert_eq!(output.last().map(AsRef::as_ref), Some(&b".\r\n"[..]));
    if dots_slowly(&segments.concat()) == Dots::None {
        assert_eq!(write_out(segments, Dots::None).concat(), output.concat());
    }
    output.concat()
}

/// Writes all batches.
fn write_out(segments: &[Bytes], dots: Dots) -> Vec<Bytes> {
    let mut writer = DataWriter::new(segments.to_vec(), dots);
    let mut output = Vec::new();
    while !writer.is_done() {
        let before = output.len();
        writer.write(&mut output);
        assert!(output.len() > before, "a batch of nothing");
    }
    let written = output.len();
    writer.write(&mut output);
    assert_eq!(output.len(), written, "octets after the end");
    output
}

/// Returns all strings of up to `longest` octets from a set of five.
fn spellings(longest: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..=longest).flat_map(|length| {
        (0..5_usize.pow(length)).map(move |mut number| {
            let octet = |_| {
                let octet = b"\r\n.\0a"[number % 5];
                number /= 5;
                octet
            };
            (0..length).map(octet).collect()
        })
    })
}

fn show(wire: &[u8]) -> String {
    wire.escape_ascii().to_string()
}

/// Octets after the end of data. The decoder must not take them, and they must not change the
/// result.
const TRAILING: &str = "QUIT\r\n\n.\r\n";

#[test]
fn nonstandard_end_of_data_is_content() {
    // The octets between `a` and `b` on the wire, and those between them in the content.
    let table = [
        ("\r\n..\r\n", "\r\n.\r\n"),
        ("\n.\r\n", "\r\n.\r\n"),
        ("\r\n.\n", "\r\n\r\n"),
        ("\n.\n", "\r\n.\r\n"),
        ("\n\n.\n", "\r\n\r\n.\r\n"),
        ("\r\n.\r\r\n", "\r\n \r\n"),
        ("\r\n.\r\r\r\n", "\r\n  \r\n"),
        ("\r\n.\r.\r\n", "\r\n .\r\n"),
        ("\r\n.\r", "\r\n "),
        ("\r.\r", " . "),
        ("\r.\r\n", " .\r\n"),
        ("\r.\n", " .\r\n"),
        ("\n.\r", "\r\n. "),
        ("\n\r.\r\n", "\r\n .\r\n"),
        ("\n\r\n..\n\r", "\r\n\r\n.\r\n "),
        ("\r\0\n.\r\n", " \0\r\n.\r\n"),
        ("\r\n.\0\r\n", "\r\n\0\r\n"),
        ("\r\n\0.\r\n", "\r\n\0.\r\n"),
        ("\r\n.\r\0\n", "\r\n \0\r\n"),
        ("\r\n. \r\n", "\r\n \r\n"),
        ("\r\n .\r\n", "\r\n .\r\n"),
        ("\u{85}.\u{85}", "\u{85}.\u{85}"),
    ];
    for (spelling, meaning) in table {
        let wire = format!("a{spelling}b\r\n.\r\n{TRAILING}");
        let content = format!("a{meaning}b\r\n");
        for parts in cuts(wire.as_bytes()) {
            let read = read(parts.iter().copied()).expect("an end of data");
            assert_eq!(show(&read.content), show(content.as_bytes()), "{spelling:?} {parts:?}");
            assert_eq!(read.taken, wire.len() - TRAILING.len(), "{spelling:?} {parts:?}");
        }
    }
}

#[test]
fn only_crlf_dot_crlf_ends_a_message() {
    // The octets after the DATA line, and the content.
    let table = [
        (".\r\n", ""),
        ("\r\n.\r\n", "\r\n"),
        ("a\r\n.\r\n", "a\r\n"),
        ("..\r\n.\r\n", ".\r\n"),
        ("a\r\r\n.\r\n", "a \r\n"),
        ("a\n\r\n.\r\n", "a\r\n\r\n"),
        (".\n\r\n.\r\n", "\r\n\r\n"),
        (".\n.\r\n\r\n.\r\n", "\r\n.\r\n\r\n"),
        (".\r\r\n.\r\n", " \r\n"),
        ("\n.\r\n.\r\n", "\r\n.\r\n"),
        ("\r.\r\n.\r\n", " .\r\n"),
    ];
    for (wire, content) in table {
        let wire = format!("{wire}{TRAILING}");
        for parts in cuts(wire.as_bytes()) {
            let read = read(parts.iter().copied()).expect("an end of data");
            assert_eq!(show(&read.content), show(content.as_bytes()), "{parts:?}");
            assert_eq!(read.taken, wire.len() - TRAILING.len(), "{parts:?}");
        }
    }
}

#[test]
fn short_inputs_are_decoded_as_in_the_rfc() {
    for spelling in spellings(6) {
        let wire = [&spelling, &b"\r\n.\r\n\n"[..]].concat();
        let slowly = read_slowly(&wire);
        assert_eq!(read([&wire[..]]), slowly, "{}", show(&wire));
        assert_eq!(read(wire.chunks(1)), slowly, "{}", show(&wire));
        assert_eq!(read([&spelling[..]]), read_slowly(&spelling), "{}", show(&spelling));
        let joined = join_slowly(&spelling);
        assert_eq!(join([&spelling[..]]), joined, "{}", show(&spelling));
        assert_eq!(join(spelling.chunks(1)), joined, "{}", show(&spelling));
    }
}

#[test]
fn short_inputs_decode_the_same_in_any_chunks() {
    for spelling in spellings(5) {
        let wire = [&spelling, &b"\r\n.\r\n\n"[..]].concat();
        let (slowly, joined) = (read_slowly(&wire), join_slowly(&wire));
        for parts in cuts(&wire) {
            assert_eq!(read(parts.iter().copied()), slowly, "{parts:?}");
            assert_eq!(join(parts.iter().copied()), joined, "{parts:?}");
        }
    }
}

#[test]
fn short_inputs_decode_the_same_at_block_borders() {
    let borders = [PIECE, GLANCE, GLANCE + PIECE].map(|border| border - 5..=border);
    for spelling in spellings(3) {
        for before in borders.clone().into_iter().flatten() {
            let spelling = [&b"\r\n"[..], &spelling].concat();
            let wire = [&vec![b'a'; before], &spelling, &b"\r\n.\r\n\n"[..]].concat();
            assert_eq!(read([&wire[..]]), read_slowly(&wire), "{before} {}", show(&spelling));
            assert_eq!(join([&wire[..]]), join_slowly(&wire), "{before} {}", show(&spelling));
        }
    }
}

#[test]
fn runs_of_one_octet_are_decoded_as_in_the_rfc() {
    for octet in *b"\r\n." {
        for (before, length) in
            (0..9).flat_map(|before| (0..40).map(move |length| (before, length)))
        {
            let run = [vec![b'a'; before], vec![octet; length]].concat();
            let wire = [&run, &b"\r\n.\r\n\n"[..]].concat();
            assert_eq!(read([&wire[..]]), read_slowly(&wire), "{}", show(&wire));
            assert_eq!(join([&run[..]]), join_slowly(&run), "{}", show(&run));
        }
    }
}

/// Generates mail data: lines, runs of text, and special octets in any order.
fn any_wire() -> impl Strategy<Value = Vec<u8>> {
    let run = (0..3 * PIECE).prop_map(|length| vec![b'x'; length]);
    let long = (GLANCE - 3..GLANCE + 3).prop_map(|length| vec![b'y'; length]);
    let odd = vec(prop::sample::select(&b"\r\n.\0 "[..]), 0..8);
    let line = (0..80_usize).prop_map(|length| [&vec![b'z'; length][..], b"\r\n"].concat());
    let dots = prop::sample::select(vec![&b"\r\n."[..], b"\r\n..", b"\n.", b".\r\n", b"\r\n.\r"]);
    let dots = dots.prop_map(<[u8]>::to_vec);
    let part = prop_oneof![
        4 => run, 1 => long, 6 => odd, 6 => line, 3 => dots, 1 => vec(any::<u8>(), 0..100),
    ];
    // Sometimes the data fills more than one block.
    let before = prop_oneof![9 => Just(0), 1 => FIRST - 100..FIRST + 9, 1 => BLOCK..2 * BLOCK];
    (before, vec(part, 0..40))
        .prop_map(|(before, parts)| [&vec![b'b'; before][..], &parts.concat()].concat())
}

proptest! {
    #[test]
    fn data_is_decoded_as_in_the_rfc(wire in any_wire(), places in vec(any::<usize>(), 0..9)) {
        let wire = [&wire, &b"\r\n.\r\n\rQUIT"[..]].concat();
        let slowly = read_slowly(&wire);
        prop_assert_eq!(read([&wire[..]]), read_slowly(&wire));
        prop_assert_eq!(read(cut_at(&wire, &places)), slowly);
    }

    #[test]
    fn chunks_are_joined_without_a_border(
        wire in any_wire(),
        places in vec(any::<usize>(), 0..9),
    ) {
        let joined = join_slowly(&wire);
        prop_assert_eq!(&join(cut_at(&wire, &places)), &joined);
        let normal = MailData::normalise(&wire);
        prop_assert_eq!(&normal.segments().concat(), &joined.0);
        let again = MailData::normalise(&joined.0);
        prop_assert_eq!(&again.segments().concat(), &joined.0);
    }

    /// Guarantee G: every kind of reader sees the written data as one message with the same end.
    #[test]
    fn written_data_is_one_message_for_every_reader(
        wire in any_wire(),
        places in vec(any::<usize>(), 0..9),
    ) {
        let content = Bytes::from(MailData::normalise(&wire).segments().concat());
        let written = write(&segments(&content, &places));
        for (reader, ends) in lenient_readers(&written) {
            prop_assert_eq!(ends, vec![written.len()], "{}", reader);
        }
        let read = read([&written[..]]).expect("an end of data");
        prop_assert_eq!(&read.content, &content);
        prop_assert!(!read.bare);
    }
}

/// Splits content into segments at these places.
fn segments(content: &Bytes, places: &[usize]) -> Vec<Bytes> {
    let mut cuts: Vec<usize> = places.iter().map(|at| at % (content.len() + 1)).collect();
    cuts.extend([0, content.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| content.slice(pair[0]..pair[1])).collect()
}

/// Returns, for each kind of reader, where it sees an end of data. The kinds cover the observed
/// behaviour of servers, and more.
fn lenient_readers(wire: &[u8]) -> Vec<(&'static str, Vec<usize>)> {
    fn ends(
        wire: &[u8],
        ends_line: impl Fn(&u8) -> bool,
        cut: impl Fn(&[u8]) -> &[u8],
    ) -> Vec<usize> {
        let mut at = 0;
        let lines = wire.split_inclusive(ends_line).map(|line| {
            at += line.len();
            (at, cut(&line[..line.len() - 1]) == b".")
        });
        lines.filter(|(_, end)| *end).map(|(at, _)| at).collect()
    }
    fn without_crs(mut line: &[u8]) -> &[u8] {
        while let Some(shorter) = line.strip_suffix(b"\r") {
            line = shorter;
        }
        line
    }
    fn to_nul(line: &[u8]) -> &[u8] {
        line.split(|octet| *octet == 0).next().unwrap_or_default()
    }
    let lf = |octet: &u8| *octet == LF;
    let whole = [b"\r\n", wire].concat();
    let strict = whole.windows(5).enumerate().filter(|(_, five)| five == b"\r\n.\r\n");
    // Most such readers treat the CR of the last CRLF as a line end, or its LF as an empty line.
    let cr_or_lf = ends(wire, |octet| b"\r\n".contains(octet), |line| line);
    vec![
        ("strict", strict.map(|(at, _)| at + 3).collect()),
        (
            "LF, perhaps CR before it",
            ends(wire, lf, |line| line.strip_suffix(b"\r").unwrap_or(line)),
        ),
        ("LF, any number of CR before it", ends(wire, lf, without_crs)),
        ("NUL ends a line's text", ends(wire, lf, |line| without_crs(to_nul(line)))),
        ("CR, LF or both", cr_or_lf.into_iter().map(|at| at + 1).collect()),
    ]
}

/// Guarantee G2: dot-stuffing does not depend on buffer boundaries. The test puts dots on both
/// sides of the buffer sizes that other servers use.
#[test]
fn dots_are_doubled_per_line() {
    let records = [512, 1000, 1024, 2048, 4096, 8192, 65_536];
    for length in records.into_iter().flat_map(|record| record - 2..=record) {
        let line = |octet: u8| [&vec![octet; length - 2][..], b"\r\n"].concat();
        let content = [
            &line(b'x'),
            &b".\r\n"[..],
            &line(b'.'),
            b"..\r\nx.\r\n.x\r\n",
            &line(b'x')[1..],
            b".x\r\n",
            &line(b'.')[1..],
            b"\r\n.\r\n",
        ]
        .concat();
        let lines = content.split_inclusive(|octet| *octet == LF);
        let stuffed =
            lines.flat_map(|line| [if line[0] == b'.' { "." } else { "" }.as_bytes(), line]);
        let stuffed = [&stuffed.collect::<Vec<_>>().concat(), &b".\r\n"[..]].concat();

        let content = Bytes::from(content);
        let places: Vec<usize> =
            (length - 3..length + 9).chain(2 * length..2 * length + 9).collect();
        assert!(write(std::slice::from_ref(&content)) == stuffed, "{length}");
        assert!(write(&segments(&content, &places)) == stuffed, "{length} in segments");

        let near = |place: usize| place.saturating_sub(3)..(place + 4).min(stuffed.len());
        for at in near(length).chain(near(2 * length)).chain(near(stuffed.len())) {
            let read = read([&stuffed[..at], &stuffed[at..]]).expect("an end of data");
            assert!(read.content == content && read.taken == stuffed.len(), "{length} at {at}");
        }
    }
}

#[test]
fn an_empty_message_is_a_dot() {
    assert_eq!(write(&[]), b".\r\n");
    assert_eq!(write(&[Bytes::new(), Bytes::new()]), b".\r\n");
    assert!(MailData::normalise(b"").is_empty());
    assert!(!MailData::normalise(b"a").is_empty());
}

#[test]
fn content_without_dots_is_not_copied() {
    let content = Bytes::from("Subject: hi.\r\n\r\n Hi.\r\n".repeat(10_000));
    let output = write_out(&[content.clone(), content.clone()], Dots::Perhaps);
    let places: Vec<_> = output.iter().map(|octets| (octets.as_ptr(), octets.len())).collect();
    assert_eq!(places[..2], [(content.as_ptr(), content.len()); 2]);
    assert_eq!(output.len(), 3);
}

#[test]
fn dot_stuffing_bounds_number_and_size_of_slices() {
    for line in [".\r\n", ".a\r\n", ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"] {
        for between in [0, 100, STUFFED, 3 * STUFFED] {
            let content = format!("{line}{}\r\n", "x".repeat(between)).repeat(100);
            let content = Bytes::from(content + &line.repeat(20_000));
            let output = write_out(std::slice::from_ref(&content), Dots::Perhaps);
            assert!(output.len() <= 2 * content.len().div_ceil(STUFFED) + 1);
            let written: usize = output.iter().map(Bytes::len).sum();
            assert_eq!(written, content.len() + 20_100 + 3);
        }
    }
}

#[test]
fn at_most_one_batch_is_copied_at_once() {
    let content = Bytes::from(".\r\n".repeat(BATCH));
    let mut writer = DataWriter::new(vec![content], Dots::Perhaps);
    for _ in 0..2 {
        let mut output = Vec::new();
        writer.write(&mut output);
        assert_eq!(output.len(), BATCH / STUFFED, "of 4 KiB each");
    }
}

#[test]
fn a_cr_may_get_its_lf_in_the_next_chunk() {
    let mut decoder = decoder(u64::MAX);
    decoder.chunk(b"a\r");
    assert!(decoder.saw_bare(), "if nothing more comes");
    decoder.chunk(b"");
    decoder.chunk(b"\n.\r\n\r");
    decoder.chunk(b"\n");
    assert!(!decoder.saw_bare());
    assert_eq!(decoder.finish().unwrap().segments().concat(), b"a\r\n.\r\n\r\n");
}

#[test]
fn the_last_chunk_may_end_anywhere() {
    let table = [
        ("", "", false),
        ("a", "a\r\n", false),
        ("a\r\n", "a\r\n", false),
        ("a\r", "a \r\n", true),
        ("\r", " \r\n", true),
        ("a\n", "a\r\n", true),
        (".\r\n.\r\n.", ".\r\n.\r\n.\r\n", false),
    ];
    for (chunk, content, bare) in table {
        assert_eq!(join([chunk.as_bytes()]), (content.into(), bare), "{chunk:?}");
    }
}
