//! Parses the table of rules in a report of SpamAssassin (`_SUMMARY_`).

use crate::score::Score;

/// Maximum number of rules taken from a report.
const RULES: usize = 256;
/// Maximum number of spaces before a score. The column is four wide, and scores of 10 and more have
/// no decimals.
const INDENT: usize = 2;

/// A rule that matched the message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) score: Score,
    pub(super) description: String,
}

/// Returns the rules of the last table in `report`:
///
/// ```text
///  pts rule name              description
/// ---- ---------------------- --------------------------------------------------
///  0.6 MISSING_MID            Missing Message-Id: header
/// 1000 GTUBE                  BODY: Generic Test for Unsolicited Bulk Email
/// -0.0 NO_RELAYS              Informational: message was not relayed via SMTP
///  1.3 RCVD_IN_BL             RBL: A description that goes on in the next
///                             line
///                             [192.0.2.1 listed in bl.example]
/// ```
///
/// In some languages the table has no line of dashes. If there is one, rows before it do not count:
/// they belong to the preview of the message. SpamAssassin removes lines of dashes from the
/// preview.
pub(super) fn read(report: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut within = false;
    for line in report.lines() {
        if let Some(rule) = row(line) {
            if !within {
                rules.clear();
            }
            within = true;
            rules.push(rule);
        } else if within && (line.starts_with("   ") || line.starts_with('[')) {
            if let Some(rule) = rules.last_mut() {
                rule.description = format!("{} {}", rule.description, line.trim());
            }
        } else {
            within = false;
            if is_separator(line) {
                rules.clear();
            }
        }
    }
    rules.truncate(RULES);
    rules
}

/// Returns whether this line separates the column heads from the rows.
fn is_separator(line: &str) -> bool {
    line.starts_with("---- ------------") && line.bytes().all(|octet| matches!(octet, b'-' | b' '))
}

/// Parses the first line of a row: score, name, and the start of the description.
fn row(line: &str) -> Option<Rule> {
    let text = line.trim_start_matches(' ');
    let (score, rest) = text.split_once(' ').filter(|_| line.len() - text.len() <= INDENT)?;
    let (name, description) = rest.split_once(' ').unwrap_or((rest, ""));
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let is_word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let score = score.replace(',', ".").parse().ok().filter(|_| starts && is_word)?;
    Some(Rule { name: name.into(), score, description: description.trim().into() })
}

#[cfg(test)]
mod tests;
