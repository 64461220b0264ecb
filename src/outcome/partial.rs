//! Restrictions in 2xx replies to the content: the server accepted the message for only some
//! recipients, or discarded it.

use crate::wire::reply::Reply;

/// Prefixes of the words for a recipient that does not get the message. amavisd writes `REJECT`,
/// `BOUNCE`, `DISCARD`, `DISCARD(bounce.suppressed)` and `TEMPFAIL`.
const FATES: [&str; 9] =
    ["reject", "bounce", "discard", "defer", "drop", "fail", "refuse", "tempfail", "undeliver"];

/// Returns whether a 2xx reply says that some recipients do not get the message. amavisd writes
/// `250 2.0.0 Ok: queued as 4D, but 1 REJECT, and 2 DISCARD`. It omits `but` if no recipient gets
/// the message and the reasons differ.
pub(crate) fn is_partial(reply: &Reply) -> bool {
    let text = joined(reply);
    let words: Vec<&str> = words(&text).collect();
    let behind_but = words.iter().skip_while(|word| **word != "but").skip(1);
    let is_count = |word: &str| word.bytes().all(|octet| octet.is_ascii_digit());
    let counted = |words: &[&str]| {
        matches!(words, [before, count, fate]
            if matches!(*before, "," | "but" | "and") && is_count(count) && is_fate(fate))
    };
    behind_but.into_iter().any(|word| is_fate(word)) || words.windows(3).any(counted)
}

/// Returns whether a 2xx reply says that the message is not delivered. Either it is discarded
/// (`250 2.7.0 Ok, discarded, id=4D`, amavisd), or the server sends its own bounce
/// (`250 2.5.0 Ok, id=4D, BOUNCE`).
pub(crate) fn is_discarded(reply: &Reply) -> bool {
    let text = joined(reply);
    let words: Vec<&str> = words(&text).collect();
    let alone = |words: &[&str]| matches!(words, [",", fate] if fate.starts_with("bounce") || fate.starts_with("reject"));
    words.iter().any(|word| word.starts_with("discard"))
        || words.windows(2).any(alone)
        || is_partial(reply)
}

fn is_fate(word: &str) -> bool {
    FATES.iter().any(|fate| word.starts_with(fate))
}

/// Joins the text of all lines, in lower case. amavisd splits a long reply at any position, also
/// within a word, and repeats the status on each line.
fn joined(reply: &Reply) -> String {
    let is_status = |word: &str| word.bytes().all(|it| it.is_ascii_digit() || it == b'.');
    let mut text = String::new();
    for line in reply.lines() {
        let rest =
            line.split_once(' ').filter(|(first, _)| first.contains('.') && is_status(first));
        text.push_str(rest.map_or(line, |(_, rest)| rest));
    }
    text.make_ascii_lowercase();
    text
}

/// Splits a text into words, numbers and commas, and drops all other characters. Adjacent digits
/// and letters are separate words: a line end between `but` and `1` leaves `but1 reject`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == ',';
        rest = &rest[rest.find(is_part)?..];
        let kind = |c: char| (c.is_ascii_digit(), c.is_ascii_alphabetic());
        let first = rest.chars().next()?;
        let end = match first {
            ',' => 1,
            _ => rest.find(|c| kind(c) != kind(first)).unwrap_or(rest.len()),
        };
        let (word, behind) = rest.split_at(end);
        rest = behind;
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::{is_discarded, is_partial};
    use crate::wire::reply::{Reply, ReplyLimits, ReplyReader};

    fn read(wire: &str) -> Reply {
        let mut reader = ReplyReader::default();
        reader.receive(wire.as_bytes());
        reader.receive(b"\r\n");
        reader.next(ReplyLimits::default()).unwrap().unwrap()
    }

    #[test]
    fn reply_for_some_recipients_is_partial() {
        for wire in [
            "250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4D, but 1 REJECT",
            "250 2.0.0 Ok: queued as 4D, but 12 DISCARD",
            "250 2.0.0 Ok: queued as 4D, but 1 BOUNCE",
            "250 2.0.0 Ok: queued as 4D, but 1 TEMPFAIL",
            "250 2.0.0 Ok: queued as 4D, but 1 REJECT, and 1 BOUNCE, and 2 DISCARD",
            "250 2.0.0 Ok: queued as 4D, but 1 DISCARD(bounce.suppressed)",
            "250 2.0.0 Ok: queued as 4D, but 1 reject",
            "250 2.6.0 Ok, id=1-2, but 1 Reject, 2 Discard",
            "250 2.5.0 Ok, id=1-2, continue delivery, but 1 DISCARD",
            // No recipient gets the message, for two different reasons: amavisd omits the `but`.
            "250 2.5.0 Ok, id=1-2, 1 REJECT, and 1 BOUNCE",
            "250 Ok, but 2 recipients were rejected",
            "250 Ok BUT 1 REJECTED",
            // Split as amavisd splits replies, and at other positions.
            "250-2.0.0 Ok: queued as 4D, but 1 RE\r\n250 2.0.0 JECT",
            "250-2.0.0 Ok: queued as 4D, but\r\n250 2.0.0 1 REJECT",
            "250-2.0.0 Ok: queued as 4D, but 1\r\n250 REJECT",
            "250-Ok: queued as 4D, bu\r\n250 t 1 REJECT",
        ] {
            assert!(is_partial(&read(wire)), "{wire}");
            assert!(is_discarded(&read(wire)), "{wire}");
        }
    }

    #[test]
    fn reply_for_all_recipients_is_not_partial() {
        for wire in [
            "250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4DREJECT",
            "250 2.0.0 Ok: queued as 1REJECT",
            "250 2.0.0 Ok, id=1 REJECT",
            "250 2.0.0 Ok: queued as butREJECT",
            "250 2.0.0 button 1 rejected",
            "250 OK id=1abc-00-but",
            "250",
        ] {
            assert!(!is_partial(&read(wire)), "{wire}");
            assert!(!is_discarded(&read(wire)), "{wire}");
        }
    }

    #[test]
    fn discarded_message_is_recognised() {
        for wire in [
            "250 2.7.0 Ok, discarded, id=1-2 - spam",
            "250 2.7.0 Ok, DISCARDED",
            "250 2.5.0 Ok, id=1-2, BOUNCE",
            "250 2.5.0 Ok, id=1-2, DISCARD(bounce.suppressed)",
        ] {
            assert!(is_discarded(&read(wire)), "{wire}");
            assert!(!is_partial(&read(wire)), "{wire}");
        }
    }
}
