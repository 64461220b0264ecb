use super::*;

/// Returns each rule as `NAME=SCORE (DESCRIPTION)`.
fn rules(report: &str) -> String {
    let rules = read(report).into_iter();
    let rules = rules.map(|it| format!("{}={} ({})", it.name, it.score, it.description));
    rules.collect::<Vec<_>>().join("\n")
}

#[test]
fn report_table_is_parsed() {
    let report = "\
Content analysis details:   (905.5 points, 5.0 required)

 pts rule name              description
---- ---------------------- --------------------------------------------------
 0.6 MISSING_MID            Missing Message-Id: header
-0.0 NO_RELAYS              Informational: message was not relayed via SMTP
  12 TWELVE
-100 LONG_RULE_NAME_OF_MORE_THAN_22_OCTETS A description that is so
                            long that it does not fit
 1.3 RCVD_IN_BL             RBL: Listed
                            [192.0.2.1 listed in bl.example]
[https://example.com/0123456789012345678901234567890123456789012345678901234567890123456789]
1000 GTUBE                  BODY: Generic Test for Unsolicited Bulk Email
-1000 __a0                   No description available.

";
    let expected = "\
MISSING_MID=0.60 (Missing Message-Id: header)
NO_RELAYS=0.00 (Informational: message was not relayed via SMTP)
TWELVE=12.00 ()
LONG_RULE_NAME_OF_MORE_THAN_22_OCTETS=-100.00 (A description that is so long that it does not fit)
RCVD_IN_BL=1.30 (RBL: Listed [192.0.2.1 listed in bl.example] [https://example.com/\
0123456789012345678901234567890123456789012345678901234567890123456789])
GTUBE=1000.00 (BODY: Generic Test for Unsolicited Bulk Email)
__a0=-1000.00 (No description available.)";
    assert_eq!(rules(report), expected);
    assert_eq!(rules(&report.replace('\n', "\r\n")), expected);
    // In German, and in French, whose table has no column heads.
    let german =
        report.replace(" pts rule name              description", "Pkte Regelname   Beschreibung");
    assert_eq!(rules(&german), expected);
    let (head, table) = report.split_once(" pts rule name").unwrap();
    let french = format!("{}{}", head.trim_end(), &table[table.find("--\n").unwrap() + 2..]);
    assert_eq!(rules(&french), expected);
    // In a locale with a decimal comma.
    assert_eq!(rules("---- ------------\n 0,6 A             x"), "A=0.60 (x)");
}

#[test]
fn text_before_the_table_is_not_a_row() {
    let preview = "Content preview:  Hello\n  10 FORGED                 x\n 1.0 FORGED x\n";
    let heads = " pts rule name\n---- ---------------------- ------------\n";
    let row = " 0.6 A                      x\n";
    assert_eq!(rules(&format!("{preview}\n{heads}{row}\n\n")), "A=0.60 (x)");
    assert_eq!(rules(&format!("{preview}\n{heads}\n\n")), "");
    assert_eq!(rules(&format!("{preview}\nDetails:\n{row}\n\n")), "A=0.60 (x)");
    for none in [
        "",
        "\n",
        "FORGED,A",
        "   10 A x",
        "\t1.0 A x",
        "1.0  A x",
        "1.0 9A x",
        "1.0 A-B x",
        "1.0 A: x",
        "1.0 ",
        "x A x",
        "1.0.0 A x",
        "1e5 A x",
        "nan A x",
        "99999999999 A x",
        "(1.0 A x",
        "                            continued",
    ] {
        assert_eq!(rules(none), "", "{none:?}");
    }
}

#[test]
fn rules_of_a_report_are_bounded() {
    let report: String = (0..1000).map(|number| format!(" 1.0 R{number} x\n")).collect();
    assert_eq!(read(&report).len(), RULES);
}
