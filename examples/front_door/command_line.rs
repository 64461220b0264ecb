//! The commands: the gate itself, `why` and `try`.

use std::process::exit;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::options::{Options, SIGNALS};
use crate::trial::TryOptions;
use crate::why::WhyOptions;

/// Invalid arguments of `why` and `try`, whose lower exit codes have a meaning (`EX_USAGE` of
/// sysexits).
const USAGE: u8 = 64;
/// Options of the gate that have an effect in a trial.
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
}

/// The task of the program.
pub(crate) enum Task {
    Serve(Box<Options>),
    Check(Box<Options>),
    Why(Box<WhyOptions>),
    Try(Box<TryOptions>),
}

impl Task {
    /// Parses the arguments. Prints help or an error and exits if they say so.
    pub(crate) fn parse() -> Self {
        let command = CommandLine::command().mut_subcommand("try", |command| {
            let is_own = |id: &str| ["client", "helo", "from", "to", "file", "help"].contains(&id);
            command.mut_args(|arg| {
                let is_shown =
                    is_own(arg.get_id().as_str()) || TRIED.contains(&arg.get_id().as_str());
                arg.hide(!is_shown)
            })
        });
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

/// Returns whether the first argument is a command.
fn is_command() -> bool {
    std::env::args_os().nth(1).is_some_and(|first| first == "why" || first == "try")
}
