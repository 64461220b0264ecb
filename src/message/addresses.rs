//! Addresses and dates in header fields, as mail programs display them.

use std::time::{Duration, SystemTime};

use mail_parser::parsers::MessageStream;
use mail_parser::{Addr, HeaderValue};

use super::Field;

/// Maximum number of octets of a field that are parsed.
const OCTETS: usize = 16 << 10;

/// An address in a header field, as mail programs display it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldAddress {
    /// The display name with encoded words decoded, or a comment in its place.
    pub name: Option<Box<str>>,
    /// The address as written, without angle brackets: not validated and not canonical. `None` if
    /// there is only a name.
    pub address: Option<Box<str>>,
}

impl Field<'_> {
    /// Returns the value as a list of addresses (RFC 5322 section 3.4), for example of `From`, `To`
    /// or `Reply-To`. Members of groups are listed without the name of their group. Of a field with
    /// more than 16 KiB, the beginning is parsed.
    ///
    /// This is what a reader sees. Programs differ in how they read malformed fields: for decisions
    /// about the author's domain, use `authentication::Authors`.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use nobounce::Message;
    /// use nobounce::message::MailData;
    /// use nobounce::testing::envelope;
    ///
    /// let content = MailData::normalise(b"To: =?utf-8?q?J=C3=BCrgen?= <j@example.org>, k@example.net\r\n\r\n");
    /// let message = Message::new("mx.example", &envelope("<>"), SystemTime::now(), content);
    /// let to = message.view().field("To").unwrap().addresses();
    /// assert_eq!(to[0].name.as_deref(), Some("Jürgen"));
    /// assert_eq!(to[0].address.as_deref(), Some("j@example.org"));
    /// assert_eq!(to[1].address.as_deref(), Some("k@example.net"));
    /// ```
    pub fn addresses(&self) -> Vec<FieldAddress> {
        match MessageStream::new(&self.complete()).parse_address() {
            HeaderValue::Address(list) => list.iter().map(FieldAddress::from).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the value as a date (RFC 5322 section 3.3), for example of `Date`. `None` if it is
    /// not one, or lies before 1970.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime, UNIX_EPOCH};
    /// use nobounce::Message;
    /// use nobounce::message::MailData;
    /// use nobounce::testing::envelope;
    ///
    /// let content = MailData::normalise(b"Date: Thu, 1 Jan 1970 02:00:00 +0100\r\n\r\n");
    /// let message = Message::new("mx.example", &envelope("<>"), SystemTime::now(), content);
    /// let date = message.view().field("Date").unwrap().date();
    /// assert_eq!(date, Some(UNIX_EPOCH + Duration::from_secs(3_600)));
    /// ```
    pub fn date(&self) -> Option<SystemTime> {
        match MessageStream::new(&self.complete()).parse_date() {
            HeaderValue::DateTime(date) if date.is_valid() => {
                let seconds = u64::try_from(date.to_timestamp()).ok()?;
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
            }
            _ => None,
        }
    }

    /// Returns the value with its line end, which the parser needs.
    fn complete(&self) -> Vec<u8> {
        let value = self.value();
        [&value[..value.len().min(OCTETS)], b"\r\n"].concat()
    }
}

impl From<&Addr<'_>> for FieldAddress {
    fn from(parsed: &Addr<'_>) -> Self {
        Self {
            name: parsed.name.as_deref().map(Box::from),
            address: parsed.address.as_deref().map(Box::from),
        }
    }
}

#[cfg(test)]
mod tests;
