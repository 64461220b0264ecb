//! Input of shapes that a hostile peer may choose, and what nobounce has to do with it. That it is
//! done, and done right, is checked with each.

mod found;
mod input;
pub mod judged;
mod mail;
mod mime;
mod service;
mod talk;

/// What is done once the input is there; says how many octets were worked on.
pub type Work = Box<dyn FnOnce() -> usize>;

/// A shape of input.
pub struct Shape {
    pub name: &'static str,
    /// How much of it: octets, lines, levels, whatever the shape is made of.
    pub size: usize,
    /// The least number of instructions for each octet worked on that can be believed.
    pub least: f64,
    /// Makes it.
    pub prepare: fn(usize) -> Work,
}

/// All shapes.
pub fn shapes() -> impl Iterator<Item = &'static Shape> {
    [mail::SHAPES, mime::SHAPES, talk::SHAPES, found::SHAPES, judged::SHAPES].into_iter().flatten()
}
