//! Shapes of mail data: incoming from a client, outgoing to a server.

use crate::talk::{HELLO, converse};
use crate::{Shape, Work};

const MIB: usize = 1 << 20;

pub(crate) const SHAPES: &[Shape] = &[
    Shape { name: "mail", size: 32 * MIB, least: 0.5, prepare: mail },
    Shape { name: "mail-in-octets", size: MIB / 4, least: 20.0, prepare: mail_in_octets },
    Shape { name: "mails-in-octets", size: MIB / 8, least: 20.0, prepare: mails_in_octets },
    Shape { name: "mails-of-dots", size: MIB, least: 0.5, prepare: mails_of_dots },
    Shape { name: "one-line", size: 8 * MIB, least: 0.5, prepare: one_line },
    Shape { name: "only-dots", size: 4 * MIB, least: 0.5, prepare: only_dots },
    Shape { name: "only-crlf", size: 2 * MIB, least: 0.5, prepare: only_crlf },
    Shape { name: "only-lf", size: MIB, least: 2.0, prepare: only_lf },
    Shape { name: "only-cr", size: MIB, least: 2.0, prepare: only_cr },
    Shape { name: "dot-lines", size: MIB, least: 2.0, prepare: dot_lines },
    Shape { name: "odd-ends", size: MIB, least: 2.0, prepare: odd_ends },
    Shape { name: "results", size: 20_000, least: 5.0, prepare: results },
    Shape { name: "results-after-junk", size: 20_000, least: 5.0, prepare: results_after_junk },
    Shape { name: "results-in-comments", size: 20_000, least: 5.0, prepare: results_in_comments },
    Shape { name: "results-in-quotes", size: 20_000, least: 5.0, prepare: results_in_quotes },
    Shape { name: "results-unnamed", size: 20_000, least: 5.0, prepare: results_unnamed },
    Shape { name: "results-long-line", size: 20_000, least: 2.0, prepare: results_long_line },
    Shape { name: "forged-and-short", size: 50_000, least: 5.0, prepare: forged_and_short },
    Shape { name: "mailbox-lines", size: 100_000, least: 2.0, prepare: mailbox_lines },
    Shape { name: "only-colons", size: MIB, least: 0.5, prepare: only_colons },
    Shape { name: "only-spaces", size: MIB, least: 0.5, prepare: only_spaces },
];

/// Size of a TCP segment: the smallest read that occurs in large numbers.
const SEGMENT: usize = 1_460;

fn mail(size: usize) -> Work {
    let line = format!("{}\r\n", "x".repeat(74));
    data(line.repeat(size / line.len()), line.repeat(size / line.len()), 64 << 10, 0)
}

fn mail_in_octets(size: usize) -> Work {
    let line = format!("{}\r\n", "x".repeat(74));
    data(line.repeat(size / line.len()), line.repeat(size / line.len()), 1, 0)
}

/// The second mail is read directly into the memory that the first one has freed.
fn mails_in_octets(size: usize) -> Work {
    let line = format!("{}\r\n", "x".repeat(74));
    twice(line.repeat(size / line.len()), line.repeat(size / line.len()), 1)
}

fn mails_of_dots(size: usize) -> Work {
    twice("..\r\n".repeat(size / 4), ".\r\n".repeat(size / 4), 64 << 10)
}

fn one_line(size: usize) -> Work {
    let line = format!("{}\r\n", "x".repeat(size));
    data(line.clone(), line, SEGMENT, 0)
}

/// The first dot is removed when receiving and added again when sending.
fn only_dots(size: usize) -> Work {
    data(format!("{}\r\n", ".".repeat(size)), format!("{}\r\n", ".".repeat(size - 1)), SEGMENT, 1)
}

fn only_crlf(size: usize) -> Work {
    data("\r\n".repeat(size / 2), "\r\n".repeat(size / 2), SEGMENT, 0)
}

fn only_lf(size: usize) -> Work {
    data("\n".repeat(size) + "\r\n", "\r\n".repeat(size + 1), SEGMENT, 0)
}

fn only_cr(size: usize) -> Work {
    data("\r".repeat(size) + "\r\n", " ".repeat(size) + "\r\n", SEGMENT, 0)
}

fn dot_lines(size: usize) -> Work {
    data("..\r\n".repeat(size / 4), ".\r\n".repeat(size / 4), SEGMENT, size / 4)
}

/// Repeats sequences that other servers accept as end of data.
fn odd_ends(size: usize) -> Work {
    let count = size / 11;
    data("x\n.\r\n..\n.\r\r".repeat(count) + "\r\n", odd(count), SEGMENT, 3 * count)
}

fn odd(count: usize) -> String {
    "x\r\n.\r\n.\r\n.  ".repeat(count) + "\r\n"
}

/// Sends the wire data after DATA twice, in reads of the given size. Each must decode to `content`.
fn twice(wire: String, content: String, read: usize) -> Work {
    let mail = HELLO.strip_prefix("EHLO c\r\n").expect("EHLO comes first");
    let said = format!("{HELLO}DATA\r\n{wire}.\r\n{mail}DATA\r\n{wire}.\r\n");
    Box::new(move || {
        let got = converse(said.as_bytes(), read, true);
        assert!(
            got.messages.len() == 2 && got.messages.iter().all(|(_, it)| it == content.as_bytes())
        );
        said.len()
    })
}

/// Sends the wire data after DATA, in reads of the given size. It must decode to `content`, in
/// which `dots` lines begin with a dot.
fn data(wire: String, content: String, read: usize, dots: usize) -> Work {
    let said = format!("{HELLO}DATA\r\n{wire}.\r\n");
    Box::new(move || {
        let got = converse(said.as_bytes(), read, true);
        let [(_, taken)] = &got.messages[..] else {
            panic!("{} messages", got.messages.len());
        };
        assert!(taken == content.as_bytes(), "another content");
        // The trace header and the fields around it come first.
        let least = taken.len() + dots + ".\r\n".len();
        assert!((least + 1..least + 500).contains(&got.written), "{} for {least}", got.written);
        taken.len()
    })
}

fn results(size: usize) -> Work {
    let lines = "Authentication-Results: x\r\n".repeat(size);
    header(lines.clone(), lines)
}

/// A parser may regard each line as a field that the next lines continue.
fn results_after_junk(size: usize) -> Work {
    let lines = format!("Subject: x\r\njunk\r\n{}", " Authentication-Results: x\r\n".repeat(size));
    header(lines.clone(), lines)
}

fn results_in_comments(size: usize) -> Work {
    let lines =
        format!(" Authentication-Results: ({}", "\r\n Authentication-Results: (".repeat(size));
    header(format!("Subject: x\r\njunk\r\n{lines}\r\n"), "Subject: x\r\njunk\r\n".into())
}

/// Every second line closes the quotes.
fn results_in_quotes(size: usize) -> Work {
    let lines = " Authentication-Results: \"\r\n".repeat(size / 2 * 2);
    header(format!("Subject: x\r\njunk\r\n{lines}"), format!("Subject: x\r\njunk\r\n{lines}"))
}

fn results_unnamed(size: usize) -> Work {
    let lines = " Authentication-Results:\r\n \t \r\n".repeat(size);
    header(format!("Subject: x\r\njunk\r\n{lines}"), format!("Subject: x\r\njunk\r\n{lines}"))
}

/// A long line after many short ones.
fn results_long_line(size: usize) -> Work {
    let lines = " Authentication-Results:\r\n".repeat(20);
    let long = format!("{lines} {}\r\n", "x".repeat(size * 40));
    header(format!("Subject: x\r\njunk\r\n{long}"), format!("Subject: x\r\njunk\r\n{long}"))
}

fn forged_and_short(size: usize) -> Work {
    header("X-Nobounce-A:\r\nb:\r\n".repeat(size), "b:\r\n".repeat(size))
}

fn mailbox_lines(size: usize) -> Work {
    // The first 16 become fields.
    let (fields, rest) = ("Mailbox-Line: From a\r\n".repeat(16), "From a\r\n".repeat(size - 16));
    header("From a\r\n".repeat(size), fields + &rest)
}

fn only_colons(size: usize) -> Work {
    let lines = format!("a:\r\n{}\r\n", ":".repeat(size));
    header(lines.clone(), lines)
}

fn only_spaces(size: usize) -> Work {
    let lines = format!("a:\r\nb\r\n{}\r\n", " ".repeat(size));
    header(lines.clone(), lines)
}

/// Sends a message with these header lines. `kept` must be forwarded.
fn header(lines: String, kept: String) -> Work {
    let said = format!("{HELLO}DATA\r\n{lines}\r\nbody\r\n.\r\n");
    Box::new(move || {
        let got = converse(said.as_bytes(), 64 << 10, true);
        let least = kept.len() + "\r\nbody\r\n.\r\n".len();
        assert!((least + 1..least + 500).contains(&got.written), "{} for {least}", got.written);
        lines.len()
    })
}
