//! The GTUBE test string.

use std::sync::LazyLock;

use async_trait::async_trait;
use bytes::Bytes;
use memchr::{memchr, memmem};

use crate::opinion::{Opinion, ScorerError};
use crate::score::{Disclosure, Finding, Score};
use crate::scorer::{DataContext, Scorer};

/// The Generic Test for Unsolicited Bulk Email, as defined by SpamAssassin.
const GTUBE: &[u8] = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

/// Number of octets that are searched.
const SEARCHED: usize = 256 << 10;

/// A scorer that finds the GTUBE string in a message and gives it 1000 points, as SpamAssassin
/// does. Use it to test a refusal without real spam.
///
/// The string is searched in the first 256 KiB of the raw content. It is not found in base64, or in
/// quoted-printable text if a soft line break splits it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gtube;

#[async_trait]
impl Scorer for Gtube {
    fn name(&self) -> &str {
        "gtube"
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(vec!["GTUBE"])
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        if !is_in(at.message.content_segments()) {
            return Ok(Opinion::silent());
        }
        let gtube = Finding::new("GTUBE", Score::points(1000));
        Ok(gtube.with_disclosure(Disclosure::Public).into())
    }
}

/// Returns whether the string occurs in the segments, also across a segment border.
fn is_in(segments: &[Bytes]) -> bool {
    const CUT: usize = GTUBE.len() - 1;
    // The last octets searched. They may be the start of the string.
    let mut border = Vec::new();
    if let [segment] = segments {
        return is_within(&segment[..segment.len().min(SEARCHED)]);
    }
    let mut left = SEARCHED;
    segments.iter().any(|segment| {
        let segment = &segment[..segment.len().min(left)];
        left -= segment.len();
        border.extend_from_slice(&segment[..segment.len().min(CUT)]);
        if is_within(segment) || is_within(&border) {
            return true;
        }
        match segment.len().checked_sub(CUT) {
            Some(begin) => border = segment[begin..].to_vec(),
            None => drop(border.drain(..border.len().saturating_sub(CUT))),
        }
        false
    })
}

/// Returns whether the string occurs in these octets. Most mail contains few asterisks or none, and
/// a search for one octet costs half of a search for the whole string.
fn is_within(octets: &[u8]) -> bool {
    static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(GTUBE));
    let first = GTUBE.iter().position(|octet| *octet == b'*').unwrap_or_default();
    let begin = memchr(b'*', octets).map(|at| at.saturating_sub(first));
    begin.is_some_and(|begin| FINDER.find(&octets[begin..]).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{envelope, message};

    #[test]
    fn gtube_string_is_found_anywhere() {
        let gtube = str::from_utf8(GTUBE).unwrap();
        let (first, second) = gtube.split_at(30);
        let table = [
            (format!("Subject: test\n\n{gtube}\n"), true),
            (format!("Subject: {gtube}\n\n"), true),
            (format!("{}{gtube}", "x\n".repeat(80_000)), true),
            (format!("{first}\n{second}\n"), false),
            (gtube.to_lowercase(), false),
            (first.to_owned(), false),
            (String::new(), false),
            (format!("{}{gtube}", "x".repeat(SEARCHED - GTUBE.len())), true),
            (format!("{}{gtube}", "x".repeat(SEARCHED - GTUBE.len() + 1)), false),
            // At the border of two blocks.
            (format!("{}{gtube}", "x".repeat((64 << 10) - 30)), true),
            (format!("{}{gtube}", "x".repeat((128 << 10) - 66)), true),
        ];
        let one_by_one: Vec<_> = GTUBE.chunks(1).map(Bytes::from_static).collect();
        assert!(is_in(&one_by_one) && !is_in(&one_by_one[1..]));
        for (content, found) in table {
            let (envelope, message) = (envelope("<a@example.com>"), message(&content));
            let opinion =
                pollster::block_on(Gtube.on_data(&DataContext::new(&envelope, &message))).unwrap();
            let expected = Finding::new("GTUBE", Score::points(1000));
            let expected = expected.with_disclosure(Disclosure::Public);
            assert_eq!(opinion, if found { expected.into() } else { Opinion::silent() });
        }
    }
}
