//! A message as mail-auth reads it: the header section in one piece and bounded, the body hashed block
//! by block.

use bytes::Bytes;
use mail_auth::AuthenticatedMessage;
use mail_auth::common::crypto::{HashAlgorithm, HashContext, HashImpl, Sha1, Sha256};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;

use crate::message::Message;

/// Octets of a header section that is evaluated (OpenDKIM `MaximumHeaders`).
const HEADER: usize = 64 << 10;
/// Fields of a header section that is evaluated. For each name that a signature signs, all fields are
/// looked through.
const FIELDS: usize = 1_000;

/// Why the content cannot be evaluated. The sender is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unevaluated {
    #[error("no header")]
    NoHeader,
    #[error("a header of more than {HEADER} octets or {FIELDS} fields")]
    TooLong,
}

/// Returns the beginning of the content, which holds the header section or what is evaluated of it.
pub(super) fn head(message: &Message) -> Bytes {
    message.content_head(HEADER)
}

/// Returns the author fields alone, as far as their octets are evaluated: what DMARC is about where no
/// signature is evaluated.
pub(super) fn authors(message: &Message) -> Vec<u8> {
    let mut octets = Vec::new();
    for field in message.view().fields().filter(|it| it.name().eq_ignore_ascii_case("From")) {
        if octets.len() + field.value().len() > HEADER {
            break;
        }
        octets.extend([b"From:", field.value(), b"\r\n"].concat());
    }
    octets.extend(b"\r\n");
    octets
}

/// Parses the content, of which this is the head.
pub(super) fn parse<'h>(
    message: &Message,
    head: &'h [u8],
) -> Result<AuthenticatedMessage<'h>, Unevaluated> {
    let segments = message.content_segments();
    let whole = segments.iter().map(Bytes::len).sum::<usize>() == head.len();
    let unread = if whole { Unevaluated::NoHeader } else { Unevaluated::TooLong };
    let mut parsed = AuthenticatedMessage::parse(head).ok_or(unread)?;
    let body = usize::try_from(parsed.body_offset).unwrap_or(usize::MAX);
    if body >= head.len() && !whole || parsed.headers.len() > FIELDS {
        return Err(Unevaluated::TooLong);
    }
    if !whole {
        for (canonicalization, algorithm, length, hash) in &mut parsed.body_hashes {
            *hash = match algorithm {
                HashAlgorithm::Sha1 => hashed::<Sha1>(segments, body, *canonicalization, *length),
                HashAlgorithm::Sha256 => {
                    hashed::<Sha256>(segments, body, *canonicalization, *length)
                }
            };
        }
    }
    Ok(parsed)
}

/// Hashes the body, which begins at `body`. A `length` of 0 is all of it.
fn hashed<H: HashImpl>(
    segments: &[Bytes],
    body: usize,
    canonicalization: Canonicalization,
    length: u64,
) -> Vec<u8> {
    let mut hasher = BodyHasher::new(H::hasher(), canonicalization, length);
    let mut skipped = body;
    for segment in segments {
        let begin = skipped.min(segment.len());
        skipped -= begin;
        hasher.write(&segment[begin..]);
    }
    hasher.finish().0.complete().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// mail-auth hashes the whole body alike, wherever segments end.
        #[test]
        fn a_body_is_hashed_alike_in_segments(
            lines in prop::collection::vec("[a \t]{0,4}", 0..9),
            relaxed: bool,
            header in 0..9_usize,
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let body = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
            let canonicalization =
                if relaxed { Canonicalization::Relaxed } else { Canonicalization::Simple };
            let expected =
                HashAlgorithm::Sha256.hash(canonicalization.canonical_body(body.as_bytes(), 0));
            let octets = "h".repeat(header) + &body;
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (octets.len() + 1)).collect();
            cuts.extend([0, octets.len()]);
            cuts.sort_unstable();
            let segment = |pair: &[usize]| {
                Bytes::copy_from_slice(&octets.as_bytes()[pair[0]..pair[1]])
            };
            let segments: Vec<_> = cuts.windows(2).map(segment).collect();
            let found = hashed::<Sha256>(&segments, header, canonicalization, 0);
            prop_assert_eq!(&found, expected.as_ref());
        }
    }
}
