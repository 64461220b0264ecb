//! `front_door replay`: what another configuration would have done with recorded sessions, and
//! whether another version says the same.

mod change;
mod report;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use nobounce::recording::{RecordedSession, Recording, RecordingError};
use nobounce::replay::{policy, protocol};
use nobounce::tokio::Tokio;
use nobounce::{Panel, Settings};

use crate::config::Config;
use crate::options::Options;
use crate::{Policy, settings, tell};
use change::{Change, Pattern};
use report::Report;

/// A change that `--fail-on` names, or a dialogue that differs.
const CHANGED: u8 = 1;
/// A recording cannot be read (`EX_NOINPUT` of sysexits).
const NO_INPUT: u8 = 66;
/// The configuration is wrong (`EX_CONFIG`).
const CONFIG: u8 = 78;

/// Show what this configuration would have done with recorded sessions: a table of verdicts, before and now, and
/// each transaction whose verdict changes, with the symbols that made the difference. The answers of the scorers are
/// those of the recording; no scorer is asked.
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 if no change and no dialogue is a failure, 1 if one is, 64 if an option is invalid, 66 \
    if a recording cannot be read, 78 if the configuration is wrong."
)]
pub(crate) struct ReplayOptions {
    #[command(flatten)]
    options: Options,
    /// Recordings, written with --record. `-` is standard input.
    #[arg(value_name = "RECORDING", required = true)]
    recordings: Vec<PathBuf>,
    /// Compare with this configuration file instead of the recorded verdicts.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Changes that are a failure, such as `pass->refuse`; may be repeated. `*` stands for every verdict.
    #[arg(long, value_name = "CHANGE")]
    fail_on: Vec<Pattern>,
    /// Replay the dialogues instead: the session must say and do what was recorded. The answers of the scorers and
    /// of the onward server are those of the recording. A difference is printed as a dialogue for a test.
    #[arg(long, conflicts_with_all = ["against", "fail_on"])]
    protocol: bool,
    /// Maximum number of changed transactions, or of differences, that are printed.
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
}

/// Replays all recordings and prints the report.
pub(crate) fn run(options: &ReplayOptions) -> ExitCode {
    let task = match Task::of(options) {
        Ok(task) => task,
        Err(error) => {
            tell(error);
            return CONFIG.into();
        }
    };
    let mut report = Report::new(options.last);
    for path in &options.recordings {
        if let Err(error) = read(path, |session| task.replay(&session, &mut report)) {
            tell(format_args!(
                "{}: {error}; expected a recording written with --record",
                path.display()
            ));
            return NO_INPUT.into();
        }
    }
    report.print(options.protocol);
    let fails = |change: &Change| options.fail_on.iter().any(|it| it.matches(*change));
    match report.has_differences() || report.changes().any(fails) {
        true => CHANGED.into(),
        false => ExitCode::SUCCESS,
    }
}

/// What to do with each session.
enum Task {
    Policy { now: Box<Panel>, before: Option<Box<Panel>> },
    Protocol(Arc<Settings>),
}

impl Task {
    fn of(options: &ReplayOptions) -> Result<Self, Box<dyn Error>> {
        let ReplayOptions { options, against, protocol, .. } = options;
        let Policy { config, panel, .. } = Policy::of(options)?;
        if *protocol {
            return Ok(Self::Protocol(settings(options, config.as_ref())?.into()));
        }
        let now = match &config {
            Some(config) => config.seat_unasked(panel, &Tokio),
            None => panel,
        };
        let before = match against {
            Some(path) => {
                let config = Config::read(path, &Tokio)?;
                let panel = config.panel(&Tokio, &options.host()?)?;
                Some(Box::new(config.seat_unasked(panel, &Tokio)))
            }
            None => None,
        };
        Ok(Self::Policy { now: Box::new(now), before })
    }

    fn replay(&self, session: &RecordedSession, report: &mut Report) {
        match self {
            Self::Policy { now, before } => {
                let before = before.as_ref().map(|panel| policy(panel, session));
                report.policy(session, policy(now, session), before);
            }
            Self::Protocol(settings) => report.protocol(session, protocol(settings, session)),
        }
    }
}

/// Passes each session of a recording to `take`. Damaged lines are reported and skipped.
fn read(path: &Path, mut take: impl FnMut(RecordedSession)) -> Result<(), RecordingError> {
    let file: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let (mut damaged, mut sessions) = (0_u64, 0_u64);
    for session in Recording::new(BufReader::with_capacity(1 << 16, file)) {
        match session {
            Ok(session) => {
                sessions += 1;
                take(session);
            }
            Err(error @ RecordingError::Malformed { .. }) => {
                if damaged == 0 {
                    tell(format_args!("{}: {error}", path.display()));
                }
                damaged += 1;
            }
            Err(error) => return Err(error),
        }
    }
    if damaged > 1 {
        tell(format_args!("{}: {damaged} lines were skipped", path.display()));
    }
    match (damaged, sessions) {
        (1.., 0) => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        _ => Ok(()),
    }
}
