//! The MIME view, and the boundary between our header fields and the content: results are bounded,
//! and the content is complete.

#![no_main]

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use libfuzzer_sys::fuzz_target;
use nobounce::envelope::SessionId;
use nobounce::message::MailData;
use nobounce::{Envelope, Message, Peer, ReversePath};
use nobounce_fuzz::shown;

fuzz_target!(|input: &[u8]| {
    let sender = ReversePath::parse("<>").expect("a path");
    let id = SessionId::new("fuzz").transaction(1);
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    let message = Message::new("mx.example", &envelope, UNIX_EPOCH, MailData::normalise(input));

    let content = message.content();
    let view = message.view();
    assert!(!view.parts().is_empty() && view.parts().len() <= 10_000);
    assert_eq!(view.parts()[0].depth(), 0);
    let mut octets = 0;
    for pair in view.parts().windows(2) {
        assert!(pair[1].depth() <= pair[0].depth() + 1 && pair[1].depth() > 0);
    }
    for part in view.parts() {
        assert!(part.depth() <= 101);
        assert!(part.body().len() <= content.len());
        assert!(part.octets().len() <= part.body().len());
        octets += if part.is_container() { 0 } else { part.octets().len() };
        // In every character set, an octet decodes to at most four octets.
        assert!(part.text().is_none_or(|text| text.len() <= 4 * part.octets().len() + 4));
        assert!(part.content_type().contains('/'));
        for field in part.fields() {
            let name = field.name();
            assert!(name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':'));
            assert!(field.value().len() <= content.len());
            assert!(field.text().len() <= 4 * field.value().len() + 4);
            assert!(field.addresses().len() <= field.value().len());
            assert!(field.date().is_none_or(|date| date >= UNIX_EPOCH));
        }
    }
    // Messages attached to encoded messages are parsed to a depth of three.
    assert!(octets <= 4 * content.len());

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
});
