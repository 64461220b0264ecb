//! The author domains of a message: the domains in its `From` fields.

mod address;
mod domain;
mod field;

use crate::dns::DomainName;
use crate::message::Message;

/// Maximum number of author domains. If there are more, the first ones and the last one are kept,
/// because mail programs show the first or the last address.
pub(super) const DOMAINS: usize = 8;
/// Maximum number of octets of all `From` fields that are read.
const OCTETS: usize = 64 << 10;

/// The domains that a mail program may take for the domain of the author.
///
/// They are read from all `From` fields of the relayed header section. Mail programs interpret
/// malformed fields in different ways, so this parser accepts more than RFC 5322 allows:
///
/// - It reads obsolete syntax, groups, and source routes (each domain of a route may be the author's).
/// - It ignores comments and quoted strings, in display names as well. If there is no other address, it
///   reads the addresses in them.
/// - It also reads text that is decoded from encoded words (RFC 2047), and addresses in an unquoted
///   display name or in a quoted local part.
/// - If a comment or quoted string is unclosed, has escapes or is folded, it also reads the field as
///   programs do that end it elsewhere.
/// - If a domain contains blanks or invalid characters, it reads the domain without the blanks, and
///   the parts between the characters.
/// - It reads `From` fields after a line that is not a header field, and `From` fields whose name
///   some programs do not recognise.
///
/// U-labels are converted to A-labels (RFC 9989 section 5.3.1). Reading takes linear time.
///
/// ```
/// use std::time::SystemTime;
/// use nobounce::Message;
/// use nobounce::authentication::Authors;
/// use nobounce::message::MailData;
/// use nobounce::testing::envelope;
///
/// let authors = |field: &str| {
///     let content = MailData::normalise(format!("{field}\r\n\r\n").as_bytes());
///     Authors::read(&Message::new("mx", &envelope("<>"), SystemTime::now(), content))
/// };
/// let one = authors("From: \"info@example.net\" <ann(or bob)@Example . ORG>");
/// assert_eq!(one.domains().iter().map(|it| &**it).collect::<Vec<_>>(), ["example.org"]);
/// assert!(!one.are_several() && one.malformation().is_none());
///
/// assert!(authors("From: a@example.org, b@example.net").are_several());
/// assert_eq!(authors("From: <a@example.org").malformation(), Some("an address without its end"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authors {
    domains: Vec<DomainName>,
    /// Number of `From` fields.
    fields: usize,
    /// Whether there are more than [`DOMAINS`].
    omitted: bool,
    fault: Option<AuthorFault>,
}

/// Reason why programs may disagree about the author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AuthorFault {
    NoField,
    NoDomain,
    Name,
    TooLong,
    Comment,
    QuotedString,
    Angle,
    Brackets,
    Address,
    Domain,
    Character,
    Encoded,
}

impl AuthorFault {
    fn text(self) -> &'static str {
        match self {
            Self::NoField => "no From field",
            Self::NoDomain => "no author domain",
            Self::Name => "a From field with a malformed name",
            Self::TooLong => "From fields of more than 65,536 octets",
            Self::Comment => "a comment without its end",
            Self::QuotedString => "a quoted string without its end",
            Self::Angle => "an address without its end",
            Self::Brackets => "angle brackets that do not match",
            Self::Address => "a malformed address",
            Self::Domain => "an invalid domain",
            Self::Character => "a character that is not allowed",
            Self::Encoded => "an address in an encoded word",
        }
    }
}

impl Authors {
    /// Reads the `From` fields of a message.
    pub fn read(message: &Message) -> Self {
        let mut authors = Self::default();
        field::each(message.segments(), OCTETS, |field| {
            authors.fields += 1;
            if !field.is_well_formed {
                authors.note(AuthorFault::Name);
            }
            if field.is_truncated {
                authors.note(AuthorFault::TooLong);
            }
            address::read(&field.value, &mut authors);
        });
        match authors.fields {
            0 => authors.note(AuthorFault::NoField),
            _ if authors.domains.is_empty() => authors.note(AuthorFault::NoDomain),
            _ => {}
        }
        authors
    }

    /// Returns the distinct domains in the order of the message. If there are more than 8, returns
    /// the first 7 and the last one.
    pub fn domains(&self) -> &[DomainName] {
        &self.domains
    }

    /// Returns whether the message has addresses in several domains, or several `From` fields.
    pub fn are_several(&self) -> bool {
        self.domains.len() > 1 || self.fields > 1
    }

    /// Returns whether there are more domains than [`domains`](Self::domains) returns.
    pub fn are_truncated(&self) -> bool {
        self.omitted
    }

    /// Returns the reason why programs may disagree about the author, other than the number of
    /// fields and domains. `None` if the author is clear.
    pub fn malformation(&self) -> Option<&'static str> {
        self.fault.map(AuthorFault::text)
    }

    /// Adds a domain. Returns whether it is new.
    fn add(&mut self, domain: DomainName) -> bool {
        if self.domains.contains(&domain) {
            return false;
        }
        if self.domains.len() == DOMAINS {
            self.domains.pop();
            self.omitted = true;
        }
        self.domains.push(domain);
        true
    }

    /// Notes a fault. The first one counts.
    fn note(&mut self, fault: AuthorFault) {
        self.fault.get_or_insert(fault);
    }
}
