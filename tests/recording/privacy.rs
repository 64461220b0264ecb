//! A recording with pseudonyms contains nothing that a peer could be recognised by. Marks are placed
//! wherever a peer can write something.

use std::sync::Arc;

use nobounce::recording::{
    AddressForm, ClientForm, ContentForm, Fact, RecordedSession, RecorderSettings, Sample,
    SettingsError,
};
use nobounce::replay::{self, ProtocolReplay};
use nobounce::reply::EnhancedStatus;
use nobounce::score::Disclosure;
use nobounce::{
    ConnectContext, DataContext, Finding, Opinion, Panel, RcptContext, Refusal, Score, Scorer,
    ScorerError, async_trait,
};

use super::gate::{Pieces, Recorded, client, settings};

/// A scorer whose details, replies and errors quote everything.
pub struct Quoting;

fn quoting(detail: &str) -> Finding {
    Finding::new("QUOTED", Score::hundredths(10))
        .with_detail(detail)
        .with_disclosure(Disclosure::Public)
}

#[async_trait]
impl Scorer for Quoting {
    fn name(&self) -> &str {
        "quoting"
    }

    async fn on_connect(&self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        Ok(quoting(&format!("{} is listed", at.peer)).into())
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let path = at.recipient.path.to_string();
        if path.contains("mark-error") {
            return Err(
                ScorerError::new(format!("cannot look up {path}")).but_says(Opinion::silent())
            );
        }
        let refusal = path.contains("mark-spam").then(|| {
            let text = format!("{path} {} [{}] is bad", at.envelope.reverse_path.path, at.peer);
            Refusal::permanent(550, EnhancedStatus::new(7, 1), &text)
        });
        let opinion = Opinion::from(quoting(&path));
        Ok(match refusal {
            Some(refusal) => opinion.and(refusal),
            None => opinion,
        })
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let score = if at.message.content().windows(4).any(|it| it == b"spam") { 9 } else { 0 };
        let sender = at.envelope.reverse_path.path.to_string();
        Ok(quoting(&format!("mark-detail@mark-detail.example {sender}"))
            .with_score(Score::points(score))
            .into())
    }
}

const CONTENT: &str = "From: \"Mark-Header\" <mark-header@mark-header.example>\r\nmark-field@mark-header.example: x\r\n\
     Message-ID: <mark-id@mark-header.example>\r\n\r\nmark-content@mark-content.example\r\nMAIL FROM:<mark-inside@x.example>\r\n..\r\n";

/// Sessions, each a list of what the client sends at once.
fn sessions() -> Vec<Vec<String>> {
    let mail = |to: &str| {
        format!(
            "MAIL FROM:<mark-from@mark-sender.example> SIZE=99 ENVID=mark-envid RET=HDRS\r\n{to}"
        )
    };
    let to = "RCPT TO:<mark-to@mark-recipient.example> NOTIFY=NEVER ORCPT=rfc822;mark-orcpt+40mark-orcpt.example\r\n";
    let hello = "EHLO mark-helo.mark-client.example\r\n".to_owned();
    let data = format!("{CONTENT}.\r\n");
    let sizes = CONTENT.len();
    vec![
        vec![hello.clone(), mail(to), "DATA\r\n".into(), data.clone(), "QUIT\r\n".into()],
        vec![hello.clone(), format!("{}DATA\r\n", mail(to)), format!("spam {data}QUIT\r\n")],
        vec![
            hello.clone(),
            mail(to),
            "DATA\r\n".into(),
            format!("virus {data}"),
            "QUIT\r\n".into(),
        ],
        vec![
            "HELO [203.0.113.77]\r\n".into(),
            "MAIL FROM:<\"mark quoted\"@mark-sender.example>\r\n".into(),
            "RCPT TO:<@mark-route.example:nobody.mark@mark-recipient.example>\r\n".into(),
            "RCPT TO:<MARK-SPAM@Mark-Recipient.EXAMPLE.>\r\n".into(),
            "RCPT TO:<mark-error@mark-recipient.example>\r\n".into(),
            "RCPT TO:<postmaster>\r\nRSET\r\n".into(),
            "VRFY mark-vrfy@mark-command.example\r\n".into(),
            "EXPN mark-expn\r\nNOOP mark-noop\r\nHELP mark-help\r\n".into(),
        ],
        vec![
            hello.clone(),
            "MAIL FROM: mark-bare@mark-command.example\r\n".into(),
            "MAIL FROM:<mark-broken@mark-command.example\r\n".into(),
            "RCPT TO:mark-none@mark-command.example mark=MARK\r\n".into(),
            "AUTH PLAIN bWFyay1hdXRoQG1hcmsuZXhhbXBsZQ==\r\n".into(),
            "mark-junk@mark-command.example says hello\r\n".into(),
            "XCLIENT NAME=mark-x.example ADDR=203.0.113.77 LOGIN=mark-login HELO=mark-x\r\n".into(),
            "RCPT TO:<mark-nul\0@mark-command.example>\r\n".into(),
            "MAIL FROM:<m\u{e4}rk-utf8@m\u{e4}rk.mark-command.example> SMTPUTF8\r\n".into(),
        ],
        // The body comes although DATA is refused.
        vec![hello.clone(), format!("{}DATA\r\n{CONTENT}.\r\n", mail("")), "QUIT\r\n".into()],
        vec![hello.clone(), format!("{}DATA\r\n{CONTENT}.\r\nQUIT\r\n", mail(to))],
        vec![hello.clone(), format!("{}BDAT {sizes} LAST\r\n{CONTENT}QUIT\r\n", mail(to))],
        vec![
            hello.clone(),
            mail(to),
            format!("BDAT 5\r\nmark-BDAT {}\r\n{}", sizes - 5, &CONTENT[5..]),
        ],
        vec!["GET /mark-path HTTP/1.1\r\nHost: mark-host.example\r\n\r\n".into()],
        vec!["mark-header: mark-value\r\n".into()],
        vec!["\x16\x03\x01 mark-hello.example".into()],
        // The session ends in the middle.
        vec![hello.clone(), mail(to), "DATA\r\n".into(), CONTENT[..60].into()],
        vec![hello, "RCPT TO:<mark-cut@mark-comm".into()],
    ]
}

/// Returns the text of a recording, with its octets decoded.
fn decoded(recorded: &Recorded) -> String {
    let mut text = recorded.written();
    for session in recorded.sessions() {
        for element in &session.elements {
            if let Fact::Received { octets, .. } | Fact::Transmitted(octets) = &element.fact {
                text += &String::from_utf8_lossy(octets);
            }
        }
    }
    text
}

pub fn everything() -> RecorderSettings {
    let mut settings = RecorderSettings::default();
    settings.sample = Sample::All;
    settings
}

pub fn record(recorded: &Recorded) -> Vec<RecordedSession> {
    for pieces in [Pieces::Whole, Pieces::Octets] {
        for texts in sessions() {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let replies = recorded.session(client(), &texts, pieces);
            assert!(replies.starts_with("220 "), "{replies}");
        }
    }
    recorded.sessions()
}

#[test]
fn a_recording_with_pseudonyms_contains_no_mark() {
    for clients in [ClientForm::Network, ClientForm::Pseudonym] {
        let mut settings = everything();
        settings.clients = clients;
        let recorded = Recorded::new(Panel::new().scorer(Quoting), settings);
        let sessions = record(&recorded);
        assert_eq!(sessions.len(), 2 * self::sessions().len());
        let text = decoded(&recorded).to_lowercase();
        let text = text.replace("session\":\"g-", "");
        for mark in ["mark", "203.0.113.77", "m\u{e4}rk", "help.", "bwfyay"] {
            let found = text.match_indices(mark).map(|(at, _)| {
                text.char_indices()
                    .skip_while(|(place, _)| place + 60 < at)
                    .take(120)
                    .map(|it| it.1)
                    .collect::<String>()
            });
            let found: Vec<String> = found.collect();
            assert!(found.is_empty(), "{mark}: {found:#?}");
        }
        let expected = match clients {
            ClientForm::Network => "203.0.113.0:0",
            _ => ".invalid",
        };
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_recording_with_pseudonyms_is_a_valid_dialogue() {
    let recorded = Recorded::new(Panel::new().scorer(Quoting), everything());
    let settings = Arc::new(settings());
    for session in record(&recorded) {
        let replayed = replay::protocol(&settings, &session);
        // Mail data with bare line ends is not in the recording.
        assert_eq!(replayed, ProtocolReplay::Same, "{session}");
    }
}

#[test]
fn equal_addresses_have_equal_pseudonyms_in_commands_and_replies() {
    let recorded = Recorded::new(Panel::new(), everything());
    let to = "RCPT TO:<nobody@mark-recipient.example>\r\n";
    let texts = ["HELO x\r\n", "MAIL FROM:<a@mark-recipient.example>\r\n", to, to, "QUIT\r\n"];
    let replies = recorded.session(client(), &texts, Pieces::Whole);
    assert!(replies.contains("<nobody@mark-recipient.example>: no nobody here"), "{replies}");
    let text = decoded(&recorded);
    let (_, path) = text.split_once("RCPT TO:<").unwrap();
    let (path, _) = path.split_once('>').unwrap();
    let (local_part, domain) = path.split_once('@').unwrap();
    assert!(text.contains(&format!("550-5.1.1 <{path}>: no {local_part} here")), "{text}");
    assert!(text.contains(&format!("@{domain}>\r\n")), "the sender has the same domain: {text}");
}

#[test]
fn plain_recordings_contain_what_was_said() {
    let mut settings = everything();
    settings.addresses = AddressForm::Plain;
    settings.clients = ClientForm::Plain;
    settings.content = ContentForm::Whole;
    let recorded = Recorded::new(Panel::new().scorer(Quoting), settings);
    record(&recorded);
    let text = decoded(&recorded);
    for mark in
        ["mark-from@mark-sender.example", "203.0.113.77:4711", "mark-content", "mark-detail"]
    {
        assert!(text.contains(mark), "{mark}");
    }
}

#[test]
fn contents_in_plain_need_plain_addresses() {
    for content in [ContentForm::Header, ContentForm::Whole] {
        for (addresses, clients) in
            [(AddressForm::Pseudonym, ClientForm::Plain), (AddressForm::Plain, ClientForm::Network)]
        {
            let mut settings = everything();
            (settings.content, settings.addresses, settings.clients) =
                (content, addresses, clients);
            let runtime = nobounce::testing::VirtualRuntime::new();
            let fault = nobounce::observer::Recorder::new(runtime, Vec::new(), settings);
            assert_eq!(fault.err(), Some(SettingsError::PlainContent));
        }
    }
}
