//! The commands: the gate itself, `why`, `try`, `release` and `replay`.

use std::process::exit;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::options::{Options, SIGNALS};
use crate::release::ReleaseOptions;
use crate::replay::ReplayOptions;
use crate::trial::TryOptions;
use crate::why::WhyOptions;

/// Invalid arguments of the commands, whose lower exit codes have a meaning (`EX_USAGE` of
/// sysexits).
const USAGE: u8 = 64;
/// Options of the gate that have an effect in a trial or replay.
const TRIED: &[&str] = &[
    "config",
    "spamd",
    "spamd_within",
    "reject_at",
    "tag_at",
    "monitor",
    "host",
    "trust",
    "own_network",
    "memory",
    "identify",
];

/// Options of the gate that have an effect in a release.
const RELEASING: &[&str] =
    &["config", "relay", "identify", "onward_tls", "onward_name", "onward_roots", "host", "user"];

/// Spam gate in front of a mail server: refuses spam during the SMTP session and never sends bounces.
#[derive(clap::Parser)]
#[command(name = "front_door", version, after_help = SIGNALS)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Subcommand)]
enum Command {
    Why(Box<WhyOptions>),
    Try(Box<TryOptions>),
    Release(Box<ReleaseOptions>),
    Replay(Box<ReplayOptions>),
}

/// The task of the program.
pub(crate) enum Task {
    Serve(Box<Options>),
    Check(Box<Options>),
    Why(Box<WhyOptions>),
    Try(Box<TryOptions>),
    Release(Box<ReleaseOptions>),
    Replay(Box<ReplayOptions>),
}

impl Task {
    /// Parses the arguments. Prints help or an error and exits if they say so.
    pub(crate) fn parse() -> Self {
        let of_try = ["client", "helo", "from", "to", "file", "help"];
        let of_release = ["reference", "again", "remove", "help"];
        let of_replay = ["recordings", "against", "fail_on", "protocol", "last", "help"];
        let command = showing(CommandLine::command(), "try", &[&of_try, TRIED]);
        let command = showing(command, "release", &[&of_release, RELEASING]);
        let command = showing(command, "replay", &[&of_replay, TRIED]);
        let matches = command.try_get_matches().and_then(|it| CommandLine::from_arg_matches(&it));
        let CommandLine { command, options } = matches.unwrap_or_else(|error| {
            let _ = error.print();
            exit(match error.use_stderr() {
                true if is_command() => USAGE.into(),
                _ => error.exit_code(),
            })
        });
        match command {
            Some(Command::Why(options)) => Self::Why(options),
            Some(Command::Try(options)) => Self::Try(options),
            Some(Command::Release(options)) => Self::Release(options),
            Some(Command::Replay(options)) => Self::Replay(options),
            None if options.check => Self::Check(Box::new(options)),
            None if options.relay.is_none() => {
                let missing =
                    "--relay <SERVER> is missing; expected the address of the onward server";
                CommandLine::command().error(ErrorKind::MissingRequiredArgument, missing).exit()
            }
            None => Self::Serve(Box::new(options)),
        }
    }

    /// Returns the exit code for invalid arguments.
    pub(crate) fn usage() -> u8 {
        if is_command() { USAGE } else { 2 }
    }
}

/// Hides the options of a command that have no effect.
fn showing(command: clap::Command, name: &str, shown: &[&[&str]]) -> clap::Command {
    command.mut_subcommand(name, |command| {
        command.mut_args(|arg| {
            let is_shown = shown.iter().any(|ids| ids.contains(&arg.get_id().as_str()));
            arg.hide(!is_shown)
        })
    })
}

/// Returns whether the first argument is a command.
fn is_command() -> bool {
    let commands = ["why", "try", "release", "replay"];
    let first = std::env::args_os().nth(1);
    first.is_some_and(|first| commands.iter().any(|name| first == *name))
}
