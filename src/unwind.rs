//! Catches panics of user code where they would end a session.

use std::any::Any;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

/// The message of a panic.
pub(crate) type Panic = Box<str>;

/// Runs `work`. If it panics, returns the message of the panic.
///
/// A program that is built with `panic = "abort"` ends at the panic instead.
#[inline]
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(message)
}

/// Drops `value`. If that panics, the panic is ignored.
pub(crate) fn drop_caught<T>(value: T) {
    let _ = caught(move || drop(value));
}

#[cold]
fn message(payload: Box<dyn Any + Send>) -> Panic {
    let text = match payload.downcast::<String>() {
        Ok(text) => return text.into_boxed_str(),
        Err(other) => other,
    };
    let message = text.downcast_ref::<&str>().copied().unwrap_or("no message").into();
    // The payload's `Drop` may panic, and so may the `Drop` of that second panic's payload.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(text))) {
        mem::forget(payload);
    }
    message
}

/// A future of user code. If creating or polling it panics, the panic is its output. A panic while
/// it is dropped is ignored.
pub(crate) struct Guarded<'a, T>(State<'a, T>);

enum State<'a, T> {
    Running(BoxFuture<'a, T>),
    Panicked(Panic),
    Over,
}

impl<'a, T> Guarded<'a, T> {
    /// Creates the future with `begin`. A function written without `async_trait` may panic before it
    /// returns the future.
    pub(crate) fn begin(begin: impl FnOnce() -> BoxFuture<'a, T>) -> Self {
        Self(caught(begin).map_or_else(State::Panicked, State::Running))
    }
}

impl<T> Future for Guarded<'_, T> {
    type Output = Result<T, Panic>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match &mut self.0 {
            State::Running(future) => caught(|| future.as_mut().poll(context)),
            State::Panicked(panic) => Err(mem::take(panic)),
            State::Over => return Poll::Pending,
        };
        let output = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        drop_caught(mem::replace(&mut self.0, State::Over));
        Poll::Ready(output)
    }
}

impl<T> Drop for Guarded<'_, T> {
    fn drop(&mut self) {
        if !matches!(self.0, State::Over) {
            drop_caught(mem::replace(&mut self.0, State::Over));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::FutureExt;

    use super::*;

    struct Brittle;

    impl Drop for Brittle {
        fn drop(&mut self) {
            std::panic::panic_any(Self);
        }
    }

    #[test]
    fn a_panic_of_any_kind_is_caught() {
        assert_eq!(caught(|| 1), Ok(1));
        assert_eq!(caught(|| panic!("word")), Err::<(), _>("word".into()));
        assert_eq!(caught(|| panic!("{} words", 2)), Err::<(), _>("2 words".into()));
        assert_eq!(caught(|| std::panic::panic_any(Brittle)), Err::<(), _>("no message".into()));
        drop_caught(Brittle);
    }

    #[test]
    fn panic_of_a_future_is_caught_at_any_poll() {
        let mut before = Guarded::begin(|| -> BoxFuture<'_, ()> { panic!("before") });
        assert_eq!((&mut before).now_or_never(), Some(Err("before".into())));
        assert_eq!(before.now_or_never(), None, "it is over");
        let polled = Guarded::begin(|| async { panic!("polled") }.boxed());
        assert_eq!(polled.now_or_never(), Some(Err::<(), _>("polled".into())));
        let done = Guarded::begin(|| async { Brittle }.map(mem::forget).boxed());
        assert_eq!(done.now_or_never(), Some(Ok(())));
        let waiting = async {
            let _brittle = Brittle;
            std::future::pending::<()>().await;
        };
        let mut waiting = Guarded::begin(|| waiting.boxed());
        assert_eq!((&mut waiting).now_or_never(), None);
        drop(waiting);
    }
}
