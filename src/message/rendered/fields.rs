//! Links in header fields that mail programs display.

use super::found::{Found, Shown};
use super::link::LinkPlace;
use super::text::Search;
use crate::message::field::Field;
use crate::message::part::MimePart;

/// Maximum total length of the searched fields of a message, in octets.
pub(super) const FIELDS: usize = 64 << 10;

/// Fields whose whole text is displayed.
const TEXTS: &[&str] = &[
    "Subject",
    "Comments",
    "Keywords",
    "Organization",
    "Reply-To",
    "List-Unsubscribe",
    "List-Help",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Content-Description",
    // Bases of relative links (RFC 2557).
    "Content-Base",
    "Content-Location",
];

/// Fields with addresses. Only their display names and comments are searched: the addresses are not
/// links.
const ADDRESSES: &[&str] = &["From", "Sender", "To", "Cc"];

/// Searches the header fields of a part. Attached messages are parts, too. `room` is the number of
/// octets that may still be searched.
pub(super) fn search(part: &MimePart, order: usize, room: &mut usize, found: &mut Found) {
    for field in part.fields() {
        let is = |names: &[&str]| names.iter().any(|name| field.name().eq_ignore_ascii_case(name));
        let is_addresses = is(ADDRESSES);
        if !is_addresses && !is(TEXTS) {
            continue;
        }
        if field.value().len() > *room {
            found.truncated = true;
            return;
        }
        let begin = FIELDS - *room;
        *room -= field.value().len();
        let text = if is_addresses { names(&field) } else { field.text() };
        let shown = Shown::at(LinkPlace::Field, false);
        found.text((order, begin), &text, Search::Prose, shown);
    }
}

/// Returns the display names of the addresses in a field.
fn names(field: &Field<'_>) -> String {
    let text = field.text();
    if !text.contains('<') {
        // An address alone is not a display name, unless a comment follows.
        return text.split_once('(').map_or(String::new(), |(_, comment)| comment.to_owned());
    }
    let names =
        text.split('>').map(|mailbox| mailbox.rsplit_once('<').map_or(mailbox, |(name, _)| name));
    names.collect::<Vec<_>>().join(" ")
}
