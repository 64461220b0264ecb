//! Bounds of the recorder: `docs::bounds`.

use nobounce::recording::{AddressForm, ClientForm, ContentForm, Fact, RecorderSettings, Sample};
use nobounce::{Panel, Peer};

use super::gate::{Pieces, Recorded, client};

fn everything() -> RecorderSettings {
    let mut settings = RecorderSettings::default();
    settings.sample = Sample::All;
    settings
}

#[test]
fn a_session_is_cut_at_its_limit() {
    for whole in [false, true] {
        let mut settings = everything();
        settings.max_session = 20_000;
        if whole {
            settings.content = ContentForm::Whole;
            (settings.addresses, settings.clients) = (AddressForm::Plain, ClientForm::Plain);
        }
        let recorded = Recorded::new(Panel::new(), settings);
        let begin = ["EHLO x\r\n", "MAIL FROM:<a@b.example>\r\n", "RCPT TO:<c@d.example>\r\n"];
        let body = format!("{}.\r\n", "x".repeat(70).as_str().to_owned() + "\r\n");
        let bodies = ["DATA\r\n", body.as_str()];
        let mail: Vec<&str> = begin[1..].iter().copied().chain(bodies).collect();
        let texts: Vec<&str> = begin[..1].iter().copied().chain(mail.repeat(200)).collect();
        recorded.session(client(), &texts, Pieces::Whole);
        let sessions = recorded.sessions();
        assert_eq!(sessions[0].elements.last().unwrap().fact, Fact::Cut);
        assert!(!sessions[0].is_complete());
        // In base64 and JSON, it is larger by a factor.
        assert!(recorded.written().len() < 8 * 20_000, "{}", recorded.written().len());
        assert_eq!(recorded.recorder.memory(), 0);
    }
}

#[test]
fn mail_data_takes_no_memory_unless_it_is_recorded() {
    let recorded = Recorded::new(Panel::new(), everything());
    let body = format!("{}.\r\n", ("x".repeat(70) + "\r\n").repeat(100_000));
    let texts = [
        "HELO x\r\n",
        "MAIL FROM:<a@b.example>\r\n",
        "RCPT TO:<c@d.example>\r\n",
        "DATA\r\n",
        &body,
        "QUIT\r\n",
    ];
    recorded.session(client(), &texts, Pieces::Whole);
    let written = recorded.written();
    assert!(recorded.sessions()[0].is_complete());
    assert!(written.len() < 8_000, "{written}");
}

#[test]
fn all_sessions_together_stay_within_their_memory() {
    let mut settings = everything();
    settings.max_memory = 64 << 10;
    let recorded = Recorded::new(Panel::new(), settings);
    let gate = &recorded.gate;
    let line = "NOOP\r\n".repeat(100);
    let mut running = Vec::new();
    for _ in 0..100 {
        let mut session = recorded.runtime.run(gate.open(Peer::local())).unwrap();
        for _ in 0..40 {
            loop {
                use nobounce::Runtime;
                use nobounce::gate::GateStep;
                match session.poll(recorded.runtime.now()) {
                    GateStep::Ask(question) => recorded.runtime.run(question.ask()),
                    GateStep::Receive | GateStep::Close => break,
                    _ => {}
                }
            }
            session.receive(line.as_bytes());
        }
        running.push(session);
        assert!(recorded.recorder.memory() <= 64 << 10, "{}", recorded.recorder.memory());
    }
    drop(running);
    assert_eq!(recorded.recorder.memory(), 0);
    assert_eq!(recorded.sessions().len(), 100);
}

#[test]
fn names_of_header_fields_are_bounded() {
    let recorded = Recorded::new(Panel::new(), everything());
    let fields: String = (0..200).map(|n| format!("{}{n:03}: x\r\n", "X".repeat(97))).collect();
    let data = format!("{fields}\r\n.\r\n");
    let texts = [
        "HELO x\r\n",
        "MAIL FROM:<a@b.example>\r\n",
        "RCPT TO:<c@d.example>\r\n",
        "DATA\r\n",
        &data,
    ];
    recorded.session(client(), &texts, Pieces::Whole);
    let sessions = recorded.sessions();
    let content = sessions[0].elements.iter().find_map(|element| match &element.fact {
        Fact::Content(content) => Some(content),
        _ => None,
    });
    let fields = &content.unwrap().fields;
    assert_eq!(fields.len(), 128);
    assert!(fields.iter().all(|name| name.len() == 64));
}
