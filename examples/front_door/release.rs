//! `front_door release`: sends a refused message to the onward server, as a deliberate act.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use nobounce::observer::json::Entry;
use nobounce::observer::{KeptMail, KeptMailError, ReleaseAnswer};
use nobounce::reply::ReplyClass;

use crate::config::Config;
use crate::options::Options;
use crate::output::escaped;
use crate::time::{stamp_of, today};
use crate::{Policy, certificate, target, tell, user};

/// The onward server refuses the message for a recipient.
const REFUSED: u8 = 1;
/// The onward server does not accept it now for a recipient.
const DEFERRED: u8 = 2;
/// It was released before.
const RELEASED: u8 = 3;
/// Only the header was kept (`EX_DATAERR` of sysexits).
const INCOMPLETE: u8 = 65;
/// The copy does not exist, or it cannot be read (`EX_NOINPUT`).
const NO_INPUT: u8 = 66;
/// The configuration is wrong (`EX_CONFIG`).
const CONFIG: u8 = 78;

/// Send a refused message to the onward server, for its recipients. The client heard a refusal, which stays true: this
/// is a decision of the operator. The copy must have been kept: see [refused_mail] in the configuration file. Use the
/// options of the gate; the onward server gets the client and the envelope of the refused transaction. The message gets
/// a header field X-Nobounce-Released. The copy is kept.
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 if the onward server has accepted the message for all recipients, 1 if it refuses one, \
    2 if it does not accept one now, 3 if the message was released before, 64 if an option is invalid, 65 if only the \
    header was kept, 66 if there is no such copy, 78 if the configuration is wrong."
)]
pub(crate) struct ReleaseOptions {
    #[command(flatten)]
    options: Options,
    /// Reference in the reply to the client.
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Send the message again to recipients for which it was released before.
    #[arg(long)]
    again: bool,
    /// Remove the copy if the onward server has accepted the message for all recipients.
    #[arg(long)]
    remove: bool,
}

pub(crate) fn run(options: &ReleaseOptions) -> ExitCode {
    match release(options) {
        Ok(code) => code.into(),
        Err(error) => {
            let code = match error.downcast_ref() {
                Some(KeptMailError::HeaderOnly) => INCOMPLETE,
                Some(_) => NO_INPUT,
                None => CONFIG,
            };
            tell(error);
            code.into()
        }
    }
}

fn release(said: &ReleaseOptions) -> Result<u8, Box<dyn Error>> {
    let options = &said.options;
    let policy = Policy::of(options)?;
    let config = policy.config.as_ref();
    let folder = config.and_then(Config::refused_mail).map(|(folder, _)| folder).ok_or(
        "no copies of refused messages are kept; expected --config FILE with `folder` in the table [refused_mail]",
    )?;
    let onward = target(options, config, certificate::onward(options)?)?;
    if let Some(user) = &options.user {
        user::change_to(user)?;
    }
    let mut kept = KeptMail::open(folder, &said.reference).map_err(|error| match error {
        KeptMailError::NotFound => {
            tell(format_args!(
                "{}: {}: no such copy; it was not kept, or it was removed (see [refused_mail])",
                folder.display(),
                said.reference
            ));
            error
        }
        error => error,
    })?;
    let mut out = io::stdout().lock();
    for release in kept.releases() {
        let (at, to) = (stamp_of(release.time), release.recipients.join(", "));
        writeln!(out, "released before, {at}, to {}: {}", escaped(&to), escaped(&release.reply))?;
    }
    let recipients = if said.again { kept.recipients().to_vec() } else { kept.unreleased() };
    if recipients.is_empty() {
        tell(format_args!(
            "{}: released before to all recipients; expected --again to send it again",
            said.reference
        ));
        return Ok(RELEASED);
    }
    if let Entry::Transaction(it) = &kept.record().entry {
        let when = stamp_of(kept.record().time);
        let client = it.client.address.map_or("local".to_owned(), |address| address.to_string());
        writeln!(out, "{}: {when}, from {} by {client}", said.reference, escaped(&it.sender))?;
    }
    let host = options.host()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answers = runtime.block_on(kept.release(&onward, &recipients, &host, today()))?;
    for answer in &answers {
        let why = answer.failure.as_ref().map_or(String::new(), |it| format!(" ({it})"));
        let line = format!("{}: {}{why}", answer.recipient, answer.reply);
        writeln!(out, "{}", escaped(&line.lines().collect::<Vec<_>>().join(" / ")))?;
    }
    let code = code(&answers);
    if code == 0 && said.remove {
        kept.remove()?;
    }
    Ok(code)
}

fn code(answers: &[ReleaseAnswer]) -> u8 {
    let has = |class| answers.iter().any(|answer| answer.reply.class() == class);
    match () {
        () if has(ReplyClass::Permanent) => REFUSED,
        () if has(ReplyClass::Completion) && !has(ReplyClass::Transient) => 0,
        () => DEFERRED,
    }
}
