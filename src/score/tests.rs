use proptest::prelude::*;

use super::*;

#[test]
fn scores_are_read_and_printed() {
    let table = [
        ("5", 500, "5.00"),
        ("5.2", 520, "5.20"),
        ("+3", 300, "3.00"),
        ("-0.10", -10, "-0.10"),
        ("-0.1", -10, "-0.10"),
        ("999.9", 99_990, "999.90"),
        ("0", 0, "0.00"),
        ("-0", 0, "0.00"),
        ("007.05", 705, "7.05"),
        ("2.344", 234, "2.34"),
        ("2.345", 235, "2.35"),
        ("-2.345", -235, "-2.35"),
        ("2.3449999", 234, "2.34"),
        ("-0.004", 0, "0.00"),
        ("0.995", 100, "1.00"),
        ("21474836.47", i32::MAX, "21474836.47"),
        ("-21474836.48", i32::MIN, "-21474836.48"),
    ];
    for (text, hundredths, printed) in table {
        let score: Score = text.parse().unwrap();
        assert_eq!(score.as_hundredths(), hundredths, "{text}");
        assert_eq!(score.to_string(), printed);
    }
}

#[test]
fn invalid_scores_are_refused() {
    let table = [
        "",
        "-",
        "+",
        ".",
        ".5",
        "5.",
        "--1",
        "+-1",
        "1,5",
        "1e3",
        " 1",
        "1 ",
        "1.2.3",
        "1.-2",
        "inf",
        "nan",
        "0x10",
        "٣",
        "21474836.48",
        "-21474836.49",
        "21474836.475",
        "99999999999999999999",
    ];
    for text in table {
        assert_eq!(text.parse::<Score>(), Err(ScoreError), "{text:?}");
    }
}

#[test]
fn scores_stay_within_their_range() {
    let (least, most) = (Score::hundredths(i32::MIN), Score::hundredths(i32::MAX));
    assert_eq!(most + Score::points(1), most);
    assert_eq!(least + Score::points(-1), least);
    assert_eq!(-least, most);
    assert_eq!(Score::points(i32::MAX), most);
    // A sum saturates only at the end: intermediate sums may be out of range.
    assert_eq!([most, most, -most].into_iter().sum::<Score>(), most);
}

#[test]
fn a_symbol_is_one_word() {
    let long = "X".repeat(101);
    let table = [
        ("GTUBE", "GTUBE"),
        ("two words", "two_words"),
        ("a=1,b\r\nC: d", "a_1_b__C__d"),
        ("naïve", "na_ve"),
        ("", "_"),
        (&long, &long[..100]),
    ];
    for (given, kept) in table {
        assert_eq!(Finding::new(given, Score::ZERO).symbol(), kept);
    }
}

#[test]
fn a_detail_is_one_line_and_short() {
    let with = |detail: &str| Finding::new("X", Score::ZERO).with_detail(detail);
    assert_eq!(with("a\r\nb\0c\u{85}").detail(), "a  b c ");
    assert_eq!(with(&"x".repeat(300)).detail().len(), 256);
    // Octet 256 is inside the last character, which is removed.
    assert_eq!(with(&format!("{}é", "x".repeat(255))).detail().len(), 255);
    assert_eq!(with("").disclosure(), Disclosure::Private);
}

/// Returns the exact decimal number, as an integer divided by a power of ten.
fn naive(negative: bool, points: u32, decimals: &[u8]) -> Result<Score, ScoreError> {
    let (mut numerator, mut denominator) = (i128::from(points), 1_i128);
    for digit in decimals {
        numerator = numerator * 10 + i128::from(*digit);
        denominator *= 10;
    }
    let rounded = (2 * 100 * numerator + denominator) / (2 * denominator);
    let signed = if negative { -rounded } else { rounded };
    i32::try_from(signed).map(Score::hundredths).map_err(|_| ScoreError)
}

proptest! {
    #[test]
    fn printed_scores_are_parsed_again(hundredths: i32) {
        let score = Score::hundredths(hundredths);
        prop_assert_eq!(score.to_string().parse(), Ok(score));
    }

    #[test]
    fn parsed_scores_are_exact(
        negative: bool,
        points in prop_oneof![0..100_u32, 21_474_000..21_475_000_u32, any::<u32>()],
        decimals in prop::collection::vec(0..10_u8, 0..8),
    ) {
        let digits: String = decimals.iter().map(|digit| char::from(b'0' + digit)).collect();
        let dot = if digits.is_empty() { "" } else { "." };
        let text = format!("{}{points}{dot}{digits}", if negative { "-" } else { "" });
        prop_assert_eq!(text.parse(), naive(negative, points, &decimals), "{}", text);
    }

    #[test]
    fn scores_are_ordered_numerically(a: i32, b: i32) {
        prop_assert_eq!(Score::hundredths(a).cmp(&Score::hundredths(b)), a.cmp(&b));
    }

    #[test]
    fn scores_add_like_integers(a: i32, b: i32) {
        let sum = (i64::from(a) + i64::from(b)).clamp(i32::MIN.into(), i32::MAX.into());
        let (a, b) = (Score::hundredths(a), Score::hundredths(b));
        prop_assert_eq!(i64::from((a + b).as_hundredths()), sum);
        prop_assert_eq!(a + b, b + a);
        prop_assert_eq!([a, b].into_iter().sum::<Score>(), a + b);
    }

    #[test]
    fn a_sum_does_not_depend_on_order(mut scores in prop::collection::vec(any::<i32>(), 0..20)) {
        let sum = |scores: &[i32]| scores.iter().copied().map(Score::hundredths).sum::<Score>();
        let before = sum(&scores);
        scores.sort_unstable();
        prop_assert_eq!(before, sum(&scores));
    }

    #[test]
    fn finding_is_printable_for_any_text(symbol: String, detail: String) {
        let finding = Finding::new(&symbol, Score::ZERO).with_detail(&detail);
        let clean = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        prop_assert!((1..=100).contains(&finding.symbol().len()));
        prop_assert!(finding.symbol().chars().all(clean));
        prop_assert!(finding.detail().len() <= 256);
        prop_assert!(!finding.detail().contains(char::is_control));
    }
}
