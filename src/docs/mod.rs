//! Pages about the crate as a whole: there is nothing to call here.

pub mod bounds {
    #![doc = include_str!("bounds.md")]
}
