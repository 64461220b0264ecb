//! Header fields of a message or part.

use std::fmt;

use super::section::{continues, line_end, split_field, without_end};
use super::words;

/// Iterator over the header fields of a part, in order.
#[derive(Clone)]
pub struct Fields<'m>(pub(super) &'m [u8]);

impl<'m> Iterator for Fields<'m> {
    type Item = Field<'m>;

    fn next(&mut self) -> Option<Field<'m>> {
        if self.0.is_empty() {
            return None;
        }
        let mut end = line_end(self.0, 0);
        while continues(&self.0[end..]) {
            end = line_end(self.0, end);
        }
        let (field, rest) = self.0.split_at(end);
        self.0 = rest;
        let field = without_end(field);
        let (name, value) = split_field(field).unwrap_or(("", field));
        let is_strict = field.get(name.len()) == Some(&b':');
        Some(Field { name, value, is_strict })
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone().map(|field| field.name)).finish()
    }
}

/// A header field.
#[derive(Clone, Copy)]
pub struct Field<'m> {
    name: &'m str,
    value: &'m [u8],
    /// Whether the colon follows the name without white space.
    pub(super) is_strict: bool,
}

impl<'m> Field<'m> {
    /// Returns the name as written. A line in the header section that is not a field has an empty
    /// name, and the whole line is its value.
    pub fn name(&self) -> &'m str {
        self.name
    }

    /// Returns the octets after the colon, still folded, without the final CRLF.
    pub fn value(&self) -> &'m [u8] {
        self.value
    }

    /// Returns the value as mail programs display it: unfolded, with encoded words (RFC 2047)
    /// decoded. Do not parse addresses from this text, because an encoded word may contain
    /// anything.
    pub fn text(&self) -> String {
        words::decode(self.value)
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field").field("name", &self.name).finish_non_exhaustive()
    }
}
