//! Replies from an arbitrary server.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use nobounce::fuzzing;
use nobounce::reply::ReplyError;
use nobounce_fuzz::Dice;
use nobounce_fuzz::replies::{self, Fault};

fuzz_target!(|input: &[u8]| {
    let (wire, mut dice) = Dice::split(input);
    let (expected, expected_fault) = replies::read(wire);
    let (read, fault) = fuzzing::replies(dice.cut(wire));
    let fault = fault.map(|fault| match fault {
        ReplyError::Malformed => Fault::Malformed,
        ReplyError::BareLf => Fault::BareLf,
        ReplyError::CodeChanged => Fault::CodeChanged,
        ReplyError::Endless => Fault::Endless,
        other => panic!("{other}"),
    });
    assert_eq!(fault, expected_fault);
    assert_eq!(read.len(), expected.len());
    for (reply, expected) in read.iter().zip(&expected) {
        assert_eq!(reply.code().value(), expected.code);
        assert_eq!(reply.lines().count(), expected.lines.len());
        // The forwarded reply is a valid reply with the same text, made printable and truncated.
        let mut octets = BytesMut::new();
        reply.write(&mut octets);
        let written = replies::written(&octets);
        assert_eq!(written.len(), 1);
        for (line, expected) in written[0].lines.iter().zip(&expected.lines) {
            let printable = |octet: &u8| match octet {
                b' '..=b'~' => *octet,
                b'\t' => b' ',
                _ => b'?',
            };
            let text = expected.iter().skip(4).take(506).map(printable);
            assert!(line.iter().skip(5).copied().eq(text.skip(1)));
        }
        let (again, fault) = fuzzing::replies([&octets[..]]);
        assert_eq!((again.as_slice(), fault), (std::slice::from_ref(reply), None));
        assert!(reply.to_string().lines().count() == expected.lines.len());
    }
});
