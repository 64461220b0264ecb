//! Shapes of mail data: in from a client, out to a server.

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
];

/// The smallest read that comes by the thousand: a segment.
const SEGMENT: usize = 1_460;

fn mail(size: usize) -> Work {
    let line = format!("{}\r\n", "x".repeat(74));
    data(line.repeat(size / line.len()), line.repeat(size / line.len()), 64 << 10, 0)
}

fn mail_in_octets(size: usize) -> Work {
    let line = format!("{}\r\n", "x".repeat(74));
    data(line.repeat(size / line.len()), line.repeat(size / line.len()), 1, 0)
}

/// The second is read to its place, in the memory that the first has left.
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

/// The first of them is deleted, and put there again.
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

/// What others take for an end of data, over and over.
fn odd_ends(size: usize) -> Work {
    let count = size / 11;
    data("x\n.\r\n..\n.\r\r".repeat(count) + "\r\n", odd(count), SEGMENT, 3 * count)
}

fn odd(count: usize) -> String {
    "x\r\n.\r\n.\r\n.  ".repeat(count) + "\r\n"
}

/// A client sends this behind DATA, and again, so many octets at a time. It means this, both times.
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

/// A client sends this behind DATA, so many octets at a time. It means this, and `dots` of its lines
/// begin with a dot.
fn data(wire: String, content: String, read: usize, dots: usize) -> Work {
    let said = format!("{HELLO}DATA\r\n{wire}.\r\n");
    Box::new(move || {
        let got = converse(said.as_bytes(), read, true);
        let [(_, taken)] = &got.messages[..] else {
            panic!("{} messages", got.messages.len());
        };
        assert!(taken == content.as_bytes(), "another content");
        // The trace header and what joins it come first.
        let least = taken.len() + dots + ".\r\n".len();
        assert!((least + 1..least + 500).contains(&got.written), "{} for {least}", got.written);
        taken.len()
    })
}
