//! Messages that hide a text: naive encoders for character sets, transfer encodings and containers.

use crate::Dice;

/// Returns the printable characters of octets. Octets from 0xA0 are Latin-1.
pub fn text(octets: &[u8]) -> String {
    let printable = |octet: &&u8| (0x21..0x7f).contains(*octet) || **octet > 0xa0;
    octets.iter().filter(printable).take(200).map(|octet| char::from(*octet)).collect()
}

/// Returns a message that shows this text to a reader, hidden in ways that `dice` chooses.
pub fn message(text: &str, dice: &mut Dice) -> Vec<u8> {
    let (charset, octets) = in_charset(&format!("> {text}"), dice);
    let mut part =
        encoded(&format!("Content-Type: text/plain; charset={charset}\r\n"), &octets, dice);
    // The parser decodes three encodings inside of each other.
    let mut encodings = 3;
    for n in 0..dice.below(4) {
        part = match dice.below(if encodings > 0 { 5 } else { 2 }) {
            0 => [b"Content-Type: message/rfc822\r\n\r\n", &part[..]].concat(),
            1 => multipart(&part, n, dice),
            2 => {
                encodings -= 1;
                encoded("Content-Type: message/rfc822\r\n", &part, dice)
            }
            3 => {
                encodings -= 1;
                let data = signed_data(&part, dice);
                encoded("Content-Type: application/pkcs7-mime\r\n", &data, dice)
            }
            _ => {
                encodings -= 1;
                let field = format!("Content-Type: multipart/mixed; boundary=_{n}\r\n");
                let body = [format!("--_{n}\r\n").as_bytes(), &part].concat();
                encoded(&field, &body, dice)
            }
        };
    }
    part
}

fn in_charset(text: &str, dice: &mut Dice) -> (&'static str, Vec<u8>) {
    let units = || text.encode_utf16();
    match dice.below(7) {
        0 => ("utf-8", text.as_bytes().to_vec()),
        1 => ("iso-8859-1", text.chars().map(|c| u32::from(c) as u8).collect()),
        2 => ("utf-16le", units().flat_map(u16::to_le_bytes).collect()),
        3 => ("utf-16", [0xfeff].into_iter().chain(units()).flat_map(u16::to_be_bytes).collect()),
        4 => ("utf-32be", text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect()),
        5 => ("x-unknown", text.as_bytes().to_vec()),
        _ => {
            let shifted = |c: char| {
                let mut two = [0; 2];
                let octets: Vec<_> =
                    c.encode_utf16(&mut two).iter().flat_map(|it| it.to_be_bytes()).collect();
                format!("+{}-", base64(&octets).trim_end_matches('='))
            };
            ("utf-7", text.chars().map(shifted).collect::<String>().into())
        }
    }
}

/// Returns a part with this body in a transfer encoding.
fn encoded(fields: &str, octets: &[u8], dice: &mut Dice) -> Vec<u8> {
    let (name, body) = match dice.below(3) {
        0 => {
            let length = 1 + dice.below(99);
            let text = base64(octets);
            let lines: Vec<_> =
                text.as_bytes().chunks(length).map(String::from_utf8_lossy).collect();
            ("base64", lines.join("\r\n"))
        }
        1 => {
            let every = 1 + dice.below(30);
            let octet = |(at, octet): (usize, &u8)| {
                let soft = if at % every == 0 { "=\r\n" } else { "" };
                format!("{soft}={octet:02x}")
            };
            ("Quoted-Printable", octets.iter().enumerate().map(octet).collect())
        }
        _ => ("x-uuencode", format!("begin 644 x\r\n{}`\r\nend", uuencode(octets))),
    };
    format!("{fields}Content-Transfer-Encoding: {name}\r\n\r\n{body}\r\n").into_bytes()
}

fn base64(octets: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(*group.get(at).unwrap_or(&0)));
        let sextet = |at: usize| char::from(alphabet[bits >> (18 - 6 * at) & 63]);
        (0..4).map(|at| if at <= group.len() { sextet(at) } else { '=' }).collect::<String>()
    };
    octets.chunks(3).map(group).collect()
}

fn uuencode(octets: &[u8]) -> String {
    let character = |value: usize| if value == 0 { '`' } else { char::from(b' ' + value as u8) };
    let line = |line: &[u8]| {
        let group = |group: &[u8]| {
            let bits =
                (0..3).fold(0, |bits, at| bits << 8 | usize::from(*group.get(at).unwrap_or(&0)));
            (0..4).map(|at| character(bits >> (18 - 6 * at) & 63)).collect::<String>()
        };
        format!("{}{}\r\n", character(line.len()), line.chunks(3).map(group).collect::<String>())
    };
    octets.chunks(45).map(line).collect()
}

/// Returns signed data in BER whose content is these octets, in pieces.
fn signed_data(octets: &[u8], dice: &mut Dice) -> Vec<u8> {
    let element = |tag: u8, value: &[u8], is_definite: bool| {
        let length = u32::try_from(value.len()).expect("a short value").to_be_bytes();
        match is_definite {
            true => [&[tag, 0x84], &length[..], value].concat(),
            false => [&[tag, 0x80], value, &[0, 0]].concat(),
        }
    };
    let mut nested =
        |tag: u8, values: &[Vec<u8>]| element(tag, &values.concat(), dice.below(2) == 0);
    let length = 1 + octets.len() / 3;
    let pieces: Vec<_> = octets.chunks(length).map(|piece| element(4, piece, true)).collect();
    let string = nested(0x24, &pieces);
    let content = nested(0xa0, &[string]);
    let content = nested(0x30, &[element(6, &[0x2a], true), content]);
    let algorithms = nested(0x31, &[]);
    let data = nested(0x30, &[element(2, &[1], true), algorithms, content]);
    let explicit = nested(0xa0, &[data]);
    let kind = element(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2], true);
    nested(0x30, &[kind, explicit])
}

fn multipart(part: &[u8], n: usize, dice: &mut Dice) -> Vec<u8> {
    let boundary = format!("=_{n}");
    let field = match dice.below(4) {
        0 => format!("boundary=\"{boundary}\""),
        1 => format!("(x;y) boundary = {boundary} (z)"),
        2 => format!("boundary*1={n}; boundary*0*=us-ascii''%3d_"),
        _ => format!("\r\n boundary=\r\n\t{boundary}"),
    };
    let head = format!("Content-Type: multipart/mixed; {field}\r\n\r\n--{boundary}\r\n");
    let end = if dice.below(2) == 0 { format!("\r\n--{boundary}--\r\n") } else { String::new() };
    [head.as_bytes(), part, end.as_bytes()].concat()
}
