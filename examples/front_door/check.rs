//! `--check`: finds everything that would keep front_door from running or from behaving as
//! intended.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use nobounce::store::{Embedded, OpenError};
use nobounce::{Address, Settings};

use crate::options::Options;
use crate::status::StatusAddress;
use crate::{Policy, certificate, doors, journal, recording, sense, target, user};

/// Time for a daemon to accept a connection. `--check` reports a slower daemon.
const ANSWER: Duration = Duration::from_secs(2);

/// Results of `--check`.
#[derive(Default)]
pub(crate) struct Findings {
    /// Errors that keep front_door from running or make it useless.
    pub(crate) faults: Vec<String>,
    /// Warnings: settings that may be intended.
    pub(crate) doubts: Vec<String>,
}

impl Findings {
    fn fault(&mut self, checked: Result<(), impl Into<Box<dyn Error>>>) {
        self.faults.extend(checked.err().map(|fault| fault.into().to_string()));
    }
}

/// Checks everything except the ports, since a running front_door may hold them.
pub(crate) fn check(options: &Options, policy: &Policy, settings: &Settings) -> Findings {
    let mut findings = Findings::default();
    findings.faults.extend(sense::faults(options, policy.config.as_ref()));
    findings.fault(certificate::read(options).map(drop));
    findings.faults.extend(certificate::doubts(options));
    if options.relay.is_some() {
        let tls = certificate::onward(options).map_err(Into::into);
        let target = tls.and_then(|tls| target(options, policy.config.as_ref(), tls));
        findings.fault(target.map(drop));
    }
    for (option, addresses) in
        [("--listen", &*options.listen), ("--tls-listen", &*options.tls_listen)]
    {
        for address in addresses {
            findings.fault(doors::try_address(option, *address));
        }
    }
    match &options.status {
        Some(StatusAddress::Tcp(address)) => {
            findings.fault(doors::try_address("--status", *address));
        }
        Some(StatusAddress::Unix(path)) if !path.parent().is_some_and(Path::is_dir) => {
            let name = path.display();
            findings
                .faults
                .push(format!("--status unix:{name}: expected a file in a folder that exists"));
        }
        _ => {}
    }
    if let Some(config) = &policy.config {
        findings.faults.extend(config.unknown_symbols().iter().map(ToString::to_string));
    }
    findings.doubts.extend(options.doubts(settings, &policy.admission));
    findings.doubts.extend(policy.names.warning.clone());
    let addresses = policy.config.iter().flat_map(|config| config.addresses());
    for (name, address) in options.addresses().into_iter().chain(addresses) {
        server(&mut findings, &name, &address);
    }
    // Check files with the privileges of the user that will open them.
    if let Some(name) = &options.user {
        findings.fault(user::change_to(name));
    }
    for (option, path) in [("--json-log", &options.json_log), ("--log", &options.log)] {
        path.iter().for_each(|path| log(&mut findings, option, path));
    }
    match recording::Plan::of(options, policy.config.as_ref()) {
        Ok(plan) => plan.iter().for_each(|plan| log(&mut findings, "--record", &plan.path)),
        Err(fault) => findings.faults.push(fault.to_string()),
    }
    if let (Some(json), Some(text)) = (&options.json_log, &options.log)
        && is_same(json, text)
        && !journal::is_standard_output(json)
    {
        let (name, fault) = (text.display(), "this is also the file of --json-log");
        findings.faults.push(format!("--log {name}: {fault}; expected two different files"));
    }
    if let Some(config) = &policy.config
        && let Some((path, _)) = config.refused_mail()
    {
        // A folder that does not exist is created.
        let name = path.display();
        let checked =
            folder(if path.exists() { path.join("x") } else { path.to_owned() }.as_path());
        match checked {
            Ok(None) => {}
            Ok(Some(doubt)) => {
                findings.doubts.push(config.refused_mail_fault(&doubt).to_string());
            }
            Err(error) => {
                let expected = "expected a folder that the user of front_door may write";
                let what = format!("{name}: {error}; {expected}");
                findings.faults.push(config.refused_mail_fault(&what).to_string());
            }
        }
    }
    if let Some(config) = &policy.config
        && let Some(path) = config.store_file()
    {
        let log = options.json_log.as_deref();
        if log.is_some_and(|log| is_same(log, path)) {
            let fault = "this is also the file of --json-log; expected two different files";
            findings.faults.push(config.store_fault(&fault).to_string());
        }
        match store(path) {
            Ok(None) => {}
            Ok(Some(doubt)) => findings.doubts.push(config.store_fault(&doubt).to_string()),
            Err(fault) => findings.faults.push(config.store_fault(&fault).to_string()),
        }
    }
    findings
}

/// Checks a server. A name without an address is an error. A daemon that does not answer is only a
/// warning, since it may be started later.
fn server(findings: &mut Findings, name: &str, address: &Address) {
    let answer = match address {
        Address::Unix(path) => UnixStream::connect(path).map(drop),
        Address::Tcp(text) => match text.to_socket_addrs() {
            Ok(mut addresses) => addresses
                .next()
                .map_or(Ok(()), |address| TcpStream::connect_timeout(&address, ANSWER).map(drop)),
            Err(error) => {
                let expected = "expected a host name that resolves to an address";
                return findings.faults.push(format!("{name}: {address}: {error}; {expected}"));
            }
        },
    };
    if let Err(error) = answer {
        findings.doubts.push(format!("{name}: {address} does not answer now: {error}"));
    }
}

fn log(findings: &mut Findings, option: &str, path: &Path) {
    let name = path.display();
    let writable = match fs::metadata(path) {
        _ if path == Path::new("/dev/null") || journal::is_standard_output(path) => Ok(None),
        Ok(it) if it.file_type().is_block_device() || it.file_type().is_char_device() => {
            Err("this is a device".into())
        }
        Ok(_) => {
            let opened = OpenOptions::new().append(true).open(path);
            let opened = opened.map_err(|error| error.to_string());
            opened.and_then(|_| journal::is_ours(path)).map(|()| None)
        }
        Err(_) => folder(path),
    };
    let expected = "expected a log of front_door or a new file that its user may write, or `-` for standard output";
    match writable {
        Ok(None) => {}
        Ok(Some(doubt)) => findings.doubts.push(format!("{option} {name}: {doubt}")),
        Err(error) => findings.faults.push(format!("{option} {name}: {error}; {expected}")),
    }
}

/// Returns whether both paths lead to the same file, or will once it exists.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

/// Checks whether a store can be opened at `path`. A store that another process holds is not an
/// error, since that process may be a running front_door.
fn store(path: &Path) -> Result<Option<String>, String> {
    let name = path.display();
    if !path.exists() {
        return folder(path).map_err(|error| {
            format!("{name}: {error}; expected a folder that the user of front_door may write")
        });
    }
    if !path.is_file() {
        return Err(format!("{name}: not a regular file; expected a store file of front_door"));
    }
    let mode = fs::metadata(path).map_or(0, |it| it.permissions().mode() & 0o777);
    match Embedded::open(path) {
        Ok(_) if mode & 0o077 != 0 => Ok(Some(format!(
            "{name}: other users may read or write this file (mode {mode:04o}), which contains senders, \
             recipients and clients; expected mode 0600, which front_door sets when it starts"
        ))),
        Ok(_) => Ok(None),
        Err(OpenError::InUse) => Ok(Some(format!("{name}: another process holds this file now"))),
        Err(error) => Err(format!("{name}: {error}; expected a store file of front_door")),
    }
}

/// Checks whether a file can be created at `path`. A missing folder is not an error if systemd
/// creates it when it starts the service (`StateDirectory=`, `LogsDirectory=`).
fn folder(path: &Path) -> Result<Option<String>, String> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let of_a_service = folder.starts_with("/var/lib") || folder.starts_with("/var/log");
    match access(folder, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Ok(None),
        Err(Errno::ENOENT) if of_a_service => {
            Ok(Some(format!("the folder {} does not exist yet", folder.display())))
        }
        Err(error) => Err(format!("the folder {}: {}", folder.display(), error.desc())),
    }
}
