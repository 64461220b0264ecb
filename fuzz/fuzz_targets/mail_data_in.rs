//! Mail data in: whatever comes behind DATA and BDAT, however it is cut, is what the RFC says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nobounce::fuzzing;
use nobounce_fuzz::{Dice, content};

fuzz_target!(|input: &[u8]| {
    let (wire, mut dice) = Dice::split(input);
    let limit = if dice.below(4) == 0 { dice.below(wire.len() + 2) as u64 } else { u64::MAX };

    let expected = content::behind_data(wire);
    let read = fuzzing::data(dice.cut(wire), limit);
    assert_eq!(read.is_some(), expected.is_some());
    if let (Some(read), Some((end, content))) = (read, expected) {
        is(&read, end, &content, limit);
    }

    is(&fuzzing::chunks(dice.cut(wire), limit), wire.len(), wire, limit);
});

/// Holds what was read to what should have been: where it ended, and the octets of the lines.
fn is(read: &fuzzing::Read, end: usize, unstuffed: &[u8], limit: u64) {
    let content = content::normalised(unstuffed);
    assert_eq!(read.taken, end);
    assert_eq!(read.bare, content::has_bare(unstuffed));
    assert_eq!(read.over_limit, read.size > limit);
    // What ends the last chunk for the client is not counted as sent.
    let added = content.len() as u64 - read.size;
    assert!(added <= 3, "{added} octets more than were counted");
    if read.over_limit {
        assert!(read.content.is_empty());
    } else {
        assert_eq!(read.content, content);
    }
}
