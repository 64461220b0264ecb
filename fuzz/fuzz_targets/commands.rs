//! Command lines: which lines are commands, what they contain, and that they are forwarded as the
//! client sent them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nobounce::command::LineError;
use nobounce::fuzzing::{self, Spoken};
use nobounce::mailbox::SmtpPath;
use nobounce_fuzz::{Dice, line, shown};

fuzz_target!(|input: &[u8]| {
    let (wire, mut dice) = Dice::split(input);
    let limit = [8, 64, 512, 2048][dice.below(4)];
    let lines = fuzzing::lines(dice.cut(wire), limit);
    assert_eq!(lines, lines_slowly(wire, limit), "{}", shown(wire));
    for line in lines.iter().flatten() {
        is_command(line);
    }
});

/// Splits command lines naively. Lines end in CRLF, contain no control octets except tabs, and have
/// at most `limit` octets. A line that is too long ends with its CRLF. Reading stops at a bare LF.
fn lines_slowly(mut wire: &[u8], limit: usize) -> Vec<Result<Vec<u8>, LineError>> {
    let mut lines = Vec::new();
    loop {
        let lf = wire.iter().take(limit).position(|octet| *octet == b'\n');
        let bare = lf.is_some_and(|lf| lf == 0 || wire[lf - 1] != b'\r');
        if bare {
            lines.push(Err(LineError::BareLf));
            return lines;
        }
        if lf.is_none() && wire.len() >= limit {
            lines.push(Err(LineError::TooLong));
        }
        let Some((text, remaining)) = line(wire) else {
            return lines;
        };
        wire = remaining;
        if lf.is_some() {
            let is_fault = |octet: &&u8| octet.is_ascii_control() && **octet != b'\t';
            lines.push(match text.iter().find(is_fault) {
                None => Ok(text.to_vec()),
                Some(b'\r') => Err(LineError::BareCr),
                Some(_) => Err(LineError::Control),
            });
        }
    }
}

fn is_command(line: &[u8]) {
    // Tabs count as spaces, except in paths, which must not contain any.
    let whole = fuzzing::command(line);
    let line = line.trim_ascii();
    if line.contains(&b'\t') {
        let spaced: Vec<u8> =
            line.iter().map(|octet| if *octet == b'\t' { b' ' } else { *octet }).collect();
        return if whole.is_some() {
            is_command(&spaced)
        };
    }
    let verb: Vec<u8> = line.iter().take_while(|octet| **octet != b' ').copied().collect();
    let verb = verb.to_ascii_uppercase();
    match (fuzzing::command(line), verb.as_slice()) {
        (Some(Spoken::Name(name)), b"EHLO" | b"HELO") => {
            assert!(!name.is_empty() && name.len() <= 255);
            assert!(name.bytes().all(|octet| octet.is_ascii_graphic()));
        }
        (Some(Spoken::Mail(it)), b"MAIL") => {
            let again = is_path(line, b"FROM:", &it.path, it.parameters.raw());
            assert_eq!(fuzzing::command(&again), Some(Spoken::Mail(it)), "{}", shown(line));
        }
        (Some(Spoken::Rcpt(it)), b"RCPT") => {
            let again = is_path(line, b"TO:", &it.path, it.parameters.raw());
            assert_eq!(fuzzing::command(&again), Some(Spoken::Rcpt(it)), "{}", shown(line));
        }
        (Some(Spoken::Bdat(size, last)), b"BDAT") => {
            let words = String::from_utf8_lossy(line).to_uppercase();
            let words: Vec<_> = words.split_ascii_whitespace().skip(1).collect();
            assert!(words.len() == 1 + usize::from(last) && (!last || words[1] == "LAST"));
            assert!(words[0].bytes().all(|digit| digit.is_ascii_digit()));
            assert_eq!(words[0].parse(), Ok(size));
        }
        (Some(Spoken::Other), verb) => {
            let bare =
                [&b"DATA"[..], b"RSET", b"NOOP", b"VRFY", b"EXPN", b"HELP", b"QUIT", b"STARTTLS"];
            assert!(bare.contains(&verb), "{}", shown(line));
        }
        (Some(other), _) => panic!("{other:?} of {}", shown(line)),
        (None, b"NOOP" | b"HELP") => panic!("no command: {}", shown(line)),
        (None, _) => {}
    }
}

/// Returns the command as forwarded. The octets of the path and of the parameters are those of the
/// client, so a server that parses the path differently still finds it in the same octets.
fn is_path(line: &[u8], keyword: &[u8], path: &SmtpPath, parameters: &[u8]) -> Vec<u8> {
    let argument = line[4..].trim_ascii_start();
    assert!(argument[..keyword.len()].eq_ignore_ascii_case(keyword));
    let argument = &argument[keyword.len()..];
    let rest = argument.strip_prefix(&path.written()[..]).expect("the path as written");
    assert_eq!(rest.trim_ascii(), parameters, "{}", shown(line));
    assert!(rest.is_empty() || rest[0] == b' ');

    let address = path.address();
    let is_bracketed = path.written().trim_ascii_start().starts_with(b"<");
    assert!(is_bracketed || !address.contains(&b' '), "{}", shown(line));
    assert_eq!(path.is_null(), address.is_empty());
    assert!(!path.to_string().contains(|c: char| c.is_control()));
    if let Some(mailbox) = path.mailbox() {
        let text = mailbox.to_string();
        // A non-ASCII mailbox is printed with some characters escaped.
        if address.is_ascii() {
            assert!(address.ends_with(text.as_bytes()));
            // Parsing the printed mailbox gives the same mailbox.
            let again = nobounce::ForwardPath::parse(format!("<{text}>")).expect("a path");
            assert_eq!(again.path.mailbox(), Some(mailbox), "{text}");
        }
    }

    let mut command = [&line[..4], b" ", keyword, path.written()].concat();
    if !parameters.is_empty() {
        command.extend_from_slice(b" ");
        command.extend_from_slice(parameters);
    }
    assert!(command.len() <= line.len());
    command
}
