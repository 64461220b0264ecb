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
//! - SIGTERM and SIGINT: front_door accepts no more clients. Clients in a transaction may finish it; all others
//!   get `421 4.3.2`.
//! - SIGHUP: reopens the log and rereads the certificate.
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
mod sense;
mod service;
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
use std::sync::Arc;
use std::time::Duration;

use nobounce::admission::{Admission, AdmissionLimits, Tarpit};
use nobounce::message::Budget;
use nobounce::observer::without_octets;
use nobounce::onward::{OnwardSettings, TlsPolicy};
use nobounce::panel::Seat;
use nobounce::relay::Smtp;
use nobounce::scorers::{Behaviour, Gtube, Lessons, Spamd, Structure};
use nobounce::tls::{TlsClient, TlsServer};
use nobounce::tokio::{Listener, Serve, Tokio};
use nobounce::{Event, Gate, Panel, Settings};
use signal_hook::consts::SIGXFSZ;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use check::Findings;
use command_line::Task;
use config::Config;
use doors::{Door, Service};
use health::Health;
use journal::Journal;
use names::Names;
use options::Options;
use output::Output;
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
    let policy = Policy::of(&options)?;
    if let Some(fault) = sense::faults(&options, policy.config.as_ref()).into_iter().next() {
        return Err(fault.into());
    }
    if let Some(fault) = policy.config.iter().flat_map(Config::unknown_symbols).next() {
        return Err(fault.into());
    }
    let predecessor = Predecessor::find();
    let doors = doors::open(&options, predecessor.is_some())?;
    let tls = certificate::read(&options)?;
    if tls.is_none() && doors.iter().any(|door| door.service == Service::Smtps) {
        return Err(
            "a systemd socket named `smtps` uses implicit TLS; expected --tls-cert and --tls-key"
                .into(),
        );
    }
    let configuration = options.hash();
    user::become_own(options.user.as_deref(), options.as_root)?;
    let errors = Output::standard_error()?;
    let journal = Arc::new(Journal::open(&options, &errors)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let start = Start {
        options: Arc::new(options),
        configuration,
        doors,
        tls,
        journal: journal.clone(),
        predecessor,
    };
    let served = runtime.block_on(front(start, policy, &errors));
    journal.finish(LAST_LINES);
    errors.finish(LAST_LINES);
    served
}

/// Rules for clients and their mail, from the options and the configuration file.
struct Policy {
    config: Option<Config>,
    names: Names,
    panel: Panel,
    admission: AdmissionLimits,
    tarpit: Option<Tarpit>,
}

impl Policy {
    fn of(options: &Options) -> Result<Self, Box<dyn Error>> {
        let config =
            options.config.as_deref().map(|path| Config::read(path, &Tokio)).transpose()?;
        let panel = panel(options, config.as_ref())?;
        let admission = options.admission(config.as_ref())?;
        let tarpit = options.tarpit(config.as_ref())?;
        let names = Names::of(options, config.as_ref());
        Ok(Self { config, names, panel, admission, tarpit })
    }
}

/// Resources that were opened with the privileges at start.
struct Start {
    options: Arc<Options>,
    /// The hash of the options and of the configuration file.
    configuration: String,
    doors: Vec<Door>,
    tls: Option<TlsServer>,
    journal: Arc<Journal>,
    predecessor: Option<Predecessor>,
}

/// Returns the session settings according to the options and the configuration file.
fn settings(options: &Options, config: Option<&Config>) -> Result<Settings, Box<dyn Error>> {
    let host = options.host()?;
    let mut settings = Settings::new(&host);
    (settings.xclient_from, settings.xforward_from) = (options.trusted(), options.trusted());
    settings.budget = Budget::new(usize::try_from(options.memory << 20)?);
    settings.greeting_delay = Duration::from_secs(options.greeting_delay);
    settings.own_networks = settings.own_networks.and(&options.own());
    if let Some(config) = config {
        config.session(&mut settings);
        settings.authserv_id = config.authserv_id(&host);
    }
    Ok(settings)
}

async fn front(start: Start, policy: Policy, errors: &Output) -> Result<(), Box<dyn Error>> {
    let Start { options, configuration, doors, tls, journal, predecessor } = start;
    let Policy { config, names, panel, admission, tarpit } = policy;
    let mut end = End::new()?;
    renew_on_hangup(options.clone(), journal.clone(), tls.clone(), errors.clone())?;
    let settings = settings(&options, config.as_ref())?;
    let mut doubts = certificate::doubts(&options);
    doubts.extend(options.doubts(&settings, &admission));
    doubts.extend(names.warning);
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
    let target = target(&options, config.as_ref())?;
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
    let (panel, learners) = match &config {
        Some(config) => {
            let patience =
                Duration::from_secs(options.grace + options.drain_delay) + STORE_PATIENCE;
            tokio::select! {
                remembered = config.remember(panel, &Tokio, patience, errors) => remembered?,
                () = end.comes() => return Ok(()),
            }
        }
        None => (panel, Vec::new()),
    };
    let mail_data = settings.budget.clone();
    let records_timings = options.json_log.is_some();
    let weights = panel.site_weights().clone();
    let strangers = Strangers::new(errors.clone());
    let warnings = errors.clone();
    let mut gate = Gate::new(Tokio, settings, target.clone())
        .panel(panel)
        .observed_by(without_octets(move |event| journal.observe(event)))
        .observed_by(without_octets(move |event| health.observe(event)))
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
    if !options.no_message_fields {
        gate = gate.record_fields(MESSAGE_FIELDS);
    }
    if let Some((resolver, patience)) = names.lookup {
        gate = gate.name_clients(resolver, patience);
    }
    gate = gate.admission(Admission::new(admission));
    if let Some(tarpit) = tarpit {
        gate = gate.tarpit(tarpit);
    }
    if !learners.is_empty() {
        let (lessons, learning) = Lessons::for_learners(learners);
        gate = gate.observed_by(lessons);
        tokio::spawn(learning);
    }
    if !pages.is_empty() {
        gate = status.watch(gate);
    }
    if let Some(tls) = tls {
        gate = gate.tls(tls);
    }
    if let Some(proxies) = options.proxies() {
        gate = gate.expect_proxy(proxies);
    }

    tokio::spawn(memory::give_back(mail_data));
    let succession = succeed_on_signal(heritage, errors.clone())?;
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
        status.readiness().going_down();
        if served.is_ok() {
            // A second signal ends the delay.
            let _ = timeout(drain_delay, end.comes()).await;
        }
        // The `succession` task holds copies of the listeners. Once these and the listeners of this
        // process are closed, all new clients reach the next process.
        succession.abort();
        let _ = succession.await;
        let _ = ends.send(served);
    };
    serving.with_graceful_shutdown(stop).drain_within(Duration::from_secs(options.grace)).await?;
    // Daemons choose their symbols, so unmatched weights are only known at the end.
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

fn target(options: &Options, config: Option<&Config>) -> Result<Smtp<Tokio>, Box<dyn Error>> {
    let relay = options
        .relay
        .as_ref()
        .ok_or("--relay is missing; expected the address of the onward server")?;
    let mut settings = OnwardSettings::new(&options.host()?);
    settings.protocol = relay.protocol;
    settings.identify = options.identify;
    settings.tls = options.onward_tls;
    if let Some(config) = config {
        config.onward(&mut settings);
    }
    let address = relay.address.clone();
    let target = match (settings.tls, &options.onward_name, &options.onward_roots) {
        (TlsPolicy::Never, Some(_), _) => {
            return Err("--onward-name requires TLS; expected --onward-tls must or may".into());
        }
        (TlsPolicy::Never, ..) => Smtp::with_settings(Tokio, address, settings),
        (_, Some(name), Some(path)) => {
            let roots = certificate::file("--onward-roots", path)?;
            let tls = TlsClient::verified(name, &roots);
            let tls = tls.map_err(|error| {
                let path = path.display();
                format!("--onward-roots {path}: {error}; expected CA certificates, PEM")
            })?;
            Smtp::with_tls(Tokio, address, settings, tls)
        }
        _ => Smtp::with_tls(Tokio, address, settings, TlsClient::unverified()?),
    };
    Ok(target.on_connect(status::watch::connected))
}

fn panel(options: &Options, config: Option<&Config>) -> Result<Panel, Box<dyn Error>> {
    if let Some(config) = config {
        return Ok(config.panel(&Tokio, &options.host()?)?);
    }
    let mut panel = Panel::new()
        .thresholds(options.thresholds()?)
        .scorer(Gtube)
        .scorer(Structure::new())
        .scorer(Behaviour::new());
    if let Some(address) = &options.spamd {
        let within = Duration::from_secs(options.spamd_within);
        panel = panel.seat(Seat::new(Spamd::new(Tokio, address.0.clone())).budget(within));
    }
    Ok(if options.monitor { panel.monitor() } else { panel })
}

/// Reopens the log after rotation and rereads a renewed certificate on SIGHUP.
fn renew_on_hangup(
    options: Arc<Options>,
    journal: Arc<Journal>,
    tls: Option<TlsServer>,
    errors: Output,
) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Err(error) = journal.reopen() {
                errors.report(format_args!(
                    "reopening the log failed, the old file stays open: {error}"
                ));
            }
            match (&tls, certificate::read(&options)) {
                (Some(tls), Ok(Some(renewed))) => tls.replace(&renewed),
                (_, Ok(_)) => {}
                (_, Err(error)) => {
                    errors.report(format_args!(
                        "rereading the certificate failed, the old one stays in use: {error}"
                    ));
                }
            }
        }
    });
    Ok(())
}

/// Starts a new process that takes over, on SIGUSR2. This process serves until the new one is
/// ready.
fn succeed_on_signal(heritage: Heritage, errors: Output) -> io::Result<JoinHandle<()>> {
    let mut called = signal(SignalKind::user_defined2())?;
    Ok(tokio::spawn(async move {
        while called.recv().await.is_some() {
            let mut child = match heritage.hand_over() {
                Ok(child) => child,
                Err(error) => {
                    errors.report(format_args!("starting the new process failed: {error}"));
                    continue;
                }
            };
            if let Ok(status) = child.wait().await {
                errors.report(format_args!(
                    "the new process exited: {status}; the old process stays in service"
                ));
            }
        }
    }))
}

/// The signals that end the process.
struct End([Signal; 2]);

impl End {
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]))
    }

    async fn comes(&mut self) {
        let [interrupt, terminate] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
