//! Mail data out: of any content, in any segments, every reader sees one message, and it is the
//! same (guarantee G: nothing is smuggled).

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use nobounce::{Budget, MailData, fuzzing};
use nobounce_fuzz::{Dice, content};

fuzz_target!(|input: &[u8]| {
    let (octets, mut dice) = Dice::split(input);
    // Blocks of the writer are 4 KiB; what is there once is there at their borders, too.
    let before = if dice.below(4) == 0 { 4090 + dice.below(12) } else { 0 };
    let octets = [&vec![b'x'; before], octets].concat();

    let mail_data = fuzzing::octets(&MailData::normalise(&octets));
    assert_eq!(mail_data, content::normalised(&octets));

    // In blocks, which are cut wherever that is.
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
