//! Base64 in tag values (RFC 6376 section 2.10).

use crate::message::transfer::{FOREIGN, PADDING, SEXTETS, SPACE, decode_groups};

/// Decodes base64. Folding white space between the characters is ignored. Padding at the end may be
/// missing, because some key records omit it.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count, mut padding) = (0_u32, 0_usize, 0_usize);
    let mut rest = text;
    loop {
        if count == 0 && padding == 0 {
            rest = decode_groups(rest, &mut octets);
        }
        let Some((octet, behind)) = rest.split_first() else { break };
        rest = behind;
        let digit = match SEXTETS[usize::from(*octet)] {
            SPACE => continue,
            PADDING => {
                padding += 1;
                continue;
            }
            FOREIGN => return None,
            _ if padding > 0 => return None,
            digit => digit,
        };
        bits = bits << 6 | u32::from(digit);
        count += 1;
        if count == 4 {
            octets.extend_from_slice(&bits.to_be_bytes()[1..]);
            count = 0;
        }
    }
    let (left, most) = match count {
        0 => (0, 0),
        2 => (1, 2),
        3 => (2, 1),
        _ => return None,
    };
    if padding > most {
        return None;
    }
    let last = bits << (6 * (4 - count));
    octets.extend_from_slice(&last.to_be_bytes()[1..1 + left]);
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_ignored_and_padding_is_optional() {
        for (text, octets) in [
            ("", Some("")),
            ("TQ==", Some("M")),
            ("TQ", Some("M")),
            ("TQ=", Some("M")),
            ("TWE=", Some("Ma")),
            ("TWFu", Some("Man")),
            ("TWFuTQ==", Some("ManM")),
            (" T W\r\n\tF u ", Some("Man")),
            ("TQ\r\n =\r\n =", Some("M")),
            ("T", None),
            ("TWFuT", None),
            ("TWFu=", None),
            ("TWE==", None),
            ("TQ===", None),
            ("TQ==TQ==", None),
            ("TW!u", None),
            ("TW-_", None),
            ("TW\x0bFu", None),
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), octets.map(str::as_bytes), "{text:?}");
        }
    }
}
