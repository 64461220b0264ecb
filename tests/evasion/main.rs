//! The table of evasions: messages that hide a text or a link from a filter, while a reader shows it
//! to its user. Each row names the reader. Scorers must see at least 98 % of the rows. Rows that they
//! do not see are listed with the reason.

#![cfg(all(feature = "serve", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[cfg(feature = "links")]
mod links;
mod mime;
mod readers;

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use nobounce::Message;
use nobounce::message::MailData;
use nobounce::testing::envelope;

/// A message of the table.
struct Row {
    /// Describes how the message hides its text. Unique within its table.
    name: &'static str,
    /// Header and body. A line end is LF or CRLF.
    content: Vec<u8>,
    /// The program that shows the text.
    reader: &'static str,
}

/// Returns the message as scorers get it.
fn message(content: &[u8]) -> Message {
    Message::new(
        "mx.example",
        &envelope("<a@example.org>"),
        UNIX_EPOCH,
        MailData::normalise(content),
    )
}

/// Checks that scorers see all rows except those that `hidden` lists with the reason, and at least
/// 98 % of all. `sees` returns whether scorers see what the reader shows.
fn check(rows: &[Row], hidden: &[(&str, &str)], sees: impl Fn(&Message) -> bool) {
    let names: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "names are unique");
    let listed: BTreeSet<_> = hidden.iter().map(|(name, _)| *name).collect();
    let not_seen = rows.iter().filter(|row| !sees(&message(&row.content)));
    let not_seen: BTreeSet<_> = not_seen.map(|row| row.name).collect();
    for row in rows.iter().filter(|row| not_seen.contains(row.name) != listed.contains(row.name)) {
        println!("{}, shown by {}:\n{}", row.name, row.reader, row.content.escape_ascii());
    }
    let seen = rows.len() - not_seen.len();
    println!("{seen} of {} rows seen", rows.len());
    assert_eq!(not_seen, listed, "rows that scorers do not see, and the list of them");
    assert!(100 * seen >= 98 * rows.len());
}
