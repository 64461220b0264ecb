//! Header fields that we add: well-formed by construction.

use bytes::Bytes;

/// Beginning of the names of all header fields that are ours. Fields so named that a client sends
/// are forged and do not go onward.
pub(crate) const OURS: &str = "X-Nobounce-";

/// Where a folded line ends at the latest, if it has a space before (RFC 5322 section 2.1.1).
const FOLD: usize = 78;
/// Where a line is folded even without a space (same section: 998 and CRLF).
const HARD_FOLD: usize = 998;

/// A header field that nobounce or one of its users adds. Folded, ended by CRLF, and unable to hold
/// any other CR or LF, whoever chose its value (`guarantee G3`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderField {
    /// The whole field, CRLF included.
    octets: Bytes,
}

/// The name holds an octet that no field name may hold, or is empty or over 64 octets. The fault
/// is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a header field name")]
pub struct BadFieldName;

impl HeaderField {
    /// A field of this name (RFC 5322 section 3.6.8) and value. Control characters in the value
    /// become spaces, and the value is folded.
    pub fn new(name: &str, value: &str) -> Result<Self, BadFieldName> {
        let fits = (1..=64).contains(&name.len());
        if !fits || !name.bytes().all(|octet| (33..127).contains(&octet) && octet != b':') {
            return Err(BadFieldName);
        }
        Ok(Self::fold(name, value.as_bytes()))
    }

    /// The field as it stands in a message, CRLF included.
    pub fn octets(&self) -> &Bytes {
        &self.octets
    }

    /// `name` must be a field name.
    pub(crate) fn fold(name: &str, value: &[u8]) -> Self {
        let mut octets = Vec::with_capacity(name.len() + value.len() + 16);
        octets.extend_from_slice(name.as_bytes());
        octets.push(b':');
        let mut column = octets.len();
        let words = value.split(|octet| octet.is_ascii_control() || *octet == b' ');
        for word in words.filter(|word| !word.is_empty()) {
            let fresh = column == name.len() + 1 && octets.len() == column;
            if !fresh && column + 1 + word.len() > FOLD {
                octets.extend_from_slice(b"\r\n");
                column = 0;
            }
            for piece in word.chunks(HARD_FOLD - FOLD) {
                if column > FOLD {
                    octets.extend_from_slice(b"\r\n");
                    column = 0;
                }
                octets.push(b' ');
                octets.extend_from_slice(piece);
                column += 1 + piece.len();
            }
        }
        octets.extend_from_slice(b"\r\n");
        Self { octets: octets.into() }
    }
}
