//! `front_door try`: shows what would happen to a message, with the configuration and the scorers
//! of the gate. Nothing is relayed, and nothing is learned.

mod client;
mod report;
mod target;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

use nobounce::tokio::Tokio;
use nobounce::{Gate, Peer, serve};
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::options::Options;
use crate::output::Output;
use crate::{LAST_LINES, MESSAGE_FIELDS, Policy, settings, tell};
use client::{Dialogue, Mail};
use report::Report;
use target::WouldAccept;

/// The message file cannot be read (`EX_NOINPUT` of sysexits).
const NO_INPUT: u8 = 66;
/// The configuration is wrong (`EX_CONFIG`).
const CONFIG: u8 = 78;

/// Show what would become of a message: what each scorer says at each stage, the verdict and the reply. The
/// configuration, the scorers and DNS are those of the gate. Nothing is sent to the onward server, and nothing is
/// learned: stores are only read.
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 if the message would pass, 1 if it or a recipient would be refused, 2 if it or a \
    recipient would be deferred, 64 if an option is invalid, 66 if the message file cannot be read, 78 if the \
    configuration is wrong."
)]
pub(crate) struct TryOptions {
    #[command(flatten)]
    options: Options,
    /// Address of the client. Default: a stranger without a name, 192.0.2.1.
    #[arg(long, value_name = "IP", default_value = "192.0.2.1")]
    client: IpAddr,
    /// Argument of EHLO.
    #[arg(long, value_name = "NAME", default_value = "client.example")]
    helo: String,
    /// Sender address. Default: the null reverse-path.
    #[arg(long, value_name = "ADDRESS", default_value = "<>")]
    from: String,
    /// Recipient address; may be repeated. Default: postmaster.
    #[arg(long, value_name = "ADDRESS", default_value = "postmaster")]
    to: Vec<String>,
    /// Message file. Without it, SMTP commands are read from standard input, and --helo, --from and --to have no
    /// effect.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs the session, and prints what happens.
pub(crate) fn run(options: TryOptions) -> ExitCode {
    let mail = match &options.file {
        None => None,
        Some(path) => match fs::read(path) {
            Ok(content) => {
                Some(Mail { helo: options.helo, from: options.from, to: options.to, content })
            }
            Err(error) => {
                tell(format_args!("{}: {error}; expected a message file", path.display()));
                return NO_INPUT.into();
            }
        },
    };
    match session(&options.options, options.client, mail) {
        Ok(code) => code.into(),
        Err(error) => {
            tell(error);
            CONFIG.into()
        }
    }
}

fn session(options: &Options, client: IpAddr, mail: Option<Mail>) -> Result<u8, Box<dyn Error>> {
    let Policy { config, names, panel, .. } = Policy::of(options)?;
    let mut settings = settings(options, config.as_ref())?;
    settings.greeting_delay = Duration::ZERO;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let errors = Output::standard_error()?;
    let report = Arc::new(Report::default());
    let code = runtime.block_on(async {
        let (panel, _copy) = match &config {
            Some(config) => config.recall(panel, &Tokio, &errors)?,
            None => (panel, None),
        };
        let observer = report.clone();
        let mut gate = Gate::new(Tokio, settings, WouldAccept)
            .panel(panel)
            .report_answers()
            .record_fields(MESSAGE_FIELDS)
            .observer(move |event| observer.observe(event));
        if let Some((resolver, patience)) = names.lookup {
            gate = gate.name_clients(resolver, patience);
        }
        let (ours, theirs) = UnixStream::pair()?;
        let dialogue = Dialogue::new(theirs)?;
        let talking = thread::spawn(move || match mail {
            Some(mail) => dialogue.send(&mail),
            None => dialogue.relay_input(),
        });
        ours.set_nonblocking(true)?;
        let ours = tokio::net::UnixStream::from_std(ours)?;
        let peer = Peer::new(SocketAddr::new(client, 4711));
        // The session may end with an error of the client, which the report shows.
        let _ = serve(ours.compat(), peer, &gate).await;
        let _ = talking.join();
        Ok::<_, Box<dyn Error>>(report.conclude())
    });
    errors.finish(LAST_LINES);
    code
}
