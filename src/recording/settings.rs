//! What a recording contains.

use std::sync::Arc;

/// Settings of a [`Recorder`](crate::observer::Recorder). The defaults record sessions in which
/// something was refused, without personal data.
///
/// ```
/// use nobounce::recording::{RecorderSettings, Sample};
///
/// let mut settings = RecorderSettings::default();
/// settings.sample = Sample::All;
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecorderSettings {
    /// What is recorded of contents. Default: [`ContentForm::Hash`].
    pub content: ContentForm,
    /// The form of mail addresses. Default: [`AddressForm::Pseudonym`].
    pub addresses: AddressForm,
    /// The form of the addresses of clients. Default: [`ClientForm::Network`].
    pub clients: ClientForm,
    /// The sessions that are recorded. Default: [`Sample::Refused`].
    pub sample: Sample,
    /// The policy of the gate, such as a hash of its configuration. Default: empty.
    pub policy: Arc<str>,
    /// Maximum size of one session in octets, before base64. Default: 1 MiB.
    pub max_session: usize,
    /// Maximum size of all running sessions together, in octets. Default: 64 MiB.
    pub max_memory: usize,
}

/// What is recorded of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ContentForm {
    /// Its size, its SHA-256 and the names of the fields in its header, in order. With
    /// [`Sample::Refused`] and [`Sample::Symbols`], only contents that the panel refused, or in
    /// which it found one of the symbols, have a hash.
    #[default]
    Hash,
    /// The same, and its header.
    Header,
    /// Only the size of its mail data.
    None,
    /// All its octets, as they were sent.
    Whole,
}

/// The form of mail addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AddressForm {
    /// Local part and domain are each replaced by 80 bits of an HMAC-SHA-256 under a random key that
    /// is never stored, so that equal addresses and equal domains stay equal in the recordings of
    /// one recorder. The domain ends with `.invalid`. Also replaced are addresses in replies, names
    /// of clients and HELO names. Details of findings and texts of failures are left out.
    #[default]
    Pseudonym,
    /// As they are.
    Plain,
}

/// The form of the IP addresses of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ClientForm {
    /// The network: an IPv4 /24 or an IPv6 /48.
    #[default]
    Network,
    /// As they are.
    Plain,
    /// A pseudonym. Two addresses share a prefix if and only if their pseudonyms do.
    Pseudonym,
}

/// The sessions that are recorded.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Sample {
    /// Sessions in which the panel, the session or the relay target refused or deferred a client, a
    /// recipient or a content, or in which a panel in monitor mode would have done so.
    #[default]
    Refused,
    /// All sessions.
    All,
    /// No session.
    None,
    /// This share of all sessions, from 0 to 1. The name of the session decides.
    Share(f64),
    /// Sessions in which one of these symbols was found, as `SYMBOL` or `SCORER:SYMBOL`.
    Symbols(Vec<Box<str>>),
}

/// The error for settings that contradict each other. Fault of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Headers and contents contain addresses in plain.
    #[error(
        "a recording of headers or whole contents contains addresses in plain; expected plain addresses and clients, \
         or contents by hash"
    )]
    PlainContent,
    /// The share is not a number from 0 to 1.
    #[error("the share is not a number from 0 to 1")]
    Share,
    /// The system has no random numbers for the key of the pseudonyms.
    #[error("the system has no random numbers")]
    NoKey,
}

impl Default for RecorderSettings {
    fn default() -> Self {
        Self {
            content: ContentForm::default(),
            addresses: AddressForm::default(),
            clients: ClientForm::default(),
            sample: Sample::default(),
            policy: "".into(),
            max_session: 1 << 20,
            max_memory: 64 << 20,
        }
    }
}

impl RecorderSettings {
    /// Checks the settings.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        if matches!(self.content, ContentForm::Header | ContentForm::Whole) && self.hides_names() {
            return Err(SettingsError::PlainContent);
        }
        match self.sample {
            Sample::Share(share) if !(0.0..=1.0).contains(&share) => Err(SettingsError::Share),
            _ => Ok(()),
        }
    }

    pub(crate) fn hides_addresses(&self) -> bool {
        self.addresses == AddressForm::Pseudonym
    }

    /// Returns whether names of clients are replaced.
    pub(crate) fn hides_names(&self) -> bool {
        self.hides_addresses() || self.clients != ClientForm::Plain
    }
}
