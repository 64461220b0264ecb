//! JSON text and the numbers in it.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Returns the value as one line of ASCII. Terminals interpret C1 control characters, and
/// bidirectional characters can make one line look like another, so every character that is not
/// printable ASCII is escaped.
pub(crate) fn line(value: &impl Serialize) -> String {
    let mut line = Vec::with_capacity(1_024);
    // Writing to memory does not fail, and the types of this module have string keys only.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut line, Ascii));
    String::from_utf8(line).unwrap_or_default()
}

struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        mut fragment: &str,
    ) -> io::Result<()> {
        while let Some(at) = fragment.find(|c: char| !matches!(c, ' '..='~')) {
            to.write_all(&fragment.as_bytes()[..at])?;
            let mut rest = fragment[at..].chars();
            for unit in rest.next().into_iter().flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec()) {
                write!(to, "\\u{unit:04x}")?;
            }
            fragment = rest.as_str();
        }
        to.write_all(fragment.as_bytes())
    }
}

/// Returns seconds, rounded to the millisecond.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}

/// Scores as numbers of points.
pub(super) mod points {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::score::Score;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(in crate::observer::json) fn serialize<S: Serializer>(
        score: &Score,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(score.as_hundredths()) / 100.0)
    }

    pub(in crate::observer::json) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Score, D::Error> {
        let points = f64::deserialize(deserializer)?;
        #[allow(clippy::cast_possible_truncation, reason = "saturates, as scores do")]
        Ok(Score::hundredths((points * 100.0).round() as i32))
    }
}

/// Scores that may be missing.
pub(super) mod perhaps_points {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::points;
    use crate::score::Score;

    pub(in crate::observer::json) fn serialize<S: Serializer>(
        score: &Option<Score>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match score {
            Some(score) => points::serialize(score, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::observer::json) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Score>, D::Error> {
        #[derive(Deserialize)]
        struct Points(#[serde(with = "points")] Score);
        Ok(Option::<Points>::deserialize(deserializer)?.map(|points| points.0))
    }
}
