//! A domain in an address, as a name.

use std::borrow::Cow;

use super::{AuthorFault, Authors};
use crate::dns::{DomainName, a_labels};
use crate::message::charset;

/// Adds the domain in this text, or each domain that programs may read in it. Returns whether one
/// of them is new.
pub(super) fn add(text: &[u8], authors: &mut Authors) -> bool {
    // Programs in C may treat NUL as the end of the text.
    let nul = text.iter().position(|octet| *octet == 0).filter(|nul| *nul > 0);
    let before = nul.is_some_and(|nul| add_one(&text[..nul], authors));
    let is_control = |octet: &u8| octet.is_ascii_control();
    match text.iter().any(is_control) {
        false => add_one(text, authors),
        true => {
            authors.note(AuthorFault::Character);
            let visible: Vec<_> = text.iter().copied().filter(|it| !is_control(it)).collect();
            add_one(&visible, authors) | before
        }
    }
}

fn add_one(text: &[u8], authors: &mut Authors) -> bool {
    let Some(name) = name(text) else {
        authors.note(AuthorFault::Domain);
        return false;
    };
    // Empty labels are invalid, but programs may ignore them. One at the end is only unusual.
    let is_clean = text.is_ascii() || str::from_utf8(text).is_ok();
    let has_empty = name.split(|octet| *octet == b'.').rev().skip(1).any(<[u8]>::is_empty);
    let labels = name.split(|octet| *octet == b'.').filter(|label| !label.is_empty());
    let domain = DomainName::from_octets(&labels.collect::<Vec<_>>().join(&b'.'));
    match domain {
        Ok(domain) => {
            if !is_clean || has_empty || !domain.is_plain() {
                authors.note(AuthorFault::Domain);
            }
            authors.add(domain)
        }
        Err(_) => {
            authors.note(AuthorFault::Domain);
            false
        }
    }
}

/// Converts U-labels to A-labels. Text that is not UTF-8 is read as windows-1252, as mail programs do.
fn name(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if text.is_ascii() {
        return Some(text.into());
    }
    a_labels(charset::decode(None, text).as_bytes()).map(|name| name.into_owned().into())
}
