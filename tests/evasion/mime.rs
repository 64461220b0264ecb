//! Text and links hidden by the structure of a message, its header fields, its transfer encodings
//! and its character sets.

use nobounce::Message;

use crate::{Row, check};

/// What the reader shows.
const SHOWN: &str = "http://bad.example/";

/// Python's `email` with the policies `default` and `compat32`.
const PYTHON: &str = "Python";

/// Rows that scorers do not see, each with the reason.
const HIDDEN: &[(&str, &str)] = &[];

fn rows() -> Vec<Row> {
    let row = |(name, content): (&'static str, &str)| Row {
        name,
        content: content.into(),
        reader: PYTHON,
    };
    let rows = [
        ("plain text", "Subject: x\n\nhttp://bad.example/\n"),
        ("base64", "Content-Transfer-Encoding: base64\n\naHR0cDovL2JhZC5leGFtcGxlLwo=\n"),
    ];
    rows.into_iter().map(row).collect()
}

#[test]
fn text_that_readers_show_is_seen() {
    check(&rows(), HIDDEN, |message: &Message| {
        message.view().texts().any(|text| text.contains(SHOWN))
    });
}
