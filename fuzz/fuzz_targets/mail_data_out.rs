//! Outgoing mail data: for any content in any segments, every reader sees exactly one message with
//! the same content (guarantee G: no smuggling).

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use nobounce::fuzzing;
use nobounce::message::{Budget, MailData};
use nobounce_fuzz::{Dice, content};

fuzz_target!(|input: &[u8]| {
    let (octets, mut dice) = Dice::split(input);
    // The writer has blocks of 4 KiB. A prefix moves the input to a block boundary.
    let before = if dice.below(4) == 0 { 4090 + dice.below(12) } else { 0 };
    let octets = [&vec![b'x'; before], octets].concat();

    let mail_data = fuzzing::octets(&MailData::normalise(&octets));
    assert_eq!(mail_data, content::normalised(&octets));

    // Segments with arbitrary boundaries.
    let segments = dice.cut(&mail_data).into_iter().filter(|segment| !segment.is_empty());
    let segments: Vec<_> = segments.map(Bytes::copy_from_slice).collect();

    let wire = fuzzing::write_data(&segments).concat();
    assert_eq!(wire, content::written(&mail_data));
    content::is_one_message(&wire);
    let read =
        fuzzing::data(dice.cut(&wire), &Budget::default(), u64::MAX).expect("an end of data");
    assert_eq!((read.taken, read.bare), (wire.len(), false));
    assert_eq!(read.content, Some(mail_data));
});
