//! Command lines: replaces what they say about people and clients, so that the session reads the
//! same command.

use super::text::{Author, Known, Texts};
use super::{Pseudonyms, RecorderSettings};
use crate::wire::attributes::AttributeCommand;
use crate::wire::command::{Command, CommandFault, spaced};
use crate::wire::mailbox::SmtpPath;

/// ESMTP parameters whose values are no personal data.
const PLAIN: [&str; 6] = ["SIZE", "BODY", "SMTPUTF8", "RET", "NOTIFY", "PRDR"];
/// XCLIENT and XFORWARD attributes whose values are no personal data.
const PLAIN_ATTRIBUTES: [&str; 5] = ["PORT", "PROTO", "SOURCE", "DESTPORT", "IDENT"];

/// The replacement of names in commands.
pub(super) struct Commands<'s> {
    pub(super) names: &'s Pseudonyms,
    pub(super) settings: &'s RecorderSettings,
}

impl Commands<'_> {
    /// Returns a command line with its names replaced. Lines that are no commands keep their shape:
    /// every letter and digit becomes `X`. Notes the names in `known`.
    pub(super) fn conceal(&self, line: &[u8], known: &mut Known) -> Vec<u8> {
        let end =
            line.len() - line.iter().rev().take_while(|it| matches!(it, b'\r' | b'\n')).count();
        let (line, end) = line.split_at(end);
        let spaced = spaced(line);
        if let Some((command, argument)) = AttributeCommand::split(&spaced) {
            let verb = &spaced[..spaced.len() - argument.len()];
            let _ = command;
            return [verb, &self.attributes(argument, known), end].concat();
        }
        let concealed = match Command::parse(&spaced) {
            Ok(Command::Ehlo(name) | Command::Helo(name)) => {
                let at = verb_length(&spaced);
                [&spaced[..at], b" ", self.host(&name, known).as_bytes()].concat()
            }
            Ok(Command::Mail(path)) => self.path(&spaced, &path.path, known),
            Ok(Command::Rcpt(path)) => self.path(&spaced, &path.path, known),
            Ok(
                Command::Data
                | Command::Bdat { .. }
                | Command::Rset
                | Command::Quit
                | Command::StartTls,
            ) => line.to_vec(),
            Ok(Command::Noop | Command::Vrfy | Command::Expn | Command::Help) => {
                masked_behind(line, verb_length(line))
            }
            Err(fault) => self.faulty(line, fault),
        };
        [&concealed, end].concat()
    }

    /// Conceals a line that the session does not understand.
    fn faulty(&self, line: &[u8], fault: CommandFault) -> Vec<u8> {
        match fault {
            // An HTTP method stays, and so does the keyword of a MAIL or RCPT.
            CommandFault::Foreign if line[..verb_length(line)].ends_with(b":") => masked(line),
            CommandFault::Foreign | CommandFault::ChunkSize => {
                masked_behind(line, verb_length(line))
            }
            CommandFault::Unknown => masked(line),
            _ => {
                let colon = line.iter().position(|octet| *octet == b':');
                let keyword = colon.filter(|at| {
                    let word = line[verb_length(line)..*at].trim_ascii();
                    word.eq_ignore_ascii_case(b"FROM") || word.eq_ignore_ascii_case(b"TO")
                });
                masked_behind(line, keyword.unwrap_or_else(|| verb_length(line)))
            }
        }
    }

    /// Conceals the path of MAIL or RCPT, and its parameters.
    fn path(&self, line: &[u8], path: &SmtpPath, known: &mut Known) -> Vec<u8> {
        let colon = line.iter().position(|octet| *octet == b':').map_or(line.len(), |at| at + 1);
        let written = path.written();
        let parameters = line.get(colon + written.len()..).unwrap_or_default();
        let begin = &line[..colon];
        if !self.settings.hides_addresses() {
            return line.to_vec();
        }
        let indent = written.len() - written.trim_ascii_start().len();
        let is_bracketed = written[indent..].starts_with(b"<");
        let address = self.mailbox(path, known);
        let path = if is_bracketed { format!("<{address}>") } else { address };
        let parameters = parameters.split_inclusive(|octet| *octet == b' ');
        let parameters: Vec<u8> = parameters.flat_map(|word| self.parameter(word)).collect();
        [begin, &written[..indent], path.as_bytes(), &parameters].concat()
    }

    /// Returns the pseudonym of an address.
    fn mailbox(&self, path: &SmtpPath, known: &mut Known) -> String {
        let mailbox = path.canonical();
        if mailbox.is_null() {
            return String::new();
        }
        let local_part = self.names.local_part(&mailbox.local_part);
        let written = String::from_utf8_lossy(path.address()).into_owned();
        let Some(domain) = &mailbox.domain else {
            known.word(&mailbox.local_part, &local_part);
            return local_part;
        };
        let domain_name = self.names.domain(domain);
        let address = format!("{local_part}@{domain_name}");
        known.word(&written, &address);
        known.word(&mailbox.local_part, &local_part);
        known.domain(domain, &domain_name);
        address
    }

    fn parameter(&self, word: &[u8]) -> Vec<u8> {
        let name = word.split(|octet| matches!(octet, b'=' | b' ')).next().unwrap_or_default();
        let is_plain = PLAIN.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(name));
        if is_plain || !self.settings.hides_addresses() {
            return word.to_vec();
        }
        // ORCPT=rfc822;ADDRESS keeps its type (RFC 3461 section 4.2).
        let kind = word.iter().position(|octet| *octet == b';').unwrap_or(name.len());
        // `+` begins an encoded character in xtext, whose digits would be masked.
        let plus = |octet: u8| if octet == b'+' { b'X' } else { octet };
        let masked = masked_behind(word, kind);
        let (begin, value) = masked.split_at(kind.min(masked.len()));
        begin.iter().copied().chain(value.iter().copied().map(plus)).collect()
    }

    fn attributes(&self, argument: &[u8], known: &mut Known) -> Vec<u8> {
        let words = argument.split_inclusive(|octet| *octet == b' ');
        words.flat_map(|word| self.attribute(word, known)).collect()
    }

    fn attribute(&self, word: &[u8], known: &mut Known) -> Vec<u8> {
        let text = String::from_utf8_lossy(word);
        let Some((name, value)) = text.trim_end().split_once('=') else { return masked(word) };
        let space = &text[text.trim_end().len()..];
        let is = |other: &&str| name.eq_ignore_ascii_case(other);
        let value = if value.starts_with('[') || PLAIN_ATTRIBUTES.iter().any(&is) {
            value.to_owned()
        } else if is(&"ADDR") || is(&"DESTADDR") {
            let bare = value.get(5..).filter(|_| value.to_ascii_uppercase().starts_with("IPV6:"));
            let texts = Texts { names: self.names, settings: self.settings, known, host: "" };
            match bare {
                Some(bare) => value[..5].to_owned() + &texts.conceal(bare, Author::Other),
                None => texts.conceal(value, Author::Other),
            }
        } else if is(&"NAME") || is(&"REVERSE_NAME") || is(&"HELO") {
            self.host(value, known)
        } else if is(&"LOGIN") && self.settings.hides_addresses() {
            let login = self.names.local_part(value);
            known.word(value, &login);
            login
        } else if self.settings.hides_names() {
            String::from_utf8_lossy(&masked(value.as_bytes())).into_owned()
        } else {
            value.to_owned()
        };
        format!("{name}={value}{space}").into_bytes()
    }

    /// Returns the pseudonym of the name of a client.
    pub(super) fn host(&self, name: &str, known: &mut Known) -> String {
        if !self.settings.hides_names() {
            return name.to_owned();
        }
        let inner = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let ip = |text: &str| {
            let bare = text.get(5..).filter(|_| text.to_ascii_uppercase().starts_with("IPV6:"));
            let address = bare.unwrap_or(text).parse().ok()?;
            let concealed = self.names.address(address, self.settings.clients);
            Some(bare.map_or("", |_| &text[..5]).to_owned() + &concealed.to_string())
        };
        if let Some(literal) = inner.and_then(ip) {
            return format!("[{literal}]");
        }
        if let Some(address) = ip(name) {
            return address;
        }
        let pseudonym = self.names.domain(name);
        known.domain(name, &pseudonym);
        known.word(name, &pseudonym);
        pseudonym
    }
}

/// Returns the length of the verb, with the spaces before it.
fn verb_length(line: &[u8]) -> usize {
    let is_space = |octet: &u8| matches!(octet, b' ' | b'\t');
    let spaces = line.iter().take_while(|octet| is_space(octet)).count();
    spaces + line[spaces..].iter().take_while(|octet| !is_space(octet)).count()
}

/// Returns the line with every letter and digit from `at` on replaced by `X`.
fn masked_behind(line: &[u8], at: usize) -> Vec<u8> {
    let (begin, rest) = line.split_at(at.min(line.len()));
    [begin, &masked(rest)].concat()
}

/// Returns octets with every letter and digit replaced by `X`, so that lengths and marks stay.
pub(super) fn masked(octets: &[u8]) -> Vec<u8> {
    let hidden = |octet: &u8| octet.is_ascii_alphanumeric() || *octet >= 0x80;
    octets.iter().map(|octet| if hidden(octet) { b'X' } else { *octet }).collect()
}
