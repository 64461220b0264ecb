//! Start tags of HTML with the attributes that matter, and what is known about elements.

/// Attributes that are evaluated, in the order of their slots in a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attribute {
    Href,
    XlinkHref,
    Src,
    Srcset,
    ImageSrcset,
    Action,
    FormAction,
    Background,
    Poster,
    Data,
    LongDesc,
    Cite,
    Ping,
    LowSrc,
    DynSrc,
    Style,
    Srcdoc,
    Content,
    HttpEquiv,
    Hidden,
}

const NAMES: [(&[u8], Attribute); 20] = [
    (b"href", Attribute::Href),
    (b"xlink:href", Attribute::XlinkHref),
    (b"src", Attribute::Src),
    (b"srcset", Attribute::Srcset),
    (b"imagesrcset", Attribute::ImageSrcset),
    (b"action", Attribute::Action),
    (b"formaction", Attribute::FormAction),
    (b"background", Attribute::Background),
    (b"poster", Attribute::Poster),
    (b"data", Attribute::Data),
    (b"longdesc", Attribute::LongDesc),
    (b"cite", Attribute::Cite),
    (b"ping", Attribute::Ping),
    (b"lowsrc", Attribute::LowSrc),
    (b"dynsrc", Attribute::DynSrc),
    (b"style", Attribute::Style),
    (b"srcdoc", Attribute::Srcdoc),
    (b"content", Attribute::Content),
    (b"http-equiv", Attribute::HttpEquiv),
    (b"hidden", Attribute::Hidden),
];

/// A start tag.
#[derive(Debug, Default)]
pub(super) struct Tag {
    pub(super) name: String,
    values: [Option<String>; NAMES.len()],
    /// Values of other attributes that may contain a URL.
    pub(super) others: Vec<String>,
    /// The attribute whose value comes next.
    current: Current,
    is_open: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum Current {
    Slot(usize),
    Other,
    /// A repeated attribute, or a namespace. The first one of repeated attributes counts.
    #[default]
    Ignored,
}

impl Tag {
    pub(super) fn begin(&mut self, name: &[u8]) {
        *self = Self {
            name: String::from_utf8_lossy(name).into_owned(),
            is_open: true,
            ..Self::default()
        };
    }

    /// Begins the next attribute.
    pub(super) fn attribute(&mut self, name: &[u8]) {
        self.current = match NAMES.iter().position(|(known, _)| *known == name) {
            _ if !self.is_open => Current::Ignored,
            Some(slot) if self.values[slot].is_none() => {
                self.values[slot] = Some(String::new());
                Current::Slot(slot)
            }
            Some(_) => Current::Ignored,
            None if name.starts_with(b"xmlns") => Current::Ignored,
            None => Current::Other,
        };
    }

    /// Sets the value of the current attribute.
    pub(super) fn value(&mut self, value: &[u8]) {
        match self.current {
            Current::Slot(slot) => {
                self.values[slot] = Some(String::from_utf8_lossy(value).into_owned())
            }
            Current::Other if memchr::memchr2(b'/', b'\\', value).is_some() => {
                self.others.push(String::from_utf8_lossy(value).into_owned());
            }
            _ => {}
        }
    }

    /// Takes the current tag. Returns `None` if no tag has begun.
    pub(super) fn take(&mut self) -> Option<Self> {
        let tag = std::mem::take(self);
        tag.is_open.then_some(tag)
    }

    /// Returns the value of an attribute. It is empty if the attribute has no value.
    pub(super) fn get(&self, attribute: Attribute) -> Option<&str> {
        let slot = NAMES.iter().position(|(_, known)| *known == attribute)?;
        self.values[slot].as_deref()
    }
}

/// Returns whether the element has no content and no end tag.
pub(super) fn is_void(name: &str) -> bool {
    matches!(
        name,
        "area"
            | "base"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "param"
            | "source"
            | "track"
            | "wbr"
            | "frame"
            | "bgsound"
    )
}

/// Returns whether the element begins on a new line.
pub(super) fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "body"
            | "br"
            | "caption"
            | "center"
            | "dd"
            | "details"
            | "dialog"
            | "dir"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "head"
            | "header"
            | "hr"
            | "html"
            | "iframe"
            | "legend"
            | "li"
            | "listing"
            | "main"
            | "menu"
            | "nav"
            | "ol"
            | "option"
            | "p"
            | "plaintext"
            | "pre"
            | "search"
            | "section"
            | "select"
            | "summary"
            | "table"
            | "tbody"
            | "textarea"
            | "tfoot"
            | "thead"
            | "title"
            | "tr"
            | "ul"
            | "xmp"
    )
}

/// Returns whether the element is a cell of a table. Its text is separated from the next cell.
pub(super) fn is_cell(name: &str) -> bool {
    matches!(name, "td" | "th")
}

/// Returns whether a start tag of `next` ends the open element `open`, whose end tag may be
/// omitted.
pub(super) fn ends(open: &str, next: &str) -> bool {
    match open {
        "p" => is_block(next) && !matches!(next, "br" | "body" | "html" | "head"),
        "li" | "option" | "tr" => open == next,
        "td" | "th" => is_cell(next) || next == "tr",
        "dt" | "dd" => matches!(next, "dt" | "dd"),
        _ => false,
    }
}
