//! Signed messages from the appendices of RFC 6376 and RFC 8463.

use nobounce::authentication::dkim::SignatureResult::{self, Fail, Pass};

use super::{Txt, verify};

/// RFC 6376 appendix C.
const BRISBANE: Txt<'_> = (
    "brisbane._domainkey.example.com",
    Some(&[
        "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt\
            IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi\
            tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB",
    ]),
);

/// RFC 8463 appendix A.2.
const FOOTBALL: [Txt<'_>; 2] = [
    (
        "brisbane._domainkey.football.example.com",
        Some(&["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]),
    ),
    (
        "test._domainkey.football.example.com",
        Some(&[
            "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qh\
                dR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hst\
                T5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
        ]),
    ),
];

fn results(text: &str, records: &[Txt<'_>]) -> Vec<SignatureResult> {
    verify(text, records, 0).iter().map(|it| it.result).collect()
}

#[test]
fn the_example_of_rfc_6376_passes() {
    let text = include_str!("rfc6376.eml");
    assert_eq!(results(text, &[BRISBANE]), [Pass]);
    assert_eq!(results(&text.replace("dinner", "lunch"), &[BRISBANE]), [Fail]);
    assert_eq!(results(&text.replace("hungry", "angry"), &[BRISBANE]), [Fail]);
}

#[test]
fn the_example_of_rfc_8463_passes_twice() {
    let text = include_str!("rfc8463.eml");
    assert_eq!(results(text, &FOOTBALL), [Pass, Pass]);
    assert_eq!(results(&text.replace("dinner", "lunch"), &FOOTBALL), [Fail, Fail]);
    assert_eq!(results(&text.replace("hungry", "angry"), &FOOTBALL), [Fail, Fail]);
    // Relaxed: white space may change.
    assert_eq!(results(&text.replace("lost the", "lost\t the "), &FOOTBALL), [Pass, Pass]);
}
