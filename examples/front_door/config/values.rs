//! Values of the file, each of which says what it expects.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use nobounce::scorers::{OnVirus, Over, Oversize, RspamdActions};
use nobounce::{Disclosure, FailurePolicy, Score};
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
    "a score: points, with two decimals at will",
    points
);
value!(
    /// A threshold, or none.
    Level(Option<Score>),
    "a score or \"never\"",
    |written| match written {
        Written::Word("never") => Some(None),
        written => points(written).map(Some),
    }
);
value!(
    /// A time.
    Seconds(Duration),
    "a number of seconds above 0",
    |written| match written {
        Written::Number(seconds) if seconds > 0.0 => Duration::try_from_secs_f64(seconds).ok(),
        _ => None,
    }
);
value!(
    /// What is done when a scorer fails.
    OnFailure(FailurePolicy),
    "\"defer\", \"ignore\" or a score",
    |written| match written {
        Written::Word("defer") => Some(FailurePolicy::Defer),
        Written::Word("ignore") => Some(FailurePolicy::Ignore),
        written => points(written).map(FailurePolicy::Score),
    }
);
value!(
    /// What a virus is.
    Virus(OnVirus),
    "\"refuse\" or a score",
    |written| match written {
        Written::Word("refuse") => Some(OnVirus::Refuse),
        written => points(written).map(OnVirus::Score),
    }
);
value!(
    /// A size.
    Octets(usize),
    "a number of octets above 0",
    |written| match written {
        Written::Number(octets) if octets >= 1.0 && octets.fract() == 0.0 => Some(octets as usize),
        _ => None,
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
    "a factor of at most 100 in hundredths, as 0.4",
    |written| match written {
        Written::Number(factor) if (0.0..=100.0).contains(&factor) => {
            Some((factor * 100.0).round() as u16)
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
    "\"defer\" or a score",
    |written| match written {
        Written::Word("defer") => Some(Over::Defer),
        written => points(written).map(Over::Score),
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

/// To the hundredth, as one writes it: `0.005` is no score.
fn points(written: Written<'_>) -> Option<Score> {
    let Written::Number(points) = written else {
        return None;
    };
    let hundredths = points * 100.0;
    let exact = (hundredths - hundredths.round()).abs() < 1e-6;
    (exact && hundredths.abs() <= f64::from(i32::MAX))
        .then(|| Score::hundredths(hundredths.round() as i32))
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
