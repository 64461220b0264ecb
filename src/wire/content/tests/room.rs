//! Tests of the memory that content uses.

use super::*;

#[test]
fn content_over_the_limit_is_dropped_and_its_end_is_found() {
    let wire = format!("{}..\r\n\n.\r\nb\r\n.\r\n{TRAILING}", "0123456789\r\n".repeat(1000));
    let size = 12_000 + 3 + 2 + 3 + 3;
    for limit in [0, 1, 5000, size - 1, size, size + 1] {
        for length in [1, 7, 1000, wire.len()] {
            let mut decoder = ContentDecoder::new(Budget::default(), wire.len(), limit);
            let budget = decoder.budget.clone();
            let mut taken = 0;
            let mut parts = wire.as_bytes().chunks(length);
            let end = parts.find_map(|part| match decoder.data(part) {
                Progress::More => {
                    taken += part.len();
                    None
                }
                Progress::End(end) => Some(taken + end),
            });
            assert_eq!(end, Some(wire.len() - TRAILING.len()));
            let fault = (limit < size).then_some(ContentFault::TooBig);
            assert_eq!((decoder.size(), decoder.fault()), (size, fault));
            assert_eq!(budget.used() == 0, limit < size);
            let kept = decoder.finish().map(|content| content.len() as u64);
            assert_eq!(kept, fault.map_or(Ok(size), Err));
        }
    }
}

#[test]
fn content_over_the_budget_is_dropped_and_its_end_is_found() {
    let wire = format!("{}.\r\n{TRAILING}", "0123456789\r\n".repeat(20_000));
    let size = 240_000;
    let needed = FIRST + (size - FIRST).next_multiple_of(BLOCK);
    for octets in [0, FIRST - 1, FIRST, needed - 1, needed] {
        let budget = Budget::new(octets);
        let mut decoder = ContentDecoder::new(budget.clone(), 0, u64::MAX);
        let end = wire.len() - TRAILING.len();
        assert_eq!(decoder.data(wire.as_bytes()), Progress::End(end));
        let fault = (octets < needed).then_some(ContentFault::NoMemory);
        assert_eq!((decoder.size(), decoder.fault()), (size as u64, fault));
        assert_eq!(budget.used(), if octets < needed { 0 } else { needed });
        let kept = decoder.finish().map(|content| content.len());
        assert_eq!(kept, fault.map_or(Ok(size), Err));
        assert_eq!(budget.used(), 0, "dropped mail data is returned to the budget");
    }
}

#[test]
fn missing_line_end_without_memory_is_a_fault() {
    let mut decoder = ContentDecoder::new(Budget::new(FIRST), 0, u64::MAX);
    decoder.chunk(&[b'x'; FIRST]);
    assert_eq!(decoder.fault(), None);
    assert_eq!(decoder.finish().map(|content| content.len()), Err(ContentFault::NoMemory));
}

#[test]
fn reserved_room_is_the_announced_size_within_bounds() {
    for (announced, room) in [
        (0, FIRST),
        (1, 4),
        (4000, 4003),
        (BLOCK, BLOCK),
        (BLOCK << 10, BLOCK),
        (usize::MAX, BLOCK),
    ] {
        let budget = Budget::new(usize::MAX);
        let mut decoder = ContentDecoder::new(budget.clone(), announced, u64::MAX);
        assert_eq!(budget.used(), 0, "before there is anything to keep");
        decoder.chunk(b"x");
        assert_eq!(budget.used(), room);
    }
    // The announced size is only a hint.
    let mut decoder = ContentDecoder::new(Budget::default(), 1, u64::MAX);
    let content = b"0123456789\r\n".repeat(20_000);
    content.chunks(1460).for_each(|part| decoder.chunk(part));
    assert_eq!(decoder.finish().unwrap().segments().concat(), content);
}

#[test]
fn cr_at_the_limit_is_undecided() {
    let mut open = decoder(10);
    open.chunk(b"0123456789\r");
    assert_eq!(open.fault(), None);
    let mut settled = decoder(10);
    settled.chunk(b"0123456789\r");
    let content = settled.finish().unwrap().segments().concat();
    assert_eq!(content, b"0123456789 \r\n", "nothing is lost at the limit");
    open.chunk(b"\n");
    assert_eq!(open.fault(), Some(ContentFault::TooBig));
    open.chunk(b"\r");
    assert!(open.finish().is_err());
}

#[test]
#[cfg(feature = "serve")]
fn a_portion_fills_a_block() {
    let mut decoder = decoder(BLOCK as u64 + 100);
    for (octets, portion) in [
        (0, FIRST),
        (100, FIRST - 100),
        (FIRST - 101, 1),
        (1, BLOCK),
        (1, BLOCK - 1),
        // Up to the limit, and beyond it, where nothing is kept.
        (BLOCK + 99 - FIRST, FIRST - 100),
        (1, BLOCK),
        (BLOCK, BLOCK),
    ] {
        decoder.chunk(&vec![b'x'; octets]);
        assert_eq!(decoder.portion(), portion, "after {} octets", decoder.size());
    }
}
