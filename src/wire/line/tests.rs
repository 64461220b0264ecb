use proptest::prelude::*;

use super::*;

const LIMIT: usize = 12;

/// Reads these chunks as a session does. Returns lines and faults, up to [`LineError::BareLf`] or
/// [`LineError::Endless`], and the octets that are left in the buffer.
fn read<'c>(
    limit: usize,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> (Vec<Result<Vec<u8>, LineError>>, Vec<u8>) {
    let mut reader = LineReader::new(limit);
    let mut buffer = Vec::new();
    let mut seen = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            let (taken, line) = reader.next(&buffer);
            if let Some(line) = line {
                seen.push(line.map(<[u8]>::to_vec));
                if matches!(line, Err(LineError::BareLf | LineError::Endless)) {
                    return (seen, Vec::new());
                }
            } else if taken == 0 {
                break;
            }
            buffer.drain(..taken);
        }
    }
    (seen, buffer)
}

#[test]
fn lines_are_read_in_every_chunking() {
    use LineError::{BareCr, BareLf, Control, TooLong};
    for (input, lines, left) in [
        ("", &[][..], ""),
        ("NOOP", &[], "NOOP"),
        ("NOOP\r", &[], "NOOP\r"),
        ("NOOP\r\n", &[Ok("NOOP")], ""),
        ("\r\n", &[Ok("")], ""),
        ("NOOP\r\nQUIT\r\nRS", &[Ok("NOOP"), Ok("QUIT")], "RS"),
        ("\u{e9}\r\n", &[Ok("\u{e9}")], ""),
        // A bare LF is reported at once; nothing after it is read.
        ("A\n", &[Err(BareLf)], ""),
        ("\n", &[Err(BareLf)], ""),
        ("A\nQUIT", &[Err(BareLf)], ""),
        ("A\nQUIT\r\nNOOP\r\n", &[Err(BareLf)], ""),
        ("A\n\r\nNOOP\r\n", &[Err(BareLf)], ""),
        ("A\0B\nC\r\nNOOP\r\n", &[Err(BareLf)], ""),
        ("NOOP\r\nA\nQUIT\r\n", &[Ok("NOOP"), Err(BareLf)], ""),
        // The whole line with a bare CR or another control octet is refused.
        ("A\rB\r\nNOOP\r\n", &[Err(BareCr), Ok("NOOP")], ""),
        ("A\r\r\nNOOP\r\n", &[Err(BareCr), Ok("NOOP")], ""),
        ("\rA\r\n", &[Err(BareCr)], ""),
        ("A\0B\r\nNOOP\r\n", &[Err(Control), Ok("NOOP")], ""),
        ("A\tB\r\n", &[Ok("A\tB")], ""),
        ("A\tB\0\r\n", &[Err(Control)], ""),
        ("A\tB\rC\r\n", &[Err(BareCr)], ""),
        ("A\x7f\r\n", &[Err(Control)], ""),
        ("A\x1b\rB\r\n", &[Err(Control)], ""),
        ("A\r\x1bB\r\n", &[Err(BareCr)], ""),
        // At the limit, over it, and the lines after that.
        ("123456789A\r\n", &[Ok("123456789A")], ""),
        ("123456789AB\r\nNOOP\r\n", &[Err(TooLong), Ok("NOOP")], ""),
        ("123456789ABC\r\nNOOP\r\n", &[Err(TooLong), Ok("NOOP")], ""),
        ("123456789ABCDEFGHIJKLMNOP\r\nNOOP\r\n", &[Err(TooLong), Ok("NOOP")], ""),
        ("123456789ABCDEFGHIJKLMNOP\nQUIT\r\nNOOP\r\n", &[Err(TooLong), Ok("NOOP")], ""),
        ("123456789AB\nNOOP\r\nX\r\n", &[Err(BareLf)], ""),
        ("123456789ABC\nNOOP\r\nX\r\n", &[Err(TooLong), Ok("X")], ""),
        ("123456789ABC", &[Err(TooLong)], ""),
        ("123456789AB", &[], "123456789AB"),
    ] {
        let lines = lines.iter().map(|line| line.map(|line| line.as_bytes().to_vec()));
        let expected = (lines.collect::<Vec<_>>(), left.as_bytes().to_vec());
        let input = input.as_bytes();
        assert_eq!(read(LIMIT, [input]), expected, "{:?}", input.escape_ascii());
        assert_eq!(read(LIMIT, input.chunks(1)), expected, "{:?}", input.escape_ascii());
        for at in 0..input.len() {
            let cut = [&input[..at], &input[at..]];
            assert_eq!(read(LIMIT, cut), expected, "{:?} cut at {at}", input.escape_ascii());
        }
    }
}

#[test]
fn endless_line_is_cut_off() {
    let faults = |faults: &[LineError]| faults.iter().map(|fault| Err(*fault)).collect::<Vec<_>>();
    // The longest line that is not endless, with CRLF at its end.
    let mut line = [&vec![b'x'; DISCARD - 2], &b"\r\n"[..]].concat();
    let next = [&line, &b"NOOP\r\n"[..]].concat();
    for size in [1, 1000, next.len()] {
        let (seen, _) = read(LIMIT, next.chunks(size));
        assert_eq!(seen, [Err(LineError::TooLong), Ok(b"NOOP".to_vec())]);
    }
    line.insert(0, b'x');
    for size in [1, 1000, line.len()] {
        let endless = faults(&[LineError::TooLong, LineError::Endless]);
        assert_eq!(read(LIMIT, line.chunks(size)).0, endless);
    }
    let mut reader = LineReader::new(LIMIT);
    let flood = vec![b'x'; DISCARD * 2];
    let (first, _) = reader.next(&flood);
    let (second, _) = reader.next(&flood[first..]);
    let rest = &flood[first + second..];
    assert_eq!(reader.next(rest), (0, Some(Err(LineError::Endless))), "and it stays so");
}

#[test]
fn reader_can_be_reused() {
    let mut reader = LineReader::new(LIMIT);
    assert_eq!(reader.next(b"NOO"), (0, None));
    reader.restart();
    assert_eq!(reader.next(b"A\r\n"), (3, Some(Ok(&b"A"[..]))));
    // If the caller loses octets, the only effect is lost lines.
    assert_eq!(reader.next(b"NOO"), (0, None));
    assert_eq!(reader.next(b"N"), (0, None));
}

/// Reference reader, which splits lines octet by octet as RFC 5321 specifies.
fn oracle(limit: usize, input: &[u8]) -> Vec<Result<Vec<u8>, LineError>> {
    let mut seen = Vec::new();
    let mut line = Vec::new();
    let mut skipping = false;
    let mut last = 0;
    for octet in input {
        line.push(*octet);
        let ends = last == b'\r' && *octet == b'\n';
        last = *octet;
        if skipping {
            skipping = !ends;
            line.clear();
        } else if ends {
            line.truncate(line.len() - 2);
            let is_fault = |octet: &&u8| octet.is_ascii_control() && **octet != b'\t';
            seen.push(match line.iter().find(is_fault) {
                Some(b'\r') => Err(LineError::BareCr),
                Some(_) => Err(LineError::Control),
                None => Ok(line.clone()),
            });
            line.clear();
        } else if *octet == b'\n' || line.len() == limit {
            if *octet == b'\n' {
                seen.push(Err(LineError::BareLf));
                return seen;
            }
            seen.push(Err(LineError::TooLong));
            skipping = true;
            line.clear();
        }
    }
    seen
}

proptest! {
    #[test]
    fn lines_are_read_as_in_the_rfc(
        octets in prop::collection::vec(prop_oneof![
            4 => Just(b'a'), 4 => Just(b'\r'), 4 => Just(b'\n'), 1 => Just(0), 1 => any::<u8>(),
            4 => Just(b'\t'),
        ], 0..60),
        size in 1..20_usize,
        limit in 2..20_usize,
    ) {
        let expected = oracle(limit, &octets);
        prop_assert_eq!(&read(limit, [&octets[..]]).0, &expected);
        prop_assert_eq!(&read(limit, octets.chunks(size)).0, &expected);
        prop_assert_eq!(&read(limit, octets.chunks(1)).0, &expected);
    }
}
