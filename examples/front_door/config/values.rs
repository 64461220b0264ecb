//! Types of values in the file. Each describes the values it expects.

use std::fmt;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use nobounce::panel::FailurePolicy;
use nobounce::score::Disclosure;
use nobounce::scorers::{OnVirus, Over, Oversize, RspamdActions};
use nobounce::{Address, Score};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A visitor that deserializes a word or a number with `read`. Any other value is an error that
/// states what was expected.
struct WordOrNumber<T> {
    expected: &'static str,
    read: fn(Written<'_>) -> Option<T>,
}

#[derive(Clone, Copy)]
enum Written<'a> {
    Word(&'a str),
    Number(f64),
}

impl<T> Visitor<'_> for WordOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<T, E> {
        let value = (self.read)(Written::Word(word));
        value.ok_or_else(|| E::invalid_value(Unexpected::Str(word), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        let value = (self.read)(Written::Number(number));
        value.ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        // The conversion is exact for all valid scores and seconds.
        let value = (self.read)(Written::Number(number as f64));
        value.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

/// Defines a value type that is read from a word or a number.
macro_rules! value {
    ($(#[$doc:meta])* $name:ident($inner:ty), $expected:literal, $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(pub(crate) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let visitor = WordOrNumber { expected: $expected, read: $read };
                deserializer.deserialize_any(visitor).map(Self)
            }
        }
    };
}

value!(
    /// A score.
    Points(Score),
    "a score: a number of points with at most two decimals, such as 6.31",
    points
);
value!(
    /// A score that triggers an action. It is above 0.
    Threshold(Score),
    "a score above 0",
    |written| points(written).filter(|score| *score > Score::ZERO)
);
value!(
    /// A score that is never negative, so it cannot favour a client.
    Penalty(Score),
    "a score of at least 0",
    |written| points(written).filter(|score| *score >= Score::ZERO)
);
value!(
    /// A score that is never positive, so it cannot count against a client.
    Merit(Score),
    "a score of at most 0",
    |written| points(written).filter(|score| *score <= Score::ZERO)
);
value!(
    /// A threshold, or none for "never".
    Level(Option<Score>),
    "a score above 0 or \"never\"",
    |written| match written {
        Written::Word("never") => Some(None),
        written => points(written).filter(|score| *score > Score::ZERO).map(Some),
    }
);
value!(
    /// A duration.
    Seconds(Duration),
    "a number of seconds above 0 and at most 315360000 (ten years)",
    |written| seconds(written, 315_360_000.0)
);
value!(
    /// A duration for which a client waits.
    Wait(Duration),
    "a number of seconds above 0 and at most 60",
    |written| seconds(written, 60.0)
);
value!(
    /// A budget for all scorers of a stage, or for one of them. A session allows at most two
    /// minutes.
    Patience(Duration),
    "a number of seconds above 0 and at most 120",
    |written| seconds(written, 120.0)
);
value!(
    /// A session timeout. Clients wait for minutes.
    Timeout(Duration),
    "a number of seconds from 1 to 86400 (a day)",
    |written| seconds(written, 86_400.0).filter(|time| *time >= Duration::from_secs(1))
);
value!(
    /// A count of at least 1.
    Count(usize),
    "a whole number from 1 to 10000000",
    |written| whole(written, 10_000_000.0).map(|count| count as usize)
);
value!(
    /// A duration for which a client waits, or 0 to disable the feature.
    WaitOrNever(Option<Duration>),
    "a number of seconds of at most 60, or 0 to disable",
    |written| match written {
        Written::Number(0.0) => Some(None),
        written => seconds(written, 60.0).map(Some),
    }
);
value!(
    /// The action when a scorer fails.
    OnFailure(FailurePolicy),
    "\"defer\", \"ignore\" or a score above 0",
    |written| match written {
        Written::Word("defer") => Some(FailurePolicy::Defer),
        Written::Word("ignore") => Some(FailurePolicy::Ignore),
        written => points(written).filter(|score| *score > Score::ZERO).map(FailurePolicy::Score),
    }
);
value!(
    /// The effect of a virus finding.
    Virus(OnVirus),
    "\"refuse\" or a score above 0",
    |written| match written {
        Written::Word("refuse") => Some(OnVirus::Refuse),
        written => points(written).filter(|score| *score > Score::ZERO).map(OnVirus::Score),
    }
);
value!(
    /// A size in octets.
    Octets(usize),
    "a number of octets above 0 and at most 1099511627776 (1 TiB)",
    |written| whole(written, 1_099_511_627_776.0).map(|octets| octets as usize)
);
value!(
    /// The maximum message size. A server must accept at least 64 KiB (RFC 5321 section
    /// 4.5.3.1.7).
    MessageSize(usize),
    "a number of octets from 65536 (RFC 5321 section 4.5.3.1.7) to 1099511627776 (1 TiB)",
    |written| whole(written, 1_099_511_627_776.0)
        .filter(|octets| *octets >= 65_536)
        .map(|octets| octets as usize)
);
value!(
    /// Minimum rate at which a client must send content, in octets per second. 0 disables the
    /// limit.
    DataRate(u32),
    "a whole number of octets per second of at most 100000, or 0 for no limit",
    |written| match written {
        Written::Number(0.0) => Some(0),
        written => whole(written, 100_000.0).map(|rate| rate as u32),
    }
);
value!(
    /// A mask for the bits of a list's return code.
    Mask(u32),
    "a mask of bits from 1 to 0xffffff",
    |written| match written {
        Written::Number(mask) if (1.0..=16_777_215.0).contains(&mask) && mask.fract() == 0.0 => {
            Some(mask as u32)
        }
        _ => None,
    }
);
value!(
    /// A factor in hundredths.
    Percent(u16),
    "a factor from 0.01 to 100 with at most two decimals, such as 0.4",
    |written| match written {
        Written::Number(factor) if (0.01..=100.0).contains(&factor) => {
            let hundredths = (factor * 100.0).round();
            ((factor * 100.0 - hundredths).abs() < 1e-6).then_some(hundredths as u16)
        }
        _ => None,
    }
);
value!(
    /// The treatment of messages above the size limit.
    Excess(Oversize),
    "\"head\" or \"skip\"",
    |written| match written {
        Written::Word("head") => Some(Oversize::Head),
        Written::Word("skip") => Some(Oversize::Skip),
        _ => None,
    }
);
value!(
    /// The treatment of recipients above a rate.
    Beyond(Over),
    "\"defer\" or a score above 0",
    |written| match written {
        Written::Word("defer") => Some(Over::Defer),
        written => points(written).filter(|score| *score > Score::ZERO).map(Over::Score),
    }
);
value!(
    /// The treatment of rspamd's actions.
    Actions(RspamdActions),
    "\"obey\" or \"score\"",
    |written| match written {
        Written::Word("obey") => Some(RspamdActions::Obey),
        Written::Word("score") => Some(RspamdActions::Score),
        _ => None,
    }
);
value!(
    /// The part of a refused message that is kept: only the header, or all of it.
    Extent(bool),
    "\"whole\" or \"header\"",
    |written| match written {
        Written::Word("whole") => Some(false),
        Written::Word("header") => Some(true),
        _ => None,
    }
);
value!(
    /// A share.
    Share(f64),
    "a number above 0 and at most 1, such as 0.1",
    |written| match written {
        Written::Number(share) if share > 0.0 && share <= 1.0 => Some(share),
        _ => None,
    }
);
value!(
    /// Whether a refused client may learn of a finding.
    Told(Disclosure),
    "\"public\" or \"private\"",
    |written| match written {
        Written::Word("public") => Some(Disclosure::Public),
        Written::Word("private") => Some(Disclosure::Private),
        _ => None,
    }
);

/// Reads a score with at most two decimals: `0.005` is refused. The limit of 100,000 points is far
/// above the 1,000 points of the GTUBE test message.
fn points(written: Written<'_>) -> Option<Score> {
    let Written::Number(points) = written else {
        return None;
    };
    let hundredths = points * 100.0;
    let exact = (hundredths - hundredths.round()).abs() < 1e-6;
    (exact && points.abs() <= 100_000.0).then(|| Score::hundredths(hundredths.round() as i32))
}

fn seconds(written: Written<'_>, most: f64) -> Option<Duration> {
    match written {
        Written::Number(seconds) if seconds > 0.0 && seconds <= most => {
            Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
        }
        _ => None,
    }
}

fn whole(written: Written<'_>, most: f64) -> Option<u64> {
    match written {
        Written::Number(number) if (1.0..=most).contains(&number) && number.fract() == 0.0 => {
            Some(number as u64)
        }
        _ => None,
    }
}

/// Prefix length that defines the network of an address.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct Width<const MOST: u32>(pub(crate) u32);

impl<const MOST: u32> TryFrom<u32> for Width<MOST> {
    type Error = String;

    fn try_from(bits: u32) -> Result<Self, String> {
        let width = (1..=MOST).contains(&bits).then_some(Self(bits));
        width.ok_or_else(|| format!("a prefix of {bits} bits, expected a number from 1 to {MOST}"))
    }
}

/// The address of a server.
#[derive(Clone)]
pub(crate) struct ServerAddress(pub(crate) Address);

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        /// Maximum length of the path in a Unix socket address. The last octet is NUL.
        const PATH: usize = 107;
        const EXPECTED: &str = "expected HOST:PORT, [ADDRESS]:PORT for IPv6, or unix:/PATH";
        let address: Address = text.parse().map_err(|error| format!("{error}; {EXPECTED}"))?;
        let fault = match &address {
            Address::Unix(path) if !path.is_absolute() => "the path is not absolute",
            Address::Unix(path) if path.as_os_str().len() > PATH => {
                "the path has more than 107 octets"
            }
            Address::Unix(_) => return Ok(Self(address)),
            Address::Tcp(address) => match address.rsplit_once(':') {
                Some((_, port)) if port.parse() == Ok(0_u16) => "the port is 0",
                Some((host, _)) if !is_host(host) => "the host is neither a name nor an address",
                Some(_) => return Ok(Self(Address::Tcp(address.clone()))),
                None => "the port is missing",
            },
        };
        Err(format!("`{}`: {fault}; {EXPECTED}", text.escape_debug()))
    }
}

/// Returns whether `host` is a name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host),
    }
}

/// Returns whether `name` is a host name (RFC 5321 section 4.1.2). Underscores are allowed, since
/// some hosts have them. A name that consists of numbers must be a valid address.
pub(crate) fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let ends = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && label.chars().all(plain) && !ends
    };
    let numbers = name.chars().all(|c| c.is_ascii_digit() || c == '.');
    name.len() <= 255
        && name.split('.').all(label)
        && (!numbers || name.parse::<Ipv4Addr>().is_ok())
}

/// A user name in the spamd protocol: letters, digits and `._@+-`, as in the names that `useradd`
/// accepts and in addresses.
pub(crate) struct UserName(pub(crate) String);

impl FromStr for UserName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
        if (1..=100).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('-') {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "`{}`: not a user name, expected 1 to 100 letters, digits and `._@+-`",
            text.escape_debug()
        ))
    }
}

/// Text for a protocol header: printable ASCII.
pub(crate) struct Printable(pub(crate) String);

impl FromStr for Printable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let printable =
            (1..=200).contains(&text.len()) && text.bytes().all(|c| (b' '..=b'~').contains(&c));
        if printable && text.trim() == text {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("`{}`: expected 1 to 200 printable ASCII characters", text.escape_default()))
    }
}

/// A value that is parsed from a string with `FromStr`. Parsing happens during deserialization, so
/// that errors have a line number.
pub(crate) struct Parsed<T>(pub(crate) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(PhantomData)).map(Self)
    }
}

struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// The symbol of a finding.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Symbol(pub(crate) String);

impl FromStr for Symbol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if !(1..=100).contains(&text.len()) || !text.chars().all(plain) {
            return Err(format!(
                "`{}`: not a symbol, expected 1 to 100 letters, digits, `_`, `-` and `.`",
                text.escape_debug()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Parsed::deserialize(deserializer)?.0)
    }
}
