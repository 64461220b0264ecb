//! Values of the file, each of which says what it expects.

use std::fmt;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use nobounce::scorers::{OnVirus, Over, Oversize, RspamdActions};
use nobounce::{Address, Disclosure, FailurePolicy, Score};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A word or a number, made into a value by `read`; what is none of these is an error that says
/// what was expected.
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
        // Exact as far as scores and seconds go.
        let value = (self.read)(Written::Number(number as f64));
        value.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

/// A value that is read from a word or a number.
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
    /// A score from which on something is done, so 0 is none.
    Threshold(Score),
    "a score above 0",
    |written| points(written).filter(|score| *score > Score::ZERO)
);
value!(
    /// A score that cannot speak for a client.
    Penalty(Score),
    "a score of at least 0",
    |written| points(written).filter(|score| *score >= Score::ZERO)
);
value!(
    /// A score that cannot speak against a client.
    Merit(Score),
    "a score of at most 0",
    |written| points(written).filter(|score| *score <= Score::ZERO)
);
value!(
    /// A threshold, or none.
    Level(Option<Score>),
    "a score above 0 or \"never\"",
    |written| match written {
        Written::Word("never") => Some(None),
        written => points(written).filter(|score| *score > Score::ZERO).map(Some),
    }
);
value!(
    /// A time.
    Seconds(Duration),
    "a number of seconds above 0 and at most 315360000 (ten years)",
    |written| seconds(written, 315_360_000.0)
);
value!(
    /// A time for which a client waits.
    Wait(Duration),
    "a number of seconds above 0 and at most 60",
    |written| seconds(written, 60.0)
);
value!(
    /// A time for all scorers of a stage, or one of them: a session gives them two minutes.
    Patience(Duration),
    "a number of seconds above 0 and at most 120",
    |written| seconds(written, 120.0)
);
value!(
    /// A time of a session: clients wait minutes.
    Timeout(Duration),
    "a number of seconds from 1 to 86400 (a day)",
    |written| seconds(written, 86_400.0).filter(|time| *time >= Duration::from_secs(1))
);
value!(
    /// A count from 1 on.
    Count(usize),
    "a whole number from 1 to 10000000",
    |written| whole(written, 10_000_000.0).map(|count| count as usize)
);
value!(
    /// A time that a client waits for us, or 0 for what is not to be done at all.
    WaitOrNever(Option<Duration>),
    "a number of seconds of at most 60, or 0 for never",
    |written| match written {
        Written::Number(0.0) => Some(None),
        written => seconds(written, 60.0).map(Some),
    }
);
value!(
    /// What is done when a scorer fails.
    OnFailure(FailurePolicy),
    "\"defer\", \"ignore\" or a score above 0",
    |written| match written {
        Written::Word("defer") => Some(FailurePolicy::Defer),
        Written::Word("ignore") => Some(FailurePolicy::Ignore),
        written => points(written).filter(|score| *score > Score::ZERO).map(FailurePolicy::Score),
    }
);
value!(
    /// What a virus is.
    Virus(OnVirus),
    "\"refuse\" or a score above 0",
    |written| match written {
        Written::Word("refuse") => Some(OnVirus::Refuse),
        written => points(written).filter(|score| *score > Score::ZERO).map(OnVirus::Score),
    }
);
value!(
    /// A size.
    Octets(usize),
    "a number of octets above 0 and at most 1099511627776 (1 TiB)",
    |written| whole(written, 1_099_511_627_776.0).map(|octets| octets as usize)
);
value!(
    /// The size of the largest message: a server takes at least 64 KiB (RFC 5321 section 4.5.3.1.7).
    MessageSize(usize),
    "a number of octets from 65536 (RFC 5321 section 4.5.3.1.7) to 1099511627776 (1 TiB)",
    |written| whole(written, 1_099_511_627_776.0)
        .filter(|octets| *octets >= 65_536)
        .map(|octets| octets as usize)
);
value!(
    /// Octets in a second that a client must send, or 0 for any rate.
    DataRate(u32),
    "a whole number of octets a second of at most 100000, which a slow line still carries, or 0 for any rate",
    |written| match written {
        Written::Number(0.0) => Some(0),
        written => whole(written, 100_000.0).map(|rate| rate as u32),
    }
);
value!(
    /// Bits of a list's code.
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
    /// Hundredths.
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
    /// What is done with what is larger than the limit.
    Excess(Oversize),
    "\"head\" or \"skip\"",
    |written| match written {
        Written::Word("head") => Some(Oversize::Head),
        Written::Word("skip") => Some(Oversize::Skip),
        _ => None,
    }
);
value!(
    /// What becomes of what is beyond a rate.
    Beyond(Over),
    "\"defer\" or a score above 0",
    |written| match written {
        Written::Word("defer") => Some(Over::Defer),
        written => points(written).filter(|score| *score > Score::ZERO).map(Over::Score),
    }
);
value!(
    /// What becomes of rspamd's actions.
    Actions(RspamdActions),
    "\"obey\" or \"score\"",
    |written| match written {
        Written::Word("obey") => Some(RspamdActions::Obey),
        Written::Word("score") => Some(RspamdActions::Score),
        _ => None,
    }
);
value!(
    /// Whether clients may learn of a finding.
    Told(Disclosure),
    "\"public\" or \"private\"",
    |written| match written {
        Written::Word("public") => Some(Disclosure::Public),
        Written::Word("private") => Some(Disclosure::Private),
        _ => None,
    }
);

/// To the hundredth, as one writes it: `0.005` is no score. A thousand points are those of a test message.
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

/// Bits of an address that make a network.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct Width<const MOST: u32>(pub(crate) u32);

impl<const MOST: u32> TryFrom<u32> for Width<MOST> {
    type Error = String;

    fn try_from(bits: u32) -> Result<Self, String> {
        let width = (1..=MOST).contains(&bits).then_some(Self(bits));
        width.ok_or_else(|| format!("{bits} bits, expected a number from 1 to {MOST}"))
    }
}

/// The address of a server.
#[derive(Clone)]
pub(crate) struct ServerAddress(pub(crate) Address);

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        /// Of a path in a socket's address; the last octet is NUL.
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
                Some((host, _)) if !is_host(host) => "this is no name or address of a host",
                Some(_) => return Ok(Self(Address::Tcp(address.clone()))),
                None => "the port is missing",
            },
        };
        Err(format!("`{}`: {fault}; {EXPECTED}", text.escape_debug()))
    }
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host),
    }
}

/// The name of a host (RFC 5321 section 4.1.2), with the underscores that some have. One that consists of
/// numbers must be an address.
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

/// The name of a user, in the protocol of spamd: letters, digits and `._@+-`, as in a name that `useradd` takes
/// or in an address.
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

/// A text that goes into a protocol's header: printable ASCII.
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

/// What is read from a string, as everywhere. It is read while the string is at hand, so that an
/// error is told with its line.
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

/// The name of a finding.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Symbol(pub(crate) String);

impl FromStr for Symbol {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if !(1..=100).contains(&text.len()) || !text.chars().all(plain) {
            return Err("not a symbol: up to 100 letters, digits, `_`, `-` and `.`");
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Parsed::deserialize(deserializer)?.0)
    }
}
