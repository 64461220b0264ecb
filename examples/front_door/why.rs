//! `front_door why`: finds transactions and sessions in the JSON log and explains their outcomes.

mod counterfactual;
mod explain;
mod search;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ArgGroup;
use nobounce::observer::json::Line;

use crate::output::escaped;
use crate::tell;
pub(crate) use explain::explain;
use search::{Criteria, Search, read};

/// Nothing was found.
const NOT_FOUND: u8 = 1;
/// The log cannot be read (`EX_NOINPUT` of sysexits).
const NO_INPUT: u8 = 66;

const CRITERIA: [&str; 5] = ["reference", "client", "sender", "recipient", "message_id"];

/// Explain what became of a message or a session, from the JSON log. All criteria must match.
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 if something was found, 1 if nothing was found, 64 if an option is invalid, \
    66 if the log cannot be read."
)]
#[command(group = ArgGroup::new("criteria").required(true).multiple(true).args(CRITERIA))]
pub(crate) struct WhyOptions {
    /// Reference in the reply to the client, ID of a session, or queue ID of the onward server.
    #[arg(value_name = "REFERENCE")]
    reference: Option<String>,
    /// Client: an IP address, a network, or a name that it has in DNS or in EHLO.
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Sender address, or @DOMAIN. `<>` is the null reverse-path.
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Recipient address, or @DOMAIN.
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Message-ID of the message.
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// JSON log. The rotated file with `.1` at the end of its name is read first, if there is one. `-` is standard
    /// input.
    #[arg(long, value_name = "FILE", default_value = "/var/log/nobounce/mail.json")]
    json_log: PathBuf,
    /// Maximum number of explanations. The last ones are printed.
    #[arg(long, value_name = "N", default_value = "10")]
    last: NonZeroUsize,
}

/// Searches the log, and prints an explanation for each line that was found.
pub(crate) fn run(options: &WhyOptions) -> ExitCode {
    let criteria = Criteria::of(
        options.reference.as_deref(),
        options.client.as_deref(),
        options.sender.as_deref(),
        options.recipient.as_deref(),
        options.message_id.as_deref(),
    );
    let (mut found, mut search) = (Found::new(options.last), Search::default());
    let rotated = rotated(&options.json_log);
    let files = rotated.iter().map(|path| (path, true)).chain([(&options.json_log, false)]);
    for (path, may_be_missing) in files {
        match read(path, &criteria, &mut search, |line| found.add(line)) {
            Err(error) if may_be_missing && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let name = path.display();
                tell(format_args!(
                    "--json-log {name}: {error}; expected a log written with --json-log"
                ));
                return NO_INPUT.into();
            }
            Ok(()) => {}
        }
    }
    if search.malformed > 0 {
        let (count, name) = (search.malformed, options.json_log.display());
        tell(format_args!("--json-log {name}: {count} lines were skipped, {}", search.fault));
    }
    if found.count == 0 {
        tell("nothing found in the log");
        return NOT_FOUND.into();
    }
    print(&found);
    ExitCode::SUCCESS
}

/// The last lines that were found.
struct Found {
    last: VecDeque<Line>,
    most: usize,
    count: u64,
}

impl Found {
    fn new(most: NonZeroUsize) -> Self {
        Self { last: VecDeque::new(), most: most.get(), count: 0 }
    }

    fn add(&mut self, line: Line) {
        if self.last.len() == self.most {
            self.last.pop_front();
        }
        self.last.push_back(line);
        self.count += 1;
    }
}

fn print(found: &Found) {
    let mut out = io::stdout().lock();
    let all = found.last.len() as u64;
    if found.count > all {
        let _ = writeln!(out, "{} found, the last {all} of them:\n", found.count);
    }
    for (index, line) in found.last.iter().enumerate() {
        let text = explain::explain(line);
        let rule = if index > 0 { "\n" } else { "" };
        // The log contains values that strangers chose.
        let text: String = text.lines().map(|line| escaped(line) + "\n").collect();
        if write!(out, "{rule}{text}").is_err() {
            return;
        }
    }
}

/// Returns the name of the log after one rotation. `None` for standard input.
fn rotated(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name().filter(|name| *name != "-")?.to_owned();
    name.push(".1");
    Some(path.with_file_name(name))
}
