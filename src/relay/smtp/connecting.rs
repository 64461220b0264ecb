//! Reports of connections to the onward server.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Server, Smtp};
use crate::runtime::Runtime;
use crate::unwind::caught;

/// An attempt to connect to the onward server, for [`Smtp::on_connect`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ConnectAttempt<'a> {
    /// The time until the connection was open, or until the attempt failed. It does not include the
    /// greeting of the server.
    pub took: Duration,
    /// The error of the system. `None` if the connection is open, or if the attempt timed out.
    pub error: Option<&'a io::Error>,
    /// Whether the connection is open.
    pub is_open: bool,
}

/// The callback for attempts to connect.
#[derive(Clone, Default)]
pub(super) struct Told(Option<Arc<Callback>>);

type Callback = dyn Fn(&ConnectAttempt<'_>) + Send + Sync;

impl<R: Runtime> Smtp<R> {
    /// Calls `told` after each attempt to connect to the server: for metrics. Requests on a kept
    /// connection need no attempt. The request waits for the call, so it must not block. A panic of
    /// `told` is caught.
    #[must_use]
    pub fn on_connect(self, told: impl Fn(&ConnectAttempt<'_>) + Send + Sync + 'static) -> Self {
        let Server { runtime, address, settings, tls, bounds, .. } = &*self.server;
        let (runtime, settings) = (runtime.clone(), (**settings).clone());
        let told = Told(Some(Arc::new(told)));
        Self::build(runtime, address.clone(), settings, tls.clone(), *bounds, told)
    }
}

impl Told {
    /// Reports the result of an attempt. `None` means that it timed out.
    pub(super) fn tell<S>(&self, took: Duration, result: Option<&io::Result<S>>) {
        let Some(told) = &self.0 else { return };
        let error = result.and_then(|result| result.as_ref().err());
        let is_open = result.is_some_and(Result::is_ok);
        let _ = caught(|| told(&ConnectAttempt { took, error, is_open }));
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Told" } else { "Untold" })
    }
}
