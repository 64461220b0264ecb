//! Incoming mail data: the content after DATA or BDAT follows the RFC, however the input is cut
//! into reads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nobounce::fuzzing;
use nobounce::message::Budget;
use nobounce_fuzz::{Dice, content};

fuzz_target!(|input: &[u8]| {
    let (wire, mut dice) = Dice::split(input);
    let limit = if dice.below(4) == 0 { dice.below(wire.len() + 2) as u64 } else { u64::MAX };
    let budget = Budget::new([0, 9_000, usize::MAX, usize::MAX][dice.below(4)]);

    let expected = content::after_data(wire);
    let copied = fuzzing::data(dice.cut(wire), &budget, limit);
    let in_place = fuzzing::data_in_place(dice.cut(wire), &budget, limit);
    for read in [copied, in_place] {
        assert_eq!(read.is_some(), expected.is_some());
        if let (Some(read), Some((end, content))) = (read, &expected) {
            is(&read, *end, content, &budget, limit);
        }
    }

    let read = fuzzing::chunks(dice.cut(wire), &budget, limit);
    is(&read, wire.len(), wire, &budget, limit);
});

/// Checks the result of reading: the position of its end, and the content.
fn is(read: &fuzzing::Read, end: usize, unstuffed: &[u8], budget: &Budget, limit: u64) {
    let content = content::normalised(unstuffed);
    assert_eq!(read.taken, end);
    assert_eq!(read.bare, content::has_bare(unstuffed));
    assert_eq!(read.too_big, read.size > limit);
    // The line end that is added to the last chunk for the client does not count as sent.
    let added = content.len() as u64 - read.size;
    assert!(added <= 3, "{added} octets more than were counted");
    match &read.content {
        Some(read) => assert_eq!(*read, content),
        None if read.too_big => {}
        None => assert!(!content.is_empty() && budget.limit() < usize::MAX),
    }
    assert_eq!(budget.used(), 0, "memory is held without content");
}
