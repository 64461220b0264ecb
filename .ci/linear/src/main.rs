//! `linear SHAPE SIZE`: does the work of one shape, and says how many octets that was.

use linear::{Work, shapes};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (name, size) = (arguments.next(), arguments.next().and_then(|size| size.parse().ok()));
    let shape = shapes().find(|shape| Some(shape.name) == name.as_deref());
    let (Some(shape), Some(size)) = (shape, size) else {
        panic!("linear SHAPE SIZE, where SHAPE is one of those in src/");
    };
    let work = (shape.prepare)(size);
    println!("{}", measured(work));
}

/// What callgrind looks at: `--toggle-collect=linear::measured*`.
#[inline(never)]
fn measured(work: Work) -> usize {
    work()
}
