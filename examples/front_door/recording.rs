//! The recording of sessions, for `front_door replay`.

mod file;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nobounce::Gate;
use nobounce::observer::Recorder;
use nobounce::recording::RecorderSettings;
use nobounce::tokio::Tokio;

use crate::config::Config;
use crate::config::record::FileLimits;
use crate::journal;
use crate::options::Options;
use crate::output::Output;
use file::RecordingFile;

/// Where and what to record.
#[derive(PartialEq)]
pub(crate) struct Plan {
    pub(crate) path: PathBuf,
    settings: RecorderSettings,
    limits: FileLimits,
}

impl Plan {
    /// Returns the plan of the options and of the configuration file; `None` if neither names a
    /// file.
    pub(crate) fn of(
        options: &Options,
        config: Option<&Config>,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        let path = match (&options.record, config.and_then(Config::record_file)) {
            (Some(path), Some(other)) => {
                return Err(format!(
                    "--record {}: `record.file` is {}; expected only one of them",
                    path.display(),
                    other.display()
                )
                .into());
            }
            (Some(path), None) | (None, Some(path)) => path.clone(),
            (None, None) => return Ok(None),
        };
        if journal::is_standard_output(&path) {
            let path = path.display();
            return Err(format!("--record {path}: this is standard output; expected a file").into());
        }
        let (mut settings, mut limits) = (RecorderSettings::default(), FileLimits::default());
        if let Some(config) = config {
            config.record(&mut settings, &mut limits);
            let checked = Recorder::new(Tokio, io::sink(), settings.clone());
            checked.map_err(|fault| config.record_fault(&fault))?;
        }
        Ok(Some(Self { path, settings, limits }))
    }
}

/// A recorder that writes to a file.
type FileRecorder = Recorder<Tokio, RecordingFile>;

/// The recording of this process, if sessions are recorded.
#[derive(Clone)]
pub(crate) struct SessionRecording(Option<Arc<(Plan, Arc<FileRecorder>)>>);

impl SessionRecording {
    /// Opens the file. `policy` is the hash of the configuration.
    pub(crate) fn open(
        options: &Options,
        config: Option<&Config>,
        policy: &str,
        errors: &Output,
    ) -> Result<Self, Box<dyn Error>> {
        let Some(plan) = Plan::of(options, config)? else { return Ok(Self(None)) };
        let file = RecordingFile::open(&plan.path, plan.limits, errors)?;
        let mut settings = plan.settings.clone();
        settings.policy = policy.into();
        let recorder = Recorder::new(Tokio, file, settings)?;
        Ok(Self(Some(Arc::new((plan, Arc::new(recorder))))))
    }

    /// Adds the recorder to the gate.
    pub(crate) fn watch(&self, gate: Gate<Tokio>) -> Gate<Tokio> {
        match self.recorder() {
            Some(recorder) => gate.report_answers().observed_by(recorder.clone()),
            None => gate,
        }
    }

    /// Reopens the file after log rotation has renamed it.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        self.recorder().map_or(Ok(()), |it| it.with_writer(RecordingFile::reopen))
    }

    /// Returns whether another recording is planned than the one that runs.
    pub(crate) fn differs(
        &self,
        options: &Options,
        config: &Config,
    ) -> Result<bool, Box<dyn Error>> {
        let planned = Plan::of(options, Some(config))?;
        Ok(planned.as_ref() != self.0.as_deref().map(|(plan, _)| plan))
    }

    /// Sets the hash of the configuration for sessions that begin from now on.
    pub(crate) fn set_policy(&self, policy: &str) {
        self.recorder().into_iter().for_each(|it| it.set_policy(policy));
    }

    /// Waits for at most `patience` until all sessions are written.
    pub(crate) fn finish(&self, patience: Duration) {
        self.recorder().into_iter().for_each(|it| it.with_writer(|file| file.finish(patience)));
    }

    fn recorder(&self) -> Option<&Arc<FileRecorder>> {
        self.0.as_deref().map(|(_, recorder)| recorder)
    }
}
