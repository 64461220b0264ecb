//! Sample values for tests, each from one call.

use crate::wire::mailbox::ForwardPath;

/// Returns a recipient.
///
/// ```
/// let mut envelope = nobounce::testing::envelope("<a@example.org>");
/// envelope.forward_paths.push(nobounce::testing::recipient("<b@example.com>"));
/// assert_eq!(envelope.forward_paths[0].path.written(), b"<b@example.com>");
/// ```
///
/// # Panics
///
/// Panics if `path` is not a path in angle brackets.
#[track_caller]
#[allow(clippy::expect_used, reason = "for tests only")]
pub fn recipient(path: &str) -> ForwardPath {
    ForwardPath::parse(path).expect("a path in angle brackets")
}
