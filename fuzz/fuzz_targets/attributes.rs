//! XCLIENT and XFORWARD: attributes that are parsed are written and parsed again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nobounce::attributes::{Attribute, AttributeCommand, ClientAttributes};
use nobounce_fuzz::{line, shown};

fuzz_target!(|input: &[u8]| {
    // With two lines, the first one lists the attributes that the onward server offers.
    let (offered, command) = match line(input) {
        Some((offered, command)) => (String::from_utf8_lossy(offered).into_owned(), command),
        None => (String::new(), input),
    };
    let Some((command, argument)) = AttributeCommand::split(command) else {
        return;
    };
    let Ok(client) = ClientAttributes::parse(command, argument) else {
        return;
    };
    for text in texts(&client).into_iter().filter_map(Attribute::known) {
        assert!(!text.is_empty() && text.len() <= 255);
        assert!(text.bytes().all(|octet| octet.is_ascii_graphic()));
    }

    for offered in [command.attributes().join(" "), offered] {
        let written: Vec<_> = match command {
            AttributeCommand::Xclient => client.xclient(&offered).into_iter().collect(),
            AttributeCommand::Xforward => client.xforward(&offered),
        };
        let mut again = ClientAttributes::default();
        for octets in &written {
            assert!(command == AttributeCommand::Xclient || octets.len() <= 512);
            let (text, remaining) = line(octets).expect("a line");
            assert!(remaining.is_empty() && text.iter().all(|octet| (32..127).contains(octet)));
            let (verb, argument) = AttributeCommand::split(text).expect("the command");
            assert_eq!(verb, command);
            let names = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
            for name in names.map(|word| word.split(|octet| *octet == b'=').next()) {
                let name = String::from_utf8_lossy(name.unwrap_or_default());
                let mut words = offered.split_ascii_whitespace();
                assert!(words.any(|word| word.eq_ignore_ascii_case(&name)), "{name}");
            }
            again.update(ClientAttributes::parse(verb, argument).expect("attributes"));
        }
        if offered == command.attributes().join(" ") {
            is_same(&client, &again, command, argument);
        }
    }
});

fn texts(client: &ClientAttributes) -> [&Attribute<Box<str>>; 6] {
    let ClientAttributes { name, reverse_name, protocol, helo, login, ident, .. } = client;
    [name, reverse_name, protocol, helo, login, ident]
}

/// Checks that no attribute has changed, and that XCLIENT sends every attribute of the connection.
fn is_same(
    client: &ClientAttributes,
    again: &ClientAttributes,
    command: AttributeCommand,
    argument: &[u8],
) {
    let context = || format!("{client:?}\n{again:?}\n{}", shown(argument));
    for (one, other) in texts(client).into_iter().zip(texts(again)) {
        match (one, other) {
            // An attribute that is too long in xtext, or that Postfix would refuse, becomes
            // unavailable instead of changing.
            (_, Attribute::Unavailable) => {}
            // In XCLIENT, protocols other than SMTP and ESMTP are omitted, and names have no
            // trailing dot.
            (Attribute::Known(_), Attribute::Omitted) if command == AttributeCommand::Xclient => {}
            (Attribute::Known(one), Attribute::Known(other)) => {
                let one = one.strip_suffix('.').unwrap_or(one);
                let other = other.strip_suffix('.').unwrap_or(other);
                assert!(one.eq_ignore_ascii_case(other), "{}", context());
            }
            _ => assert_eq!(one, other, "{}", context()),
        }
    }
    for (one, other) in [(&client.helo, &again.helo), (&client.ident, &again.ident)] {
        if let Attribute::Known(text) = one
            && !text.contains(['+', '='])
        {
            assert_eq!(one, other, "{}", context());
        }
    }
    let unsaid = command == AttributeCommand::Xclient;
    let same = |one: bool, omitted: bool| one || unsaid && omitted;
    assert!(same(client.address == again.address, client.address == Attribute::Omitted));
    assert!(same(client.port == again.port, client.port == Attribute::Omitted));
    assert_eq!(client.origin, again.origin);
    assert_eq!(client.destination_address, again.destination_address);
    assert_eq!(client.destination_port, again.destination_port);
    if unsaid {
        for omitted in [&again.name, &again.reverse_name] {
            assert_ne!(*omitted, Attribute::Omitted, "{}", context());
        }
        assert_ne!(again.address, Attribute::Omitted);
        assert_ne!(again.port, Attribute::Omitted);
    }
}
