//! Parsers and writers of the wire formats. They hold no state except framing, and no policy.

pub mod attributes;
pub(crate) mod blocks;
pub(crate) mod budget;
pub(crate) mod canonical;
pub mod command;
pub(crate) mod content;
#[cfg(feature = "testing")]
pub mod exposed;
pub(crate) mod holders;
pub(crate) mod line;
pub(crate) mod mailbox;
pub(crate) mod parameters;
pub mod proxy;
pub mod reply;
pub(crate) mod text;
pub(crate) mod xtext;
