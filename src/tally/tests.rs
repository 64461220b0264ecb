use proptest::prelude::*;

use super::*;

fn entry(scorer: &str, stage: Stage, symbol: &str, points: i32) -> Entry {
    let finding = Finding::new(symbol, Score::points(points));
    let (given, recipient) = (finding.score(), None);
    Entry {
        scorer: scorer.into(),
        stage,
        finding,
        given,
        recipient,
        monitored: false,
        aside: false,
    }
}

/// Asks a new question and enters these entries.
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
    assert_eq!(tally.to_string(), "score=3.00 dns:LISTED=3.00 other:LISTED=1.00 dns:X=-1.00");
    // One of the two equal entries is an exact duplicate and is stored once.
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
fn findings_of_a_refused_recipient_are_recorded_and_do_not_count() {
    let mut tally = Tally::new();
    ask(&mut tally, [entry("dns", Stage::Connect, "LISTED", 1)]);
    // No recipient was named yet, so none can be refused.
    tally.recipient_refused();
    assert_eq!(tally.to_string(), "score=1.00 dns:LISTED=1.00");

    ask(&mut tally, [entry("trap", Stage::Rcpt, "TRAP", 5)]);
    tally.recipient_refused();
    assert_eq!(tally.to_string(), "score=1.00 dns:LISTED=1.00");
    assert!(tally.entries().any(|entry| entry.finding.symbol() == "TRAP" && entry.aside));

    // The same finding on an accepted recipient counts. A second refusal of one recipient has no
    // effect.
    ask(&mut tally, [entry("trap", Stage::Rcpt, "TRAP", 5)]);
    ask(&mut tally, [entry("trap", Stage::Rcpt, "TRAP", 5)]);
    tally.recipient_refused();
    tally.recipient_refused();
    assert_eq!(tally.to_string(), "score=6.00 dns:LISTED=1.00 trap:TRAP=5.00");
}

#[test]
fn monitored_findings_do_not_count() {
    let mut tally = Tally::new();
    let watched = Entry { monitored: true, ..entry("new", Stage::Data, "BAYES", 9) };
    ask(&mut tally, [watched, entry("old", Stage::Data, "BAYES", 1)]);
    assert_eq!(tally.to_string(), "score=1.00 old:BAYES=1.00");
    assert_eq!(tally.entries().count(), 2);
}

#[test]
fn transaction_begins_with_the_findings_of_the_session() {
    let mut session = Tally::new();
    ask(&mut session, [entry("dns", Stage::Connect, "LISTED", 1)]);
    let mut first = session.clone();
    ask(&mut first, [entry("trap", Stage::Rcpt, "TRAP", 5)]);
    assert_eq!(first.total(), Score::points(6));
    assert_eq!(session.clone().total(), Score::points(1));
}

proptest! {
    /// Compares with the definition: the sum of the highest acting score per scorer and symbol.
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

/// A reference implementation of the tally.
#[derive(Default)]
struct Naive {
    entries: Vec<Entry>,
    latest: usize,
}

impl Naive {
    fn enter(&mut self, entry: Entry) {
        if !self.entries.contains(&entry) {
            self.entries.push(entry);
        }
    }

    fn recipient_refused(&mut self) {
        for mut entry in self.entries.split_off(self.latest) {
            entry.aside |= entry.stage == Stage::Rcpt;
            self.enter(entry);
        }
        self.latest = self.entries.len();
    }

    fn counted(&self) -> Vec<&Finding> {
        let mut counted: Vec<&Entry> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.acts()) {
            let key = |it: &Entry| (it.scorer.clone(), it.finding.symbol().to_owned());
            match counted.iter().position(|known| key(known) == key(entry)) {
                Some(place) if counted[place].finding.score() >= entry.finding.score() => {}
                Some(place) => {
                    counted.remove(place);
                    counted.push(entry);
                }
                None => counted.push(entry),
            }
        }
        counted.into_iter().map(|entry| &entry.finding).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// For tallies of any length and any refused recipients.
    #[test]
    fn long_tally_agrees_with_a_naive_one(
        questions in prop::collection::vec(
            (prop::collection::vec((0..2_u8, 0..5_u8, 0..4_u8, -2..9_i32, 0..9_u8), 0..4), any::<bool>()),
            0..150,
        ),
        end in any::<bool>(),
    ) {
        let (mut tally, mut naive) = (Tally::new(), Naive::default());
        for (found, refused) in questions {
            tally.ask();
            naive.latest = naive.entries.len();
            for (scorer, symbol, detail, points, kind) in found {
                let stage = if kind == 0 { Stage::Connect } else { Stage::Rcpt };
                let entry = entry(&scorer.to_string(), stage, &symbol.to_string(), points);
                let finding = entry.finding.with_detail(&detail.to_string());
                let entry = Entry { finding, monitored: kind == 1, ..entry };
                tally.enter(entry.clone());
                naive.enter(entry);
            }
            if refused {
                tally.recipient_refused();
                naive.recipient_refused();
            }
            prop_assert_eq!(tally.total(), naive.counted().into_iter().map(Finding::score).sum());
        }
        if end {
            tally.end_transaction();
            naive.entries.retain(|entry| entry.stage == Stage::Connect);
        }
        prop_assert_eq!(tally.entries().collect::<Vec<_>>(), naive.entries.iter().collect::<Vec<_>>());
        prop_assert_eq!(tally.findings().collect::<Vec<_>>(), naive.counted());
        prop_assert_eq!(tally.total(), naive.counted().into_iter().map(Finding::score).sum());
    }
}

#[test]
fn the_same_failure_is_kept_once_among_thousands() {
    let mut tally = Tally::new();
    for number in [0..1000, 0..1000].into_iter().flatten() {
        tally.ask();
        let cause = FailureCause::Panic(number.to_string().into());
        let (scorer, policy) = ("dns".into(), FailurePolicy::Ignore);
        tally.fail(Failure {
            scorer,
            stage: Stage::Rcpt,
            cause,
            policy,
            monitored: false,
            server: None,
        });
    }
    assert_eq!(tally.failures().count(), 1000);
}
