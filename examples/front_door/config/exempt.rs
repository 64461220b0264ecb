//! Networks whose clients a scorer ignores, in the configuration file or in separate files.

use std::fs;
use std::path::Path;

use nobounce::network::Networks;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::sense::too_wide;
use crate::user;

/// Networks whose clients a scorer ignores.
pub(crate) struct Exempt(pub(super) Networks);

impl Default for Exempt {
    fn default() -> Self {
        Self(Networks::none())
    }
}

impl<'de> Deserialize<'de> for Exempt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Networks::none();
        for item in Vec::<String>::deserialize(deserializer)? {
            let networks = match Path::new(&item) {
                path if path.is_absolute() => list(path),
                _ => item.parse::<Networks>().map_err(|error| error.to_string()),
            };
            all = all.and(&networks.map_err(D::Error::custom)?);
        }
        match too_wide(&all) {
            Some(network) => Err(D::Error::custom(format!(
                "{network} would exempt strangers, expected networks with a prefix of at least 8 bits for IPv4 and 16 \
                 for IPv6"
            ))),
            None => Ok(Self(all)),
        }
    }
}

/// Reads a file with one network in each line. `#` begins a comment.
fn list(path: &Path) -> Result<Networks, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        let who = user::reader(&error);
        format!("{name}: {error}, expected a list of networks that {who} may read")
    })?;
    let mut all = Networks::none();
    for (number, line) in (1..).zip(text.lines()) {
        let item = line.split('#').next().unwrap_or_default().trim();
        if !item.is_empty() {
            let networks = item.parse().map_err(|error| format!("{name}:{number}: {error}"))?;
            all = all.and(&networks);
        }
    }
    Ok(all)
}
