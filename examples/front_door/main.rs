//! The program for operators: binds port 25, drops root privileges and protects a mail server.
//!
//! ```sh
//! cargo install --path . --example front_door --features front-door
//! useradd --system --shell /usr/sbin/nologin nobounce
//! install -d -o nobounce /var/log/nobounce
//! front_door \
//!     --listen 0.0.0.0:25 --relay 127.0.0.1:10025 --identify xclient --user nobounce \
//!     --spamd 127.0.0.1:783 --json-log /var/log/nobounce/mail.json
//! ```
//!
//! - `front_door why REFERENCE` explains what became of a message, from the JSON log.
//! - `front_door try FILE` shows what would become of a message.
//! - `front_door release REFERENCE` sends a refused message to the onward server.
//! - `front_door replay RECORDING` shows what another configuration would have done.
//! - SIGTERM and SIGINT: front_door accepts no more clients. Clients in a transaction may finish it; all others
//!   get `421 4.3.2`.
//! - SIGHUP: reads the configuration file and the certificates again, and reopens the log.
//! - SIGUSR2: a new process takes over the ports.
//! - Exit code 1: front_door refused to run. The reason is on standard error.
//!
//! `front_door.8` is the manual page.
//!
//! If standard output, standard error or the log disk is closed or full, log lines are lost, but
//! never mail. The print macros that panic in this case are therefore denied; [`output`] is used
//! instead.

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod certificate;
mod check;
mod command_line;
mod config;
mod doors;
mod health;
mod journal;
mod memory;
mod names;
mod options;
mod output;
mod policy;
mod recording;
mod refused;
mod release;
mod reload;
mod replay;
mod sense;
mod service;
mod signals;
mod status;
mod strangers;
mod successor;
mod tested;
mod time;
mod trial;
mod user;
mod why;

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nobounce::Event;
use nobounce::admission::Admission;
use nobounce::observer::without_octets;
use nobounce::tls::TlsServer;
use nobounce::tokio::{Listener, Serve, Tokio};
use signal_hook::consts::SIGXFSZ;
use tokio::sync::oneshot;
use tokio::time::timeout;

use check::Findings;
use command_line::Task;
use doors::{Door, Service};
use health::Health;
use journal::Journal;
use options::Options;
use output::Output;
use policy::{Policy, Rules, onward_settings, settings, target};
use recording::SessionRecording;
use refused::RefusedCopies;
use reload::{Learning, Reload};
use signals::{End, hangup, succeed_on_signal};
use status::{Listening, Status};
use strangers::Strangers;
use successor::{Heritage, Predecessor};
use tested::Tested;

/// Time for the outputs to write their pending lines at exit.
const LAST_LINES: Duration = Duration::from_secs(5);
/// Header fields that the log contains.
const MESSAGE_FIELDS: [&str; 3] = ["Message-ID", "From", "Subject"];
/// Time to wait for a store file that another process holds, in addition to the grace period of
/// the sessions of that process.
const STORE_PATIENCE: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    // With a handler for SIGXFSZ, a file that exceeds the size limit makes the write fail instead
    // of ending the process.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    if let Some(fault) = unseen(env::args_os()) {
        tell(fault);
        return Task::usage().into();
    }
    let result = match Task::parse() {
        Task::Serve(options) => run(*options),
        Task::Check(options) => checked(&options),
        Task::Why(options) => return why::run(&options),
        Task::Try(options) => return trial::run(*options),
        Task::Release(options) => return release::run(&options),
        Task::Replay(options) => return replay::run(&options),
    };
    if let Err(error) = &result {
        tell(error);
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns an error for the first argument that contains characters that an error message could not
/// show correctly.
fn unseen(arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let mut before = String::new();
    for argument in arguments {
        let argument = argument.to_string_lossy().into_owned();
        let escaped = output::escaped(&argument);
        if escaped != argument {
            return Some(format!(
                "{before} `{escaped}`: expected an argument without control or invisible characters"
            ));
        }
        before = argument;
    }
    None
}

/// Writes a line to standard error and ignores errors. Control characters in a quoted value are
/// escaped.
fn tell(what: impl Display) {
    let _ = writeln!(io::stderr(), "{}", output::for_operators(what));
}

/// Prints all errors and warnings, or that the configuration is good.
fn checked(options: &Options) -> Result<(), Box<dyn Error>> {
    let policy = Policy::of(options)?;
    let settings = settings(options, policy.config.as_ref())?;
    let Findings { mut faults, doubts } = check::check(options, &policy, &settings);
    for doubt in doubts {
        tell(format_args!("warning: {doubt}"));
    }
    let Some(last) = faults.pop() else {
        return Ok(writeln!(io::stdout(), "good")?);
    };
    for fault in faults {
        tell(fault);
    }
    Err(last.into())
}

/// Does everything that needs privileges, drops them, and then starts the runtime. No thread
/// exists before that.
fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let policy = Policy::checked(&options)?;
    let predecessor = Predecessor::find();
    let doors = doors::open(&options, predecessor.is_some())?;
    let tls = certificate::read(&options)?;
    if tls.is_none() && doors.iter().any(|door| door.service == Service::Smtps) {
        return Err(
            "a systemd socket named `smtps` uses implicit TLS; expected --tls-cert and --tls-key"
                .into(),
        );
    }
    let configuration = options.hash(policy.config.as_ref());
    user::become_own(options.user.as_deref(), options.as_root)?;
    let errors = Output::standard_error()?;
    let journal = Arc::new(Journal::open(&options, &errors)?);
    let config = policy.config.as_ref();
    let recording = SessionRecording::open(&options, config, &configuration, &errors)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let start = Start {
        options: Arc::new(options),
        configuration,
        doors,
        tls,
        journal: journal.clone(),
        recording: recording.clone(),
        predecessor,
    };
    let served = runtime.block_on(front(start, policy, &errors));
    journal.finish(LAST_LINES);
    recording.finish(LAST_LINES);
    errors.finish(LAST_LINES);
    served
}

/// Resources that were opened with the privileges at start.
struct Start {
    options: Arc<Options>,
    /// The hash of the options and of the configuration file.
    configuration: String,
    doors: Vec<Door>,
    tls: Option<TlsServer>,
    journal: Arc<Journal>,
    recording: SessionRecording,
    predecessor: Option<Predecessor>,
}

async fn front(start: Start, policy: Policy, errors: &Output) -> Result<(), Box<dyn Error>> {
    let Start { options, configuration, doors, tls, journal, recording, predecessor } = start;
    let Policy { config, names, panel, admission, tarpit } = policy;
    let mut end = End::new()?;
    let hangup = hangup()?;
    let settings = settings(&options, config.as_ref())?;
    let mut doubts = certificate::doubts(&options);
    doubts.extend(options.doubts(&settings, &admission));
    doubts.extend(names.warning.clone());
    let limits = admission.clone();
    doubts.iter().for_each(|doubt| errors.report(format_args!("warning: {doubt}")));
    let listening = journal.listening().clone();
    let health = Arc::new(Health::new(errors.clone()));
    let heritage = Heritage::of(&doors)?;
    let is_page = |door: &Door| door.service == Service::Status;
    let (pages, doors): (Vec<_>, Vec<_>) = doors.into_iter().partition(is_page);
    let status = Status::new(&options, &settings, health.clone(), configuration);
    for Door { listener, .. } in &pages {
        listening.line(format_args!("status page on {}", listener.url()?));
        status.serve(listener.try_clone()?)?;
    }
    let onward_tls = certificate::onward(&options)?;
    let target = target(&options, config.as_ref(), onward_tls.clone())?;
    let target = if options.no_self_test { Tested::trusted(target) } else { Tested::new(target) };
    if options.no_self_test {
        errors
            .line("warning: --no-self-test: not tested whether the onward server is an open relay");
    } else {
        tokio::select! {
            tested = target.test(errors) => tested?,
            () = end.comes() => return Ok(()),
        }
    }
    // Everything is ready except for the store, which the predecessor still holds.
    if let Some(predecessor) = &predecessor {
        predecessor.dismiss();
    }
    let mut store = None;
    let (panel, learners) = match &config {
        Some(config) => {
            let patience =
                Duration::from_secs(options.grace + options.drain_delay) + STORE_PATIENCE;
            tokio::select! {
                remembered = config.remember(panel, &Tokio, &mut store, patience, errors) => remembered?,
                () = end.comes() => return Ok(()),
            }
        }
        None => (panel, Vec::new()),
    };
    let mail_data = settings.budget.clone();
    let weights = Arc::new(Mutex::new(panel.site_weights().clone()));
    let strangers = Strangers::new(errors.clone());
    let warnings = errors.clone();
    let (learning, copies) = (Learning::default(), RefusedCopies::default());
    if let Some(config) = &config {
        copies.keep(config, errors)?;
    }
    let copied = copies.clone();
    let (learns, failing, logs) = (learning.clone(), health.clone(), journal.clone());
    let admission = Arc::new(Admission::new(admission));
    let budget = settings.budget.clone();
    let records_timings = options.json_log.is_some();
    let rules = Rules { settings, names, panel, tarpit, tls: tls.clone() };
    let mut gate = rules
        .gate(&options, target.clone())
        .admission(admission.clone())
        .observed_by(without_octets(move |event| logs.observe(event)))
        .observed_by(without_octets(move |event| failing.observe(event)))
        .observed_by(without_octets(move |event| learns.observe(event)))
        .observed_by(without_octets(move |event| copied.observe(event)))
        .observed_by(without_octets(move |event| strangers.observe(event)))
        .observed_by(without_octets(move |event| match event {
            Event::Ended(record) if record.is_discarded() => {
                let id = &record.end.envelope.id;
                warnings.report(format_args!(
                    "warning: {id}: the onward server accepted the message and discards it"
                ));
            }
            Event::AcceptFailed { error } => {
                warnings.line(format_args!("accepting a connection failed: {error}"))
            }
            _ => {}
        }));
    if records_timings {
        gate = gate.record_timings();
    }
    gate = recording.watch(gate);
    if !options.no_message_fields {
        gate = gate.record_fields(MESSAGE_FIELDS);
    }
    if !pages.is_empty() {
        gate = status.watch(gate);
    }
    learning.begin(learners);
    let gate = Arc::new(gate);
    let reload = Reload {
        onward: onward_settings(&options, config.as_ref())?,
        options: options.clone(),
        gate: gate.clone(),
        target: target.clone(),
        tls,
        onward_tls,
        prefixes: reload::prefixes(&limits),
        admission,
        budget,
        store,
        learning,
        copies: copies.clone(),
        recording,
        weights: weights.clone(),
        journal,
        status: status.clone(),
        health,
        errors: errors.clone(),
        told: doubts,
    };
    tokio::spawn(reload.on(hangup));

    tokio::spawn(memory::give_back(mail_data));
    let (succession, heir) = succeed_on_signal(heritage, errors.clone())?;
    let mut serving = Serve::new(gate);
    for Door { listener, service } in doors {
        let Listening::Tcp(listener) = listener else { continue };
        let listener = Listener::try_from(listener)?;
        let tls = service == Service::Smtps;
        let how = if tls { " with TLS" } else { "" };
        listening.line(format_args!("listening on {}{how}", listener.local_address()?));
        serving = if tls { serving.and_tls(listener) } else { serving.and(listener) };
    }
    service::ready()?;
    status.readiness().serving();
    let (ends, ended) = oneshot::channel();
    let drain_delay = Duration::from_secs(options.drain_delay);
    let tests = errors.clone();
    let stop = async move {
        let served = tokio::select! {
            () = end.comes() => Ok(()),
            error = target.test_again(&tests) => Err(error),
        };
        service::stopping();
        // With an heir, the ports stay open, and load balancers need not notice.
        if !heir.load(Ordering::Acquire) {
            status.readiness().going_down();
            if served.is_ok() {
                // A second signal ends the delay.
                let _ = timeout(drain_delay, end.comes()).await;
            }
        }
        // The `succession` task holds copies of the listeners. Once these and the listeners of this
        // process are closed, all new clients reach the next process.
        succession.abort();
        let _ = succession.await;
        let _ = ends.send(served);
    };
    serving.with_graceful_shutdown(stop).drain_within(Duration::from_secs(options.grace)).await?;
    copies.finish(LAST_LINES);
    // Daemons choose their symbols, so unmatched weights are only known at the end.
    let weights = weights.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let unmatched: Vec<_> = weights
        .unmatched()
        .filter(|(scorer, _)| config::DAEMONS.contains(scorer))
        .map(|(scorer, symbol)| format!("{scorer}.{symbol}"))
        .collect();
    if !unmatched.is_empty() {
        let (count, all) = (unmatched.len(), unmatched.join(" "));
        errors.line(format_args!("weights that matched no finding: {count} ({all})"));
    }
    Ok(ended.await??)
}
