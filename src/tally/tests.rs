use proptest::prelude::*;

use super::*;

fn entry(scorer: &str, stage: Stage, symbol: &str, points: i32) -> Entry {
    let finding = Finding::new(symbol, Score::points(points));
    Entry { scorer: scorer.into(), stage, finding, monitored: false, aside: false }
}

/// A question of the panel, answered with these entries.
fn ask(tally: &mut Tally, entries: impl IntoIterator<Item = Entry>) {
    tally.ask();
    entries.into_iter().for_each(|entry| tally.enter(entry));
}

#[test]
fn a_symbol_of_one_scorer_counts_once_with_its_highest_score() {
    let mut tally = Tally::new();
    for points in [2, 2, 3, 1] {
        ask(&mut tally, [entry("dns", Stage::Rcpt, "LISTED", points)]);
    }
    ask(&mut tally, [entry("other", Stage::Rcpt, "LISTED", 1), entry("dns", Stage::Data, "X", -1)]);
    assert_eq!(tally.to_string(), "score=3.00 LISTED=3.00 LISTED=1.00 X=-1.00");
    // The second of the two equal ones is the same word by word.
    assert_eq!(tally.entries().count(), 5);
}

#[test]
fn the_record_of_a_thousand_recipients_is_short() {
    let mut tally = Tally::new();
    for recipient in 0..1000 {
        ask(&mut tally, [entry("dns", Stage::Rcpt, "LISTED", 2)]);
        if recipient % 3 == 0 {
            tally.recipient_refused();
        }
    }
    assert_eq!(tally.total(), Score::points(2));
    assert_eq!(tally.entries().count(), 2);
}

#[test]
fn what_was_found_on_a_refused_recipient_is_kept_and_does_not_count() {
    let mut tally = Tally::new();
    ask(&mut tally, [entry("dns", Stage::Connect, "LISTED", 1)]);
    // A client without a recipient so far: there is none to be refused.
    tally.recipient_refused();
    assert_eq!(tally.to_string(), "score=1.00 LISTED=1.00");

    ask(&mut tally, [entry("trap", Stage::Rcpt, "TRAP", 5)]);
    tally.recipient_refused();
    assert_eq!(tally.to_string(), "score=1.00 LISTED=1.00");
    assert!(tally.entries().any(|entry| entry.finding.symbol() == "TRAP" && entry.aside));

    // Found on another one, which is taken, it counts; a further refusal changes nothing about it.
    ask(&mut tally, [entry("trap", Stage::Rcpt, "TRAP", 5)]);
    ask(&mut tally, [entry("trap", Stage::Rcpt, "TRAP", 5)]);
    tally.recipient_refused();
    tally.recipient_refused();
    assert_eq!(tally.to_string(), "score=6.00 LISTED=1.00 TRAP=5.00");
}

#[test]
fn what_is_monitored_does_not_count() {
    let mut tally = Tally::new();
    let watched = Entry { monitored: true, ..entry("new", Stage::Data, "BAYES", 9) };
    ask(&mut tally, [watched, entry("old", Stage::Data, "BAYES", 1)]);
    assert_eq!(tally.to_string(), "score=1.00 BAYES=1.00");
    assert_eq!(tally.entries().count(), 2);
}

#[test]
fn a_transaction_begins_with_what_is_known_of_the_client() {
    let mut session = Tally::new();
    ask(&mut session, [entry("dns", Stage::Connect, "LISTED", 1)]);
    let mut first = session.clone();
    ask(&mut first, [entry("trap", Stage::Rcpt, "TRAP", 5)]);
    assert_eq!(first.total(), Score::points(6));
    assert_eq!(session.clone().total(), Score::points(1));
}

proptest! {
    /// Against the sentence: per scorer and symbol the highest of what acts, summed.
    #[test]
    fn totals(given in prop::collection::vec((0..3_u8, 0..4_u8, -5..6_i32, any::<bool>()), 0..40)) {
        let mut tally = Tally::new();
        for (scorer, symbol, points, monitored) in &given {
            let entry = entry(&scorer.to_string(), Stage::Data, &symbol.to_string(), *points);
            ask(&mut tally, [Entry { monitored: *monitored, ..entry }]);
        }
        let mut sum = 0;
        for scorer in 0..3 {
            for symbol in 0..4 {
                let of_it = given.iter().filter(|one| (one.0, one.1) == (scorer, symbol) && !one.3);
                sum += of_it.map(|one| one.2).max().unwrap_or(0);
            }
        }
        prop_assert_eq!(tally.total(), Score::points(sum));
    }
}
