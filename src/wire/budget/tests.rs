//! Tests of blocks, charges and the pool of blocks.

use super::*;

fn spare_block(budget: &Budget) -> Option<Block> {
    budget.has_spare().then(|| budget.block(BLOCK)).flatten()
}

#[test]
fn dropped_blocks_return_to_the_budget() {
    let budget = Budget::new(BLOCK + 100);
    let block = budget.block(BLOCK).expect("within the budget");
    assert_eq!(budget.used(), BLOCK);
    assert!(budget.block(101).is_none());
    assert_eq!(budget.used(), BLOCK, "a refused block is not counted");
    let small = budget.block(100).expect("the last octet");
    assert!(budget.block(1).is_none());
    assert!(budget.clone().block(usize::MAX).is_none());
    drop((block, small));
    assert_eq!(budget.used(), 0);
}

#[test]
fn charges_and_blocks_share_a_budget() {
    let budget = Budget::new(BLOCK + 100);
    let mut charge = budget.charge();
    assert!(charge.grow(60) && charge.grow(40) && !charge.grow(BLOCK + 1));
    assert_eq!((charge.octets(), budget.used()), (100, 100));
    let block = budget.block(BLOCK).expect("the rest");
    assert!(!charge.grow(1) && budget.charge().grow(0));
    drop(block);
    assert!(charge.grow(BLOCK), "the spare block gives way");
    drop(charge);
    assert_eq!(budget.used(), 0);
}

#[test]
fn block_does_not_exceed_its_capacity() {
    let mut block = Budget::default().block(3).expect("a block");
    assert_eq!((block.fill(b"ab"), block.is_full()), (2, false));
    assert_eq!((block.fill(b"cd"), block.is_full()), (1, true));
    assert_eq!((block.fill(b"d"), block.as_ref()), (0, &b"abc"[..]));
    assert_eq!(format!("{block:?}"), "Block { len: 3, .. }", "Debug does not print the content");
}

#[test]
fn budget_allows_exactly_its_size() {
    let budget = Budget::new(7);
    let _block = budget.block(3);
    assert_eq!(budget.limit(), 7);
    assert_eq!(format!("{budget:?}"), "Budget { limit: 7, used: 3 }");
    assert!(budget == Budget::new(7) && budget != Budget::new(8));
}

#[test]
fn blocks_are_reused_empty() {
    let budget = Budget::default();
    let mut block = budget.block(BLOCK).expect("a block");
    assert_eq!(block.fill(&[b'x'; BLOCK + 1]), BLOCK);
    assert!(block.is_full());
    let place = block.as_ref().as_ptr();
    drop(block);
    let mut again = budget.block(BLOCK).expect("a block");
    assert!(again.as_ref().is_empty() && !again.is_full());
    again.fill(b"y");
    assert_eq!((again.as_ref().as_ptr(), again.as_ref()), (place, &b"y"[..]));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the starting time")]
fn unused_blocks_are_freed() {
    let budget = Budget::default();
    let blocks = |count: usize| -> Vec<_> { (0..count).map(|_| budget.block(BLOCK)).collect() };
    let (begin, kept) = (Instant::now(), || budget.0.held().spare[0].blocks.len());
    budget.tidy(begin);
    drop(blocks(8));
    for (seconds, needed, left) in
        [(9, 0, 8), (10, 3, 8), (19, 0, 8), (20, 3, 3), (29, 0, 3), (30, 0, 3), (40, 0, 0)]
    {
        budget.tidy(begin + Duration::from_secs(seconds));
        assert_eq!(kept(), left, "after {seconds} s");
        drop(blocks(needed));
    }
    budget.tidy(begin);
    assert_eq!(kept(), 0, "a clock that moves backwards");
}

#[test]
fn pooled_blocks_count_towards_the_budget_and_are_evicted() {
    let budget = Budget::new(4 * BLOCK + 100);
    let spare = || budget.0.held().spare[0].blocks.len();
    let blocks: Vec<_> = (0..4).map(|_| budget.block(BLOCK)).collect();
    assert!(blocks.iter().all(Option::is_some) && spare_block(&budget).is_none());
    drop(blocks);
    assert_eq!((budget.used(), spare()), (0, 4));
    let small = budget.block(100).expect("beside them");
    assert_eq!(spare(), 4);
    let first = budget.block(FIRST).expect("in place of one of them");
    assert_eq!(spare(), 3);
    let again = spare_block(&budget).expect("one of them");
    assert_eq!((budget.used(), spare()), (BLOCK + FIRST + 100, 2));
    drop((small, first, again));
    let held = || budget.0.held().spare.iter().map(Spare::octets).sum::<usize>();
    assert_eq!((budget.used(), spare(), held()), (0, 3, 3 * BLOCK + FIRST));
    let more = budget.block(BLOCK + 100).expect("beside the rest");
    assert_eq!((spare(), held()), (2, 2 * BLOCK + FIRST));
    let most = budget.block(3 * BLOCK).expect("all of it");
    assert_eq!(held(), 0);
    drop((more, most));
    assert_eq!((budget.used(), held()), (0, 0), "none of a usual size");
}

#[test]
fn octets_read_in_place_are_kept() {
    let budget = Budget::default();
    let mut block = budget.block(BLOCK).expect("a block");
    assert!(block.room().is_empty(), "no block is allocated for it");
    block.fill(&[b'x'; 100]);
    drop(block);
    let mut block = spare_block(&budget).expect("that one");
    assert_eq!((block.room().len(), block.as_ref()), (BLOCK, &b""[..]), "all of it");
    block.room()[..2].copy_from_slice(b"ab");
    block.filled(2);
    assert_eq!((block.room().len(), block.as_ref()), (BLOCK - 2, &b"ab"[..]));
    assert_eq!((block.fill(&[b'c'; BLOCK]), block.is_full()), (BLOCK - 2, true));
    assert_eq!((block.room().len(), &block.as_ref()[..3]), (0, &b"abc"[..]));
}
