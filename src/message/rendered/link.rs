//! Links as scorers see them.

use super::host::LinkHost;

/// A link of a message: where it leads, where it was found, and how it is displayed.
///
/// ```
/// use std::time::SystemTime;
/// use nobounce::Message;
/// use nobounce::message::{LinkPlace, MailData};
/// use nobounce::testing::envelope;
///
/// let content = MailData::normalise(
///     b"Content-Type: text/html\r\n\r\n<a href='//www.example.net/x'>https://bank.example.com/</a>\r\n",
/// );
/// let message = Message::new("mx.example", &envelope("<a@example.org>"), SystemTime::now(), content);
/// let link = &message.rendered().links()[0];
/// assert_eq!(link.url(), "http://www.example.net/x");
/// assert_eq!(link.host().unwrap().registered(), Some("example.net"));
/// assert_eq!(link.place(), LinkPlace::Anchor);
/// assert_eq!(link.text(), Some("https://bank.example.com/"));
/// assert!(link.differs());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub(super) url: Box<str>,
    pub(super) host: Option<LinkHost>,
    pub(super) place: LinkPlace,
    pub(super) text: Option<Box<str>>,
    pub(super) text_host: Option<LinkHost>,
    pub(super) is_hidden: bool,
    pub(super) redirectors: usize,
}

/// Where a link was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkPlace {
    /// An `href` attribute: a link to click.
    Anchor,
    /// An image, a frame or another resource that is loaded: `src`, `srcset`, `background` and
    /// other attributes.
    Resource,
    /// The target of a form: `action` or `formaction`.
    Form,
    /// The `<base>` of relative URLs.
    Base,
    /// A redirection by `<meta http-equiv="refresh">`.
    Refresh,
    /// A style sheet: `url(…)` or `@import`.
    Style,
    /// Source code: a script, a `javascript:` URL or an event handler.
    Script,
    /// Another attribute, such as `alt` or `title`.
    Attribute,
    /// Text, plain or of an HTML page. Mail programs make it clickable.
    Text,
    /// A header field that mail programs display, such as Subject.
    Field,
}

impl Link {
    /// Returns the URL, serialised by the WHATWG URL standard. If the standard rejects it, this is
    /// the URL as written. Its length is limited to about 4,096 octets.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the host that the link leads to. For `mailto:`, it is the domain of the address.
    /// `None` if the URL has no host, as with `tel:`.
    ///
    /// If the standard rejects the host because of an invalid label, the host consists of the
    /// labels after it.
    pub fn host(&self) -> Option<&LinkHost> {
        self.host.as_ref()
    }

    /// Returns where the link was found.
    pub fn place(&self) -> LinkPlace {
        self.place
    }

    /// Returns the visible text of an HTML link, truncated to 256 octets. Returns `None` if the
    /// link has no visible text.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Returns the host that the visible text names, if it contains a URL, a domain name or a mail
    /// address.
    pub fn text_host(&self) -> Option<&LinkHost> {
        self.text_host.as_ref()
    }

    /// Returns whether the visible text names one host and the link leads to another one. Hosts
    /// with the same registered domain count as the same host.
    pub fn differs(&self) -> bool {
        let Some(shown) = &self.text_host else { return false };
        self.host.as_ref().is_none_or(|host| !host.is_near(shown))
    }

    /// Returns whether the link is not displayed: it is in hidden text, or in a comment that only
    /// some programs read.
    pub fn is_hidden(&self) -> bool {
        self.is_hidden
    }

    /// Returns the number of redirectors in front of the link: 1 for the target in
    /// `https://example.com/?url=https://example.org/`. Each redirector is also listed as a link.
    pub fn redirectors(&self) -> usize {
        self.redirectors
    }
}
