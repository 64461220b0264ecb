//! Text and links hidden by the structure of a message, its header fields, its transfer encodings
//! and its character sets.

mod charsets;
mod encodings;
mod headers;
mod structure;

use nobounce::Message;

use crate::{Row, check};

/// What the reader shows.
pub(crate) const SHOWN: &str = "http://bad.example/";

/// Python's `email` with the policies `default` or `compat32`.
pub(crate) const PYTHON: &str = "Python";
/// Perl's MIME-tools, which amavis uses.
pub(crate) const MIME_TOOLS: &str = "MIME-tools";
/// The parser of SpamAssassin.
pub(crate) const SPAMASSASSIN: &str = "SpamAssassin";
/// The parser of rspamd.
pub(crate) const RSPAMD: &str = "rspamd";
/// A program that the tests do not run, such as Outlook and Thunderbird.
const OTHER: &str = "another program";

/// Rows that scorers do not see, each with the reason.
const HIDDEN: &[(&str, &str)] = &[];

/// Name of the row, the reader that shows the text, and the message. `%LINK%` stands for the text,
/// `%BASE64%`, `%QP%`, `%UU%` and `%UTF7%` for its encoded forms.
type Text = (&'static str, &'static str, &'static str);

/// Returns all rows.
pub(crate) fn rows() -> Vec<Row> {
    let tables = [headers::ROWS, structure::ROWS, encodings::ROWS, charsets::ROWS];
    let row = |(name, reader, content): &Text| {
        let content = content
            .replace("%LINK%", SHOWN)
            .replace("%BASE64%", "aHR0cDovL2JhZC5leGFtcGxlLw==")
            .replace(
                "%QP%",
                &SHOWN.bytes().map(|octet| format!("={octet:02X}")).collect::<String>(),
            )
            .replace("%UU%", "3:'1T<#HO+V)A9\"YE>&%M<&QE+P``")
            .replace("%UTF7%", "+AGgAdAB0AHAAOgAvAC8AYgBhAGQALgBlAHgAYQBtAHAAbABlAC8-");
        Row { name, reader, content: content.into() }
    };
    let text = tables.into_iter().flatten().map(row);
    text.chain(charsets::rows()).collect()
}

/// Returns whether scorers see the text.
fn sees(message: &Message) -> bool {
    let view = message.view();
    view.texts().any(|text| text.contains(SHOWN))
        || view.parts().iter().any(|part| part.fields().any(|field| field.text().contains(SHOWN)))
}

#[test]
fn text_that_readers_show_is_seen() {
    let rows = rows();
    assert!(rows.len() >= 150, "only {} rows", rows.len());
    check(&rows, HIDDEN, sees);
}
