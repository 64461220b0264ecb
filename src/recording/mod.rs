//! Recordings of sessions.
//!
//! A recording is JSON Lines. The lines of one session stand together. The first is of the kind
//! `opened` and has the [version](VERSION) `v` of the format; the last is of the kind `closed`. `at`
//! is the time since `opened` in seconds. A reader skips kinds and keys that it does not know, and
//! another version is an error. Lines are ASCII, and octets are base64.
//!
//! | kind | keys | meaning |
//! |---|---|---|
//! | `opened` | `v` `time` `client` `gate` | the client, the version and the policy |
//! | `offered` | `extensions` | the extensions of the relay target |
//! | `in` | `octets` `during` | input; `during` is what the session was doing, `receive` if it is missing |
//! | `mail-data` | `size` `ends` `during` | mail data that the recording does not contain |
//! | `out` | `octets` | replies |
//! | `heard` | `transaction` `stage` `scorer` `took` `findings` `reply` `failure` `adds_fields` | the answer of a scorer: scores as `given`, its refusal, its failure |
//! | `judged` | `transaction` `stage` `score` `verdict` `monitored` `reply` `thresholds` `silent` `weighted` | a verdict of the panel, the scorers that found nothing, and the scores that weights changed |
//! | `content` | `transaction` `size` `sha256` `fields` `header` | a content that the panel was asked about |
//! | `relayed` | `transaction` `request` `reply` `failure` | an answer of the relay target |
//! | `late` | `cause` | a timeout |
//! | `ended` | `transaction` `cause` `reply` | the end of a transaction |
//! | `closed` | `cause` `conduct` | the end of the session |
//! | `cut` | | the session was too large; the rest is missing |
//! | `secured`, `not-secured`, `client-changed`, `stressed`, `shutting-down`, `evicted`, `tarpitted`, `input-ended`, `client-lost`, `unacknowledged` | `tls` `client` `on` `transaction` `during` | as the [events](crate::Event) of these names |

mod base64;
mod line;
mod privacy;
mod read;
mod session;
mod settings;
mod words;
mod write;

pub(crate) use privacy::{Pseudonyms, conceal};
pub use read::{Recording, RecordingError};
pub use session::{
    Closed, Content, Decided, Element, Ended, Fact, Heard, HeardFailure, Judged, RecordedSession,
    Relayed,
};
pub(crate) use words::extensions;

pub use settings::{AddressForm, ClientForm, ContentForm, RecorderSettings, Sample, SettingsError};

/// The version of the format: `v` of the first line of each session.
pub const VERSION: u32 = 1;
