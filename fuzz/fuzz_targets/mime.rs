//! The MIME view, and the boundary between our header fields and the content: results are bounded,
//! and the content is complete.

#![no_main]

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use libfuzzer_sys::fuzz_target;
use nobounce::envelope::SessionId;
use nobounce::message::MailData;
use nobounce::{Envelope, Message, Peer, ReversePath};
use nobounce_fuzz::{Dice, hidden, shown};

fuzz_target!(|input: &[u8]| {
    // A text that is hidden in known ways is seen.
    let (octets, mut dice) = Dice::split(input);
    let text = hidden::text(octets);
    let message = message(&hidden::message(&text, &mut dice));
    let seen: Vec<_> = message.view().texts().collect();
    assert!(seen.iter().any(|seen| seen.contains(&*text)), "{}", shown(message.content()));

    look(&self::message(input));
});

fn message(content: &[u8]) -> Message {
    let sender = ReversePath::parse("<>").expect("a path");
    let id = SessionId::new("fuzz").transaction(1);
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    Message::new("mx.example", &envelope, UNIX_EPOCH, MailData::normalise(content))
}

/// Checks what must hold for the view of any message.
fn look(message: &Message) {
    let content = message.content();
    let relayed = relayed(message);
    let view = message.view();
    assert!(!view.parts().is_empty() && view.parts().len() <= 10_000);
    assert_eq!(view.parts()[0].depth(), 0);
    let mut octets = 0;
    for pair in view.parts().windows(2) {
        let is_next = pair[1].depth() <= pair[0].depth() + 1 && pair[1].depth() > 0;
        assert!(is_next || view.is_ambiguous());
    }
    for part in view.parts() {
        assert!(part.depth() <= 101);
        // CR becomes CRLF in a decoded message.
        assert!(part.body().len() <= 2 * relayed.len());
        assert!(part.octets().len() <= part.body().len());
        octets += if part.is_container() { 0 } else { part.octets().len() };
        // In every character set, an octet decodes to at most four octets. The undecoded text and
        // files in it may follow, and the location of an external body.
        let most = 12 * part.body().len()
            + 8 * part.fields().map(|it| it.value().len() + 4).sum::<usize>();
        assert!(part.text().is_none_or(|text| text.len() <= most + 64));
        assert!(part.content_type().contains('/'));
        for field in part.fields() {
            let name = field.name();
            assert!(name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':'));
            assert!(field.value().len() <= 2 * relayed.len());
            assert!(field.text().len() <= 4 * field.value().len() + 4);
            assert!(field.addresses().len() <= field.value().len());
            assert!(field.date().is_none_or(|date| date >= UNIX_EPOCH));
        }
    }
    // Messages attached to encoded messages are parsed to a depth of three, in four readings.
    assert!(octets <= 4 * 2 * 4 * relayed.len());
    let whole = message.segments().concat();
    assert_eq!(whole.len(), message.len());
    assert!(whole.starts_with(b"Received: ") && whole.ends_with(b"\r\n"));
    let header = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(whole.len());
    for line in whole[..header].split(|octet| *octet == b'\n') {
        let name = line.split(|octet| *octet == b':').next().unwrap_or_default();
        let forged =
            name.to_ascii_lowercase().starts_with(b"x-nobounce-") && name.len() < line.len();
        let forged = forged && !name.trim_ascii_end().iter().any(u8::is_ascii_whitespace);
        assert!(!forged, "{}", shown(line));
    }
    // The client's header does not continue a field of ours, and only forged fields are removed.
    let ours = message.segments()[0].len();
    assert!(!whole.get(ours).is_some_and(|octet| b" \t".contains(octet)), "{}", shown(&whole));
    let forged = content.to_ascii_lowercase().windows(11).any(|eleven| eleven == b"x-nobounce-");
    assert!(forged || whole.ends_with(content) || content.windows(5).any(|it| it == b"From "));
}

/// Returns the octets that are relayed, without our own fields.
fn relayed(message: &Message) -> Vec<u8> {
    message.segments()[1..].concat()
}
