//! What a recording contains of contents, and of which sessions.

use nobounce::Panel;
use nobounce::observer::Recorder;
use nobounce::recording::{
    AddressForm, ClientForm, Content, ContentForm, Fact, RecordedSession, RecorderSettings, Sample,
    SettingsError,
};
use nobounce::scorers::Gtube;
use nobounce::testing::VirtualRuntime;

use super::gate::{Pieces, Recorded, client};

const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

/// Runs a session with one mail.
fn mail(recorded: &Recorded, to: &str, body: &str) {
    let to = format!("RCPT TO:<{to}>\r\n");
    let content = format!("Subject: x\r\nX-Y: z\r\n\r\n{body}\r\n.\r\n");
    let texts =
        ["EHLO x\r\n", "MAIL FROM:<a@b.example>\r\n", &to, "DATA\r\n", &content, "QUIT\r\n"];
    recorded.session(client(), &texts, Pieces::Whole);
}

fn contents(sessions: &[RecordedSession]) -> Vec<&Content> {
    let facts = sessions.iter().flat_map(|session| &session.elements);
    facts
        .filter_map(|element| match &element.fact {
            Fact::Content(content) => Some(content),
            _ => None,
        })
        .collect()
}

fn recorded(settings: &RecorderSettings) -> Recorded {
    Recorded::new(Panel::new().scorer(Gtube), settings.clone())
}

#[test]
fn contents_are_recorded_in_each_form() {
    let mut settings = RecorderSettings::default();
    settings.sample = Sample::All;
    settings.addresses = AddressForm::Plain;
    settings.clients = ClientForm::Plain;
    for form in [ContentForm::Hash, ContentForm::Header, ContentForm::None, ContentForm::Whole] {
        settings.content = form;
        let recorded = recorded(&settings);
        mail(&recorded, "c@d.example", "hello");
        let sessions = recorded.sessions();
        let contents = contents(&sessions);
        let has_body = recorded.written().contains("U3ViamVjdDogeA0K");
        assert_eq!(has_body, matches!(form, ContentForm::Whole | ContentForm::Header), "{form:?}");
        match form {
            ContentForm::Hash | ContentForm::Header => {
                let content = "Subject: x\r\nX-Y: z\r\n\r\nhello\r\n";
                let hash = ring::digest::digest(&ring::digest::SHA256, content.as_bytes());
                assert_eq!(contents[0].octets, content.len() as u64);
                assert_eq!(contents[0].sha256.unwrap(), hash.as_ref());
                let fields: Vec<&str> = contents[0].fields.iter().map(|name| &**name).collect();
                assert_eq!(fields, ["Subject", "X-Y"]);
                let header =
                    (form == ContentForm::Header).then(|| b"Subject: x\r\nX-Y: z\r\n\r\n".to_vec());
                assert_eq!(contents[0].header, header);
            }
            _ => assert!(contents.is_empty()),
        }
    }
}

#[test]
fn only_the_sample_is_recorded() {
    let everything: &[(&str, &str)] = &[
        ("c@d.example", "hello"),
        ("c@d.example", GTUBE),
        ("nobody@d.example", "hello"),
        ("c@d.example", "virus"),
    ];
    let symbols = |symbol: &str| Sample::Symbols(vec![symbol.into()]);
    for (sample, expected) in [
        (Sample::All, vec![0, 1, 2, 3]),
        (Sample::None, vec![]),
        (Sample::Refused, vec![1, 2, 3]),
        (symbols("GTUBE"), vec![1]),
        (symbols("gtube:GTUBE"), vec![1]),
        (symbols("other:GTUBE"), vec![]),
        (Sample::Share(1.0), vec![0, 1, 2, 3]),
        (Sample::Share(0.0), vec![]),
    ] {
        let mut settings = RecorderSettings::default();
        settings.sample = sample.clone();
        let recorded = recorded(&settings);
        everything.iter().for_each(|(to, body)| mail(&recorded, to, body));
        let sessions = recorded.sessions();
        let names: Vec<String> = sessions.iter().map(|it| it.session.to_string()).collect();
        let expected: Vec<String> = expected.iter().map(|n| format!("g-{n}")).collect();
        assert_eq!(names, expected, "{sample:?}");
        assert_eq!(recorded.recorder.memory(), 0);
        // Only what the panel refused is hashed.
        let hashed = contents(&sessions).iter().filter(|it| it.sha256.is_some()).count();
        if matches!(sample, Sample::Refused | Sample::Symbols(_)) {
            assert_eq!(hashed, usize::from(names.contains(&"g-1".to_owned())), "{sample:?}");
        }
    }
}

#[test]
fn a_share_is_that_share_and_the_same_everywhere() {
    let mut settings = RecorderSettings::default();
    settings.sample = Sample::Share(0.3);
    let names = || {
        let recorded = recorded(&settings);
        (0..1_000).for_each(|_| drop(recorded.session(client(), &["QUIT\r\n"], Pieces::Whole)));
        let sessions = recorded.sessions();
        sessions.iter().map(|it| it.session.to_string()).collect::<Vec<_>>()
    };
    let [one, other] = [names(), names()];
    assert_eq!(one, other);
    assert!((250..350).contains(&one.len()), "{}", one.len());
    for share in [-0.1, 1.1, f64::NAN] {
        settings.sample = Sample::Share(share);
        let fault = Recorder::new(VirtualRuntime::new(), Vec::new(), settings.clone()).err();
        assert_eq!(fault, Some(SettingsError::Share));
    }
}

#[test]
fn session_has_the_policy_of_the_gate_at_its_begin() {
    let mut settings = RecorderSettings::default();
    settings.sample = Sample::All;
    settings.policy = "one".into();
    let recorded = recorded(&settings);
    let runtime = &recorded.runtime;
    let begun = runtime.run(recorded.gate.open(client())).unwrap();
    recorded.recorder.set_policy("two");
    mail(&recorded, "b@example.org", "Hello!");
    runtime.run(begun.close());
    let policies: Vec<_> = recorded.sessions().into_iter().map(|it| it.policy).collect();
    assert_eq!(policies, ["two".into(), "one".into()]);
}
