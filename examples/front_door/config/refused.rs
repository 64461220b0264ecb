//! The table on copies of refused messages.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use nobounce::observer::RefusedMailLimits;
use serde::Deserialize;
use toml::Spanned;

use super::values::{Count, Extent, Octets, Seconds, Share};
use super::{Config, ConfigError};

/// Copies of refused messages. Off without a folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    folder: Option<Spanned<PathBuf>>,
    keep: Option<Extent>,
    share: Option<Share>,
    messages: Option<Count>,
    octets: Option<Octets>,
    message_size: Option<Octets>,
    age: Option<Seconds>,
}

impl Config {
    /// Returns the folder for copies of refused messages, if they are kept, and its limits.
    pub(crate) fn refused_mail(&self) -> Option<(&Path, RefusedMailLimits)> {
        let table = self.file.refused_mail.as_ref()?;
        let folder = table.folder.as_ref()?.get_ref();
        let mut limits = RefusedMailLimits::default();
        limits.header_only = table.keep.is_some_and(|it| it.0);
        limits.share = table.share.map_or(limits.share, |it| it.0);
        limits.messages = table.messages.map_or(limits.messages, |it| it.0);
        limits.octets = table.octets.map_or(limits.octets, |it| it.0 as u64);
        limits.message_size = table.message_size.map_or(limits.message_size, |it| it.0);
        limits.age = table.age.map_or(limits.age, |it| it.0);
        Some((folder, limits))
    }

    /// Returns an error about the folder, with its line.
    pub(crate) fn refused_mail_fault(&self, what: &dyn Display) -> ConfigError {
        let folder = self.file.refused_mail.as_ref().and_then(|table| table.folder.as_ref());
        self.wrong_at(folder.map(Spanned::span), what)
    }
}
