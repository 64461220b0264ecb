//! The table on recordings.

use std::fmt;
use std::path::PathBuf;

use nobounce::recording::{AddressForm, ClientForm, ContentForm, RecorderSettings, Sample};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::Config;
use super::values::{Count, Octets, Parsed};

/// Settings of recordings.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Record {
    file: Option<PathBuf>,
    sample: Option<Sampled>,
    content: Option<Parsed<Form<ContentForm>>>,
    addresses: Option<Parsed<Form<AddressForm>>>,
    clients: Option<Parsed<Form<ClientForm>>>,
    max_session: Option<Octets>,
    max_memory: Option<Octets>,
    max_file: Option<Octets>,
    keep: Option<Count>,
}

/// Limits on the files of a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FileLimits {
    /// Maximum size of one file in octets.
    pub(crate) size: u64,
    /// Number of full files that are kept besides the current one.
    pub(crate) keep: usize,
}

impl Default for FileLimits {
    fn default() -> Self {
        Self { size: 1 << 30, keep: 7 }
    }
}

impl Config {
    /// Returns the file of the recording, if the configuration names one.
    pub(crate) fn record_file(&self) -> Option<&PathBuf> {
        self.file.record.as_ref()?.get_ref().file.as_ref()
    }

    /// Overwrites the settings of recordings that the file sets.
    pub(crate) fn record(&self, settings: &mut RecorderSettings, limits: &mut FileLimits) {
        let Some(table) = self.file.record.as_ref().map(toml::Spanned::get_ref) else { return };
        if let Some(sample) = &table.sample {
            settings.sample = sample.0.clone();
        }
        settings.content = form(&table.content, settings.content);
        settings.addresses = form(&table.addresses, settings.addresses);
        settings.clients = form(&table.clients, settings.clients);
        let octets = |said: &Option<Octets>, usual| said.map_or(usual, |octets| octets.0);
        settings.max_session = octets(&table.max_session, settings.max_session);
        settings.max_memory = octets(&table.max_memory, settings.max_memory);
        limits.size = table.max_file.map_or(limits.size, |octets| octets.0 as u64);
        limits.keep = table.keep.map_or(limits.keep, |count| count.0);
    }

    /// Returns an error about the settings of recordings, with its line in the configuration.
    pub(crate) fn record_fault(&self, what: &dyn fmt::Display) -> super::ConfigError {
        self.wrong_at(self.file.record.as_ref().map(toml::Spanned::span), what)
    }
}

fn form<T: Copy>(said: &Option<Parsed<Form<T>>>, usual: T) -> T {
    said.as_ref().map_or(usual, |form| form.0.0)
}

/// A form in which something is recorded.
pub(super) struct Form<T>(T);

/// Defines the words of a form.
macro_rules! forms {
    ($form:ident, $expected:literal, $($word:literal => $value:ident),+) => {
        impl std::str::FromStr for Form<$form> {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self($form::$value)),)+
                    _ => Err(format!(concat!("`{}`: expected ", $expected), word.escape_debug())),
                }
            }
        }
    };
}

forms!(ContentForm, "\"hash\", \"header\", \"none\" or \"whole\"",
    "hash" => Hash, "header" => Header, "none" => None, "whole" => Whole);
forms!(AddressForm, "\"pseudonym\" or \"plain\"", "pseudonym" => Pseudonym, "plain" => Plain);
forms!(ClientForm, "\"network\", \"plain\" or \"pseudonym\"",
    "network" => Network, "plain" => Plain, "pseudonym" => Pseudonym);

/// The sessions that are recorded: a word, a share, or a list of symbols.
struct Sampled(Sample);

impl<'de> Deserialize<'de> for Sampled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Samples)
    }
}

struct Samples;

impl<'de> Visitor<'de> for Samples {
    type Value = Sampled;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "\"refused\", \"all\", \"none\", a share from 0 to 1 such as 0.01, or a list of symbols such as [\"GTUBE\"]",
        )
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Sampled, E> {
        Ok(Sampled(match word {
            "refused" => Sample::Refused,
            "all" => Sample::All,
            "none" => Sample::None,
            _ => return Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
        }))
    }

    fn visit_f64<E: Error>(self, share: f64) -> Result<Sampled, E> {
        match (0.0..=1.0).contains(&share) {
            true => Ok(Sampled(Sample::Share(share))),
            false => Err(E::invalid_value(serde::de::Unexpected::Float(share), &self)),
        }
    }

    fn visit_i64<E: Error>(self, share: i64) -> Result<Sampled, E> {
        match share {
            0 => Ok(Sampled(Sample::None)),
            1 => Ok(Sampled(Sample::All)),
            _ => Err(E::invalid_value(serde::de::Unexpected::Signed(share), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sampled, A::Error> {
        let mut symbols = Vec::new();
        while let Some(symbol) = list.next_element::<String>()? {
            symbols.push(symbol.into());
        }
        Ok(Sampled(Sample::Symbols(symbols)))
    }
}
