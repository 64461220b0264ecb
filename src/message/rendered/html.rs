//! Reads the links and the text of HTML as browsers do.
//!
//! It builds no tree. The tokenizer knows which elements contain raw text, and hidden elements end
//! with their own end tag. That differs from a browser only for misnested hidden elements.

use std::convert::Infallible;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};
use url::Url;

use super::found::{Found, Order, Shown};
use super::link::LinkPlace;
use super::tag::{Attribute, Tag, ends, is_block, is_cell, is_void};
use super::target::{cleaned, scheme};
use super::text::{Search, first_host};
use super::{HtmlText, css, head, percent};
use crate::message::transfer;

/// Maximum nesting of HTML in attributes, comments and raw text.
const NESTED: usize = 2;
/// Maximum length of the base of relative URLs, in octets.
const BASE: usize = 1_024;
/// Maximum length of the visible text of a link that is kept, in octets.
const SHOWN: usize = 256;
/// Maximum length of the visible text of a link that is searched for a host, in octets.
const SEARCHED: usize = 2_048;

/// The state of the parser of a page.
pub(super) struct Page<'f> {
    found: &'f mut Found,
    /// Number of the text in the message, and the offset at which the page begins.
    order: Order,
    nested: usize,
    is_hidden: bool,
    base: Option<Url>,
    visible: String,
    hidden: String,
    tag: Tag,
    /// The open element with raw text.
    raw: Option<Raw>,
    hiding: Option<Hiding>,
    /// Number of open elements of SVG and MathML. Their `style` and `title` contain markup.
    foreign: usize,
    anchor: Option<Anchor>,
}

/// An element whose content the tokenizer does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Raw {
    Style,
    Script,
    Title,
    /// Text that is displayed without parsing.
    Text,
    /// Text that is displayed as HTML by programs that do not support the element, or do not run
    /// scripts.
    Html,
}

/// A hidden element, and the number of elements of the same name in it.
struct Hiding {
    name: String,
    nested: usize,
}

/// A link whose text is being read.
struct Anchor {
    url: String,
    /// Offsets of its text.
    visible: usize,
    hidden: usize,
}

impl<'f> Page<'f> {
    /// Reads the HTML of a part. `order` is the number of its text in the message.
    pub(super) fn read(html: &str, order: usize, found: &'f mut Found) -> HtmlText {
        let (visible, hidden) = Page::new(found, (order, 0), 0, false).through(html);
        let text = LinkPlace::Text;
        found.text((order, 0), &visible, Search::Prose, Shown::at(text, false));
        found.text((order, visible.len()), &hidden, Search::Prose, Shown::at(text, true));
        HtmlText { visible: visible.trim().into(), hidden: hidden.trim().into() }
    }

    fn new(found: &'f mut Found, order: Order, nested: usize, is_hidden: bool) -> Self {
        Self {
            found,
            order,
            nested,
            is_hidden,
            base: None,
            visible: String::new(),
            hidden: String::new(),
            tag: Tag::default(),
            raw: None,
            hiding: None,
            foreign: 0,
            anchor: None,
        }
    }

    /// Reads the page. Returns its visible and its hidden text.
    fn through(mut self, html: &str) -> (String, String) {
        let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| {
            self.event(&event);
            None::<Infallible>
        });
        emitter.naively_switch_states(true);
        let Ok(()) = Tokenizer::new_with_emitter(html, emitter).finish();
        self.close_anchor();
        (self.visible, self.hidden)
    }

    fn event(&mut self, event: &CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => self.tag.begin(name),
            CallbackEvent::AttributeName { name } => self.tag.attribute(name),
            CallbackEvent::AttributeValue { value } => self.tag.value(value),
            CallbackEvent::CloseStartTag { self_closing } => {
                if let Some(tag) = self.tag.take() {
                    self.start(&tag, *self_closing);
                }
            }
            CallbackEvent::EndTag { name } => {
                self.tag = Tag::default();
                self.end(&String::from_utf8_lossy(name));
            }
            CallbackEvent::String { value } => self.string(&String::from_utf8_lossy(value)),
            CallbackEvent::Comment { value } => {
                let comment = String::from_utf8_lossy(value);
                // SVG and other XML have sections of text.
                if let Some(text) = comment.strip_prefix("[CDATA[") {
                    self.string(text.strip_suffix("]]").unwrap_or(text));
                }
                // Outlook reads conditional comments.
                if comment.trim_start().starts_with("[if")
                    && let Some((_, html)) = comment.split_once("]>")
                {
                    self.inner(html, true);
                }
            }
            _ => {}
        }
    }

    // --- tags ---

    fn start(&mut self, tag: &Tag, self_closing: bool) {
        let name = &*tag.name;
        if matches!(name, "svg" | "math") && !self_closing {
            self.foreign += 1;
        }
        self.raw = raw(name);
        self.hide(tag);
        if is_block(name) {
            self.line();
        } else if is_cell(name) {
            self.push(" ");
        }
        match name {
            "base" => self.set_base(tag),
            "meta" => self.refresh(tag),
            _ => {}
        }
        self.links(tag);
    }

    fn end(&mut self, name: &str) {
        self.raw = None;
        match name {
            "a" => self.close_anchor(),
            "svg" | "math" => self.foreign = self.foreign.saturating_sub(1),
            _ => {}
        }
        if let Some(hiding) = &mut self.hiding
            && hiding.name == name
        {
            match hiding.nested.checked_sub(1) {
                Some(nested) => hiding.nested = nested,
                None => self.hiding = None,
            }
        }
        if is_block(name) {
            self.line();
        }
    }

    /// Notices whether an element is hidden.
    fn hide(&mut self, tag: &Tag) {
        let name = &*tag.name;
        if let Some(hiding) = &mut self.hiding {
            if ends(&hiding.name, name) {
                self.hiding = None;
            } else if hiding.name == name && !is_void(name) {
                hiding.nested += 1;
                return;
            } else {
                return;
            }
        }
        let is_hidden = name == "template"
            || tag.get(Attribute::Hidden).is_some()
            || tag.get(Attribute::Style).is_some_and(css::hides);
        if is_hidden && !is_void(name) {
            self.hiding = Some(Hiding { name: name.to_owned(), nested: 0 });
            // Hidden texts of different elements are not joined.
            self.line();
        }
    }

    fn set_base(&mut self, tag: &Tag) {
        let Some(href) = tag.get(Attribute::Href).filter(|_| self.base.is_none()) else { return };
        let href = cleaned(href);
        let url = if href.starts_with("//") { format!("http:{href}") } else { href.into_owned() };
        self.found.truncated |= url.len() > BASE;
        self.base = Url::parse(head(&url, BASE)).ok();
    }

    /// Reads `<meta http-equiv="refresh" content="0; url=…">`.
    fn refresh(&mut self, tag: &Tag) {
        let Some(content) = tag.get(Attribute::Content) else { return };
        let kind = tag.get(Attribute::HttpEquiv).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("refresh") {
            self.found.text(
                self.order(),
                content,
                Search::Code,
                Shown::at(LinkPlace::Attribute, true),
            );
            return;
        }
        let time = |c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace();
        let url = content.trim_start_matches(time).trim_start_matches([';', ',']).trim_start();
        let is_named = url.get(..3).is_some_and(|name| name.eq_ignore_ascii_case("url"));
        let named = is_named.then(|| url[3..].trim_start().strip_prefix('=')).flatten();
        let url = named.unwrap_or(url).trim_start();
        let url = match url.chars().next() {
            Some(quote @ ('"' | '\'')) => url[1..].split(quote).next().unwrap_or_default(),
            _ => url,
        };
        self.url(url, LinkPlace::Refresh);
    }

    /// Adds the links in the attributes of a tag.
    fn links(&mut self, tag: &Tag) {
        let href = match &*tag.name {
            "base" => LinkPlace::Base,
            "link" | "image" | "use" | "feimage" | "script" => LinkPlace::Resource,
            _ => LinkPlace::Anchor,
        };
        if tag.name == "a" {
            self.close_anchor();
        }
        for (attribute, place) in [
            (Attribute::Href, href),
            (Attribute::XlinkHref, href),
            (Attribute::Src, LinkPlace::Resource),
            (Attribute::Background, LinkPlace::Resource),
            (Attribute::Poster, LinkPlace::Resource),
            (Attribute::Data, LinkPlace::Resource),
            (Attribute::LongDesc, LinkPlace::Resource),
            (Attribute::LowSrc, LinkPlace::Resource),
            (Attribute::DynSrc, LinkPlace::Resource),
            (Attribute::Cite, LinkPlace::Attribute),
            (Attribute::Action, LinkPlace::Form),
            (Attribute::FormAction, LinkPlace::Form),
        ] {
            let Some(value) = tag.get(attribute) else { continue };
            if tag.name == "a" && place == LinkPlace::Anchor && self.anchor.is_none() {
                let (visible, hidden) = (self.visible.len(), self.hidden.len());
                self.anchor = Some(Anchor { url: value.to_owned(), visible, hidden });
            } else {
                self.url(value, place);
            }
        }
        for attribute in [Attribute::Srcset, Attribute::ImageSrcset] {
            for url in tag.get(attribute).into_iter().flat_map(srcset) {
                self.url(url, LinkPlace::Resource);
            }
        }
        for url in tag.get(Attribute::Ping).into_iter().flat_map(str::split_whitespace) {
            self.url(url, LinkPlace::Resource);
        }
        if let Some(style) = tag.get(Attribute::Style) {
            self.style(style);
        }
        if let Some(html) = tag.get(Attribute::Srcdoc) {
            self.inner(html, false);
        }
        for value in &tag.others {
            let shown = Shown::at(LinkPlace::Attribute, true);
            self.found.text(self.order(), value, Search::Code, shown);
        }
    }

    fn close_anchor(&mut self) {
        let Some(anchor) = self.anchor.take() else { return };
        let is_visible = self.visible.len() > anchor.visible;
        let text = match is_visible {
            true => &self.visible[anchor.visible..],
            false => &self.hidden[anchor.hidden..],
        };
        let host = first_host(head(text, SEARCHED));
        let text = head(text.trim(), SHOWN).trim().to_owned();
        let order = (self.order.0, self.order.1 + anchor.visible);
        let is_hidden = self.is_hidden || !is_visible && self.hidden.len() > anchor.hidden;
        let shown = Shown {
            place: LinkPlace::Anchor,
            text: Some(&*text).filter(|text| !text.is_empty()),
            text_host: host.as_ref(),
            is_hidden,
        };
        self.target(&anchor.url, order, shown);
    }

    // --- URLs ---

    /// Returns the position of a link that is found now.
    fn order(&self) -> Order {
        (self.order.0, self.order.1 + self.visible.len())
    }

    fn url(&mut self, url: &str, place: LinkPlace) {
        let is_hidden = self.is_hidden || self.hiding.is_some();
        self.target(url, self.order(), Shown::at(place, is_hidden));
    }

    /// Adds the link of a URL. Looks into URLs that contain HTML or a script.
    fn target(&mut self, url: &str, order: Order, shown: Shown<'_>) {
        let text = cleaned(url);
        match scheme(&text) {
            Some((scheme, rest)) if scheme == "data" => self.data(rest),
            Some((scheme, rest)) if matches!(&*scheme, "javascript" | "vbscript") => {
                let shown = Shown { place: LinkPlace::Script, ..shown };
                self.found.text(order, &percent::decoded(rest), Search::Code, shown);
            }
            // A part of the message itself.
            Some((scheme, _)) if matches!(&*scheme, "cid" | "mid") => {}
            _ => self.found.url(order, &text, self.base.as_ref(), shown),
        }
    }

    /// Reads the content of a `data:` URL, if it is HTML, text or a script.
    fn data(&mut self, rest: &str) {
        let Some((kind, content)) = rest.split_once(',') else { return };
        let kind = kind.to_ascii_lowercase();
        let is = |kinds: &[&str]| kinds.iter().any(|it| kind.contains(it));
        let is_markup = is(&["html", "xml", "svg"]);
        // Without a type, it is plain text.
        if !is_markup
            && !is(&["text", "script"])
            && !kind.starts_with([';', ','])
            && !kind.is_empty()
        {
            return;
        }
        let mut content = percent::decoded(content);
        if kind.trim_end().ends_with("base64") {
            let octets = transfer::base64(content.as_bytes()).0;
            content = String::from_utf8_lossy(&octets).into_owned().into();
        }
        if is_markup {
            self.inner(&content, true);
        } else {
            let shown = Shown::at(LinkPlace::Script, true);
            self.found.text(self.order(), &content, Search::Code, shown);
        }
    }

    fn style(&mut self, style: &str) {
        for url in css::urls(style) {
            self.url(&url, LinkPlace::Style);
        }
    }

    /// Reads HTML inside this page.
    fn inner(&mut self, html: &str, is_hidden: bool) {
        if self.nested == NESTED {
            self.found.truncated = true;
            return;
        }
        let order = self.order();
        let is_hidden = is_hidden || self.is_hidden || self.hiding.is_some();
        let mut page = Page::new(self.found, order, self.nested + 1, is_hidden);
        page.base = self.base.clone();
        let (visible, hidden) = page.through(html);
        if !is_hidden {
            self.visible.push_str(&visible);
        }
        let hidden_parts = [if is_hidden { &*visible } else { "" }, &hidden];
        hidden_parts.into_iter().for_each(|text| self.conceal(text));
    }

    // --- text ---

    /// Adds a run of text, or the content of an element with raw text.
    fn string(&mut self, text: &str) {
        match self.raw {
            Some(Raw::Script) => {
                let shown = Shown::at(LinkPlace::Script, true);
                self.found.text(self.order(), text, Search::Code, shown);
            }
            Some(Raw::Style | Raw::Title | Raw::Text) if self.foreign > 0 => {
                self.inner(text, false)
            }
            Some(Raw::Style) => self.style(text),
            Some(Raw::Title) => self.conceal(text),
            Some(Raw::Html) => self.inner(text, false),
            Some(Raw::Text) | None => self.push(text),
        }
    }

    /// Adds hidden text on a separate line.
    fn conceal(&mut self, text: &str) {
        if !self.hidden.is_empty() && !self.hidden.ends_with('\n') && !text.is_empty() {
            self.hidden.push('\n');
        }
        self.hidden.push_str(text);
    }

    /// Adds text, with white space collapsed.
    fn push(&mut self, text: &str) {
        let output = if self.hiding.is_some() { &mut self.hidden } else { &mut self.visible };
        let mut is_space = output.is_empty() || output.ends_with([' ', '\n']);
        for c in text.chars() {
            if c.is_ascii_whitespace() {
                if !is_space {
                    output.push(' ');
                }
                is_space = true;
            } else {
                output.push(c);
                is_space = false;
            }
        }
    }

    /// Begins a line.
    fn line(&mut self) {
        let output = if self.hiding.is_some() { &mut self.hidden } else { &mut self.visible };
        if output.ends_with(' ') {
            output.pop();
        }
        if !output.is_empty() && !output.ends_with('\n') {
            output.push('\n');
        }
    }
}

/// Returns the kind of raw text that an element contains. The tokenizer has the same list.
fn raw(name: &str) -> Option<Raw> {
    match name {
        "style" => Some(Raw::Style),
        "script" => Some(Raw::Script),
        "title" => Some(Raw::Title),
        "textarea" | "xmp" | "plaintext" => Some(Raw::Text),
        "iframe" | "noembed" | "noframe" | "noscript" => Some(Raw::Html),
        _ => None,
    }
}

/// Returns the URLs in a `srcset` attribute.
fn srcset(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = value;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (url, behind) = rest.split_at(end);
        rest = match url.ends_with(',') {
            true => behind,
            false => behind.find(',').map_or("", |comma| &behind[comma..]),
        };
        Some(url.trim_end_matches(','))
    })
}
