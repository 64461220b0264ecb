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
    let (name, is_clean) = name(text);
    // Empty labels are invalid, but programs may ignore them. One at the end is only unusual.
    let has_empty = name.split(|octet| *octet == b'.').rev().skip(1).any(<[u8]>::is_empty);
    let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    if !is_clean || has_empty || !name.iter().all(is_plain) {
        authors.note(AuthorFault::Domain);
    }
    // Programs may end a domain at a character that no domain has, or begin it there.
    let parts = || name.split(|octet| !is_plain(octet)).filter(|part| part.contains(&b'.'));
    if parts().next().is_none() {
        return add_name(&name, authors);
    }
    parts().fold(false, |is_new, part| add_name(part, authors) | is_new)
}

fn add_name(name: &[u8], authors: &mut Authors) -> bool {
    let labels = name.split(|octet| *octet == b'.').filter(|label| !label.is_empty());
    match DomainName::from_octets(&labels.collect::<Vec<_>>().join(&b'.')) {
        Ok(domain) => authors.add(domain),
        Err(_) => {
            authors.note(AuthorFault::Domain);
            false
        }
    }
}

/// Converts U-labels to A-labels. Also returns whether they are valid. Text that is not UTF-8 is read as
/// windows-1252, as mail programs do. If the conversion fails, signs are left out, because most of those
/// that are not allowed are not visible.
fn name(text: &[u8]) -> (Cow<'_, [u8]>, bool) {
    if text.is_ascii() {
        return (text.into(), true);
    }
    let is_utf8 = str::from_utf8(text).is_ok();
    let text = charset::decode(None, text);
    let labels = |text: &str| a_labels(text.as_bytes()).map(Cow::into_owned);
    if let Some(name) = labels(&text) {
        return (name.into(), is_utf8);
    }
    let is_letter = |c: &char| c.is_ascii() || c.is_alphanumeric();
    let letters: String = text.chars().filter(is_letter).collect();
    let name = labels(&letters).unwrap_or_else(|| {
        let ascii: String = letters.chars().filter(char::is_ascii).collect();
        ascii.into()
    });
    (name.into(), false)
}
