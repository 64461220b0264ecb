//! Builds signed and sealed messages from a list of edits.

use nobounce::authentication::arc::{ChainResult, ChainValidation};

use super::KEYS;
use crate::signer::{Form, Key, Sign};

/// A message with a number of sets, each edit of which changes one thing.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) sets: usize,
    pub(super) edits: &'static [Edit],
    pub(super) expected: Expected,
}

/// The result of a case, with the reason if it fails.
#[derive(Debug)]
pub(super) enum Expected {
    None,
    Pass,
    Fail(&'static str),
}

impl Expected {
    pub(super) fn is(&self, found: &ChainValidation) -> bool {
        let (result, reason) = match self {
            Self::None => (ChainResult::None, None),
            Self::Pass => (ChainResult::Pass, None),
            Self::Fail(reason) => (ChainResult::Fail, Some(*reason)),
        };
        (found.result, found.reason.as_deref()) == (result, reason)
    }
}

/// What is changed, the old text and the new one. `*` as the old text is all of it, and `*` in the new
/// text stands for all of the old one.
///
/// - `ams1`: the first `ARC-Message-Signature` before it is signed; `seal1` and `aar1` alike.
/// - `ams1!`: the field after it is signed, so that the seals sign the change.
/// - `ams1!!`: the field after everything is signed.
/// - `text`: the message itself before it is signed.
/// - `text2`: the same before the second set is made.
/// - `text!!`: the same after everything is signed.
pub(super) type Edit = (&'static str, &'static str, &'static str);

pub(super) const TEXT: &str = "MIME-Version: 1.0\r\n\
    Received: from b.example by c.example;\r\n\
    \tTue, 3 Jan 2023 12:22:54 -0800\r\n\
    Received: from a.example by b.example\r\n\
    Message-ID: <1@a.example>\r\n\
    Date: Tue, 3 Jan 2023 12:22:53 -0800\r\n\
    From: Ann <ann@a.example>\r\n\
    To: list@example.org\r\n\
    Subject: An example\r\n\
    \r\n\
    Hello everybody,\r\n\
    this is a test.\r\n\
    Ann\r\n";

const AAR: &str = "ARC-Authentication-Results: i={i}; lists.example.org;\r\n\
    \tspf=pass smtp.mfrom=ann@a.example;\r\n\
    \tdkim=pass header.i=@a.example\r\n";
const AMS: &str = "i={i}; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=dummy; t=12345; \
    h=from:to:date:subject:mime-version:arc-authentication-results; bh={bh}; b={b}";
const SEAL: &str = "i={i}; a=rsa-sha256; cv={cv}; d=example.org; s=dummy; t=12345; b={b}";

pub(super) fn build(case: &Case) -> String {
    let edit = |text: String, place: &str| {
        case.edits.iter().filter(|edit| edit.0 == place).fold(text, |text, (_, old, new)| {
            if *old == "*" {
                return new.replace('*', &text);
            }
            assert!(text.contains(old), "{}: no {old} in {text}", case.name);
            text.replace(old, new)
        })
    };
    let mut text = edit(TEXT.to_owned(), "text");
    // The fields of each set: results, signature, seal.
    let mut sets: Vec<[String; 3]> = Vec::new();
    let whole = |sets: &[[String; 3]], text: &str| {
        let newest_first = sets
            .iter()
            .rev()
            .map(|[results, signature, seal]| format!("{seal}{signature}{results}"));
        newest_first.collect::<String>() + text
    };
    for instance in 1..=case.sets {
        let i = instance.to_string();
        text = edit(text, &format!("text{i}"));
        let results = edit(AAR.replace("{i}", &i), &format!("aar{i}"));
        let tags = edit(AMS.replace("{i}", &i), &format!("ams{i}"));
        let below = format!("{results}{}", whole(&sets, &text));
        let form = |place| match tag(&tags, "c").split('/').nth(place) {
            Some("simple") => Form::Simple,
            _ => Form::Relaxed,
        };
        let signature = Sign {
            name: "ARC-Message-Signature",
            key: key(&tags),
            header: form(0),
            body: form(1),
            length: None,
            names: tag(&tags, "h"),
            tags: &tags,
        };
        let signature = edit(signature.field(&below), &format!("ams{i}!"));
        let results = edit(results, &format!("aar{i}!"));
        let cv = if instance == 1 { "none" } else { "pass" };
        let tags = edit(SEAL.replace("{i}", &i).replace("{cv}", cv), &format!("seal{i}"));
        let below = format!("{signature}{results}{}", whole(&sets, &text));
        let one = "arc-authentication-results:arc-message-signature:arc-seal:";
        let seal = Sign {
            name: "ARC-Seal",
            key: key(&tags),
            header: Form::Relaxed,
            body: Form::Relaxed,
            length: None,
            names: &one.repeat(instance)[..one.len() * instance - "arc-seal:".len()],
            tags: &tags,
        };
        let seal = edit(seal.field(&below), &format!("seal{i}!"));
        sets.push([results, signature, seal]);
    }
    for (at, fields) in sets.iter_mut().enumerate() {
        for (field, name) in fields.iter_mut().zip(["aar", "ams", "seal"]) {
            *field = edit(std::mem::take(field), &format!("{name}{}!!", at + 1));
        }
    }
    whole(&sets, &edit(text, "text!!"))
}

/// Returns the value of a tag.
fn tag<'t>(tags: &'t str, name: &str) -> &'t str {
    let values = tags.split(';').filter_map(|tag| tag.split_once('='));
    let mut values = values.filter(|(it, _)| it.trim() == name);
    values.next().map_or("", |(_, value)| value.trim())
}

fn key(tags: &str) -> Key {
    let name = format!("{}._domainkey.{}", tag(tags, "s"), tag(tags, "d"));
    KEYS.iter().find(|(it, _)| *it == name).map_or(Key::Rsa2048, |(_, key)| *key)
}
