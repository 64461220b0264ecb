//! Base64 with padding (RFC 4648 section 4), for octets in JSON.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut value = 0;
    while value < 64 {
        values[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    values
};

pub(super) fn encode(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for group in octets.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bits);
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Decodes what [`encode`] returns. `None` for any other text.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|octet| **octet == b'=').count();
    let mut octets = Vec::with_capacity(text.len() / 4 * 3);
    for group in text[..text.len() - padding].chunks(4) {
        let mut bits = 0;
        for octet in group {
            let value = VALUES[usize::from(*octet)];
            if value == u8::MAX {
                return None;
            }
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        octets.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_of_any_length_are_decoded_again() {
        for length in 0..300 {
            let octets: Vec<u8> = (0..length).map(|at| (at * 7 % 256) as u8).collect();
            assert_eq!(decode(&encode(&octets)).as_deref(), Some(&octets[..]), "{length}");
        }
        assert_eq!(encode(b"EHLO x\r\n"), "RUhMTyB4DQo=");
        for wrong in ["A", "AB=", "A===", "AA*=", "AAAAA"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
