//! Input shapes that a hostile peer may choose, and the work they cause. Each shape also checks
//! that the work is done correctly.

mod authors;
#[allow(dead_code, unreachable_pub, reason = "shared with the benchmarks of the crate")]
#[path = "../../../benches/dialogue/mod.rs"]
mod dialogue;
mod found;
pub mod hashing;
mod input;
pub mod judged;
mod links;
mod mail;
mod mime;
pub mod observed;
mod service;
mod signed;
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the crate")]
#[path = "../../../tests/authentication/signer.rs"]
mod signer;
mod spf;
mod talk;

/// The measured work on prepared input. Returns the number of octets processed.
pub type Work = Box<dyn FnOnce() -> usize>;

/// An input shape.
pub struct Shape {
    pub name: &'static str,
    /// Its size, in the unit of the shape, such as octets, lines or levels.
    pub size: usize,
    /// The minimum plausible number of instructions per processed octet.
    pub least: f64,
    /// Prepares the input of the given size.
    pub prepare: fn(usize) -> Work,
}

/// Returns all shapes.
pub fn shapes() -> impl Iterator<Item = &'static Shape> {
    let all: [&[Shape]; 9] = [
        authors::SHAPES,
        mail::SHAPES,
        mime::SHAPES,
        talk::SHAPES,
        found::SHAPES,
        judged::SHAPES,
        links::SHAPES,
        signed::SHAPES,
        spf::SHAPES,
    ];
    all.into_iter().flatten()
}
