//! The links of a message and the text of its HTML, as mail programs display them.

mod css;
mod fields;
mod found;
mod host;
mod html;
mod link;
mod percent;
mod redirect;
mod tag;
mod target;
mod text;

use std::borrow::Cow;

use super::part::MimePart;
use super::view::MessageView;
use found::{Found, Shown};
use html::Page;
use text::Search;

pub use host::{LinkDomain, LinkHost};
pub use link::{Link, LinkPlace};

/// Maximum length of the text in one message that is searched, in octets.
const TEXT: usize = 1 << 20;

/// A message as mail programs display it: all its links, and the visible text of its HTML parts.
///
/// Links are read as browsers read them (WHATWG HTML and URL, UTS 46): with character references,
/// percent-encoding, white space inside, backslashes, numeric addresses, and names in any script.
/// In text, everything that common mail programs make clickable is a link.
///
/// ```
/// use std::time::SystemTime;
/// use nobounce::Message;
/// use nobounce::message::MailData;
/// use nobounce::testing::envelope;
///
/// let content = MailData::normalise(
///     b"Content-Type: text/html\r\n\r\n\
///       <style>p { color: red }</style><p>Dear <i style='display:none'>xyzzy</i>reader,\r\n\
///       <p>see www&period;exam<b>ple.com</b>!\r\n",
/// );
/// let message = Message::new("mx.example", &envelope("<a@example.org>"), SystemTime::now(), content);
/// let rendered = message.rendered();
/// assert_eq!(rendered.html(0).unwrap().visible(), "Dear reader,\nsee www.example.com!");
/// assert_eq!(rendered.html(0).unwrap().hidden(), "xyzzy");
/// assert_eq!(rendered.links()[0].url(), "http://www.example.com/");
/// ```
#[derive(Debug, Default)]
pub struct Rendered {
    links: Vec<Link>,
    /// HTML texts, with the index of their part.
    html: Vec<(usize, HtmlText)>,
    truncated: bool,
}

/// The text of an HTML part. Tags are removed, and character references are resolved. White space
/// is collapsed, and a block element begins on a new line.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HtmlText {
    visible: Box<str>,
    hidden: Box<str>,
}

impl HtmlText {
    /// Returns the text that is displayed.
    pub fn visible(&self) -> &str {
        &self.visible
    }

    /// Returns the text that is not displayed: with `display:none` and similar styles, in
    /// `<title>`, and in conditional comments, which only Outlook reads. Scripts, style sheets and
    /// other comments are left out.
    pub fn hidden(&self) -> &str {
        &self.hidden
    }
}

impl Rendered {
    /// Returns the links in order of appearance. Links to the same target are repeated. Relative URLs
    /// without a base are left out, because they lead nowhere in mail.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Returns the text of an HTML part, given its index in [`MessageView::parts`]. `None` for other
    /// parts.
    pub fn html(&self, part: usize) -> Option<&HtmlText> {
        let at = self.html.binary_search_by_key(&part, |(part, _)| *part).ok()?;
        self.html.get(at).map(|(_, text)| text)
    }

    /// Returns whether some links or some text were omitted because of a limit. Ordinary mail does
    /// not exceed the limits:
    ///
    /// - 1 MiB of text
    /// - 10,000 links in markup and 10,000 in text, with 4 MiB of URLs each; of more links, the first
    ///   and the last ones remain
    /// - 4,096 octets of a URL; of a longer one, the host and the beginning remain
    /// - five redirectors in front of a target
    /// - two nested levels of HTML in attributes, comments and raw text
    /// - 64 KiB of header fields
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Returns the visible text of every part that mail programs display as text. Unlike
    /// [`MessageView::texts`], it contains no HTML markup. `view` is the view of the same message.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use nobounce::Message;
    /// use nobounce::message::MailData;
    /// use nobounce::testing::envelope;
    ///
    /// let content = MailData::normalise(b"Content-Type: text/html\r\n\r\n<p>Hello <b>you</b>\r\n");
    /// let message = Message::new("mx.example", &envelope("<a@example.org>"), SystemTime::now(), content);
    /// let texts = message.rendered().visible_texts(message.view());
    /// assert_eq!(texts.collect::<String>(), "Hello you");
    /// ```
    pub fn visible_texts<'m>(&'m self, view: &'m MessageView) -> impl Iterator<Item = &'m str> {
        view.parts().iter().enumerate().filter_map(|(index, part)| {
            self.html(index).map_or_else(|| part.text(), |html| Some(html.visible()))
        })
    }

    pub(super) fn of(view: &MessageView) -> Self {
        let (mut found, mut html, mut room) = (Found::default(), Vec::new(), TEXT);
        let mut fields = fields::FIELDS;
        for (index, part) in view.parts().iter().enumerate() {
            fields::search(part, 2 * index, &mut fields, &mut found);
            if room == 0 {
                // The rest is not read, so it may contain text.
                found.truncated |= !part.is_container();
                continue;
            }
            let Some(text) = part.text_head(room) else { continue };
            found.truncated |= text.len() > room;
            let text = head(&text, room);
            room -= text.len();
            let order = 2 * index + 1;
            if part.is_markup() {
                html.push((index, Page::read(text, order, &mut found)));
            } else {
                let shown = Shown::at(LinkPlace::Text, false);
                found.text((order, 0), &joined(part, text), Search::Prose, shown);
            }
        }
        let (links, truncated) = found.finish();
        Self { links, html, truncated }
    }
}

/// Returns as much of the text as fits.
fn head(text: &str, room: usize) -> &str {
    let mut end = text.len().min(room);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Returns the text of a part. Flowed lines are joined if their last space is deleted (RFC 3676
/// section 4.2, `delsp=yes`), because a URL may span such lines. Programs that do not join them
/// display the first line of the URL, so the original text follows.
fn joined<'t>(part: &MimePart, text: &'t str) -> Cow<'t, str> {
    let is_joined = part.fields().any(|field| {
        field.name().eq_ignore_ascii_case("Content-Type") && {
            let value = field.text().to_ascii_lowercase().replace([' ', '\t', '"'], "");
            value.contains("delsp=yes") && value.contains("format=flowed")
        }
    });
    if !is_joined {
        return text.into();
    }
    let mut joined = String::with_capacity(2 * text.len());
    for line in text.lines() {
        // Space-stuffing.
        let line = line.strip_prefix(' ').unwrap_or(line);
        match line.strip_suffix(' ').filter(|_| line != "-- ") {
            Some(flowed) => joined.push_str(flowed),
            None => {
                joined.push_str(line);
                joined.push('\n');
            }
        }
    }
    joined.push('\n');
    joined.push_str(text);
    joined.into()
}

#[cfg(test)]
mod tests;
