use proptest::prelude::*;
use ring::digest::{SHA256, digest};

use super::*;

/// The canonical form of a body, in the words of RFC 6376 sections 3.4.3 and 3.4.4.
fn canonical(form: Canonicalization, body: &str) -> String {
    let mut lines: Vec<String> = body.split_inclusive("\r\n").map(str::to_owned).collect();
    if form == Canonicalization::Relaxed {
        for line in &mut lines {
            let words = line.trim_end_matches(['\r', '\n', ' ', '\t']).replace('\t', " ");
            let mut text = String::new();
            for c in words.chars() {
                if c != ' ' || !text.ends_with(' ') {
                    text.push(c);
                }
            }
            *line = text + "\r\n";
        }
    }
    while lines.last().is_some_and(|line| line == "\r\n") {
        lines.pop();
    }
    let mut text = lines.concat();
    if !text.is_empty() && !text.ends_with("\r\n")
        || text.is_empty() && form == Canonicalization::Simple
    {
        text += "\r\n";
    }
    text
}

fn hashed(body: &[&[u8]], requests: &[(Canonicalization, Option<u64>)]) -> Vec<BodyHash> {
    let mut hashes = BodyHashes::new(requests.iter().copied());
    body.iter().for_each(|segment| hashes.update(segment));
    let computed = hashes.finish();
    requests.iter().map(|request| computed.hash(*request)).collect()
}

#[test]
fn bodies_are_canonicalized() {
    use Canonicalization::{Relaxed, Simple};
    for (form, body, expected) in [
        (Simple, "", "\r\n"),
        (Relaxed, "", ""),
        (Simple, "\r\n\r\n", "\r\n"),
        (Relaxed, "\r\n \t\r\n", ""),
        (Simple, " C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n"),
        (Relaxed, " C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
        (Relaxed, "\r\n  x\r\n \r\n\ty", "\r\n x\r\n\r\n y\r\n"),
        (Simple, "\r\n \r\n\r\n", "\r\n \r\n"),
    ] {
        assert_eq!(canonical(form, body), expected, "{body:?}");
        let [hash] = &hashed(&[body.as_bytes()], &[(form, None)])[..] else { panic!() };
        assert_eq!(&hash.hash.unwrap()[..], digest(&SHA256, expected.as_bytes()).as_ref());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// All lengths of both forms are hashed in one pass, wherever segments end.
    #[test]
    fn every_beginning_of_a_body_is_hashed_in_one_pass(
        lines in prop::collection::vec(
            prop_oneof![
                "[a \t]{0,4}",
                "[a-c ]{60,70}",
                "[a-c]{1,3}(  ?[a-c]{1,8}){20,40}",
                "[a-z]{5000}",
            ],
            0..12,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        lengths in prop::collection::vec((any::<bool>(), prop::option::of(0..12_000_u64)), 0..6),
    ) {
        let body = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let segments: Vec<_> =
            cuts.windows(2).map(|pair| &body.as_bytes()[pair[0]..pair[1]]).collect();
        let form = |relaxed| {
            if relaxed { Canonicalization::Relaxed } else { Canonicalization::Simple }
        };
        let requests: Vec<_> = lengths.iter().map(|(relaxed, it)| (form(*relaxed), *it)).collect();
        for ((form, length), found) in requests.iter().zip(hashed(&segments, &requests)) {
            let text = canonical(*form, &body);
            let end = length.map_or(text.len(), |length| length as usize);
            let expected = text.as_bytes().get(..end).map(|text| digest(&SHA256, text));
            prop_assert_eq!(
                found.hash.as_ref().map(|it| &it[..]),
                expected.as_ref().map(|it| it.as_ref())
            );
            prop_assert_eq!(found.whole, end == text.len());
        }
    }
}
