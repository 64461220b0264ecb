//! Observations on the wire and in the scorers, independent of the gate's own reports.

use super::coverage::At;

/// A client's session.
#[derive(Default)]
pub struct Session {
    /// The client's position; `None` before it connects.
    pub at: Option<At>,
    /// Whether the gate is serving it.
    pub live: bool,
    /// The client's connection.
    pub wire: Option<usize>,
    /// The onward connection that was used last.
    pub onward: Option<usize>,
    pub mails: Vec<Mail>,
    /// The panel refused the connection, so nothing of this session may be forwarded.
    pub barred: bool,
    /// An onward server sent an unsolicited reply. Its later replies cannot be matched to requests.
    pub lied_to: bool,
    /// Number of transactions that the gate has reported as ended.
    pub ended: usize,
    /// Whether it was turned away because of too many clients.
    pub turned_away: bool,
    /// Whether it is in the tarpit.
    pub tarpitted: bool,
    /// Number of its unknown recipients that an onward server was asked about.
    pub harvested: usize,
    pub connected: usize,
    pub disconnected: usize,
    /// Mails that the gate has reported as unacknowledged.
    pub unacknowledged: Vec<usize>,
}

/// A mail in one transaction. Sets of recipients are bit masks.
#[derive(Default)]
pub struct Mail {
    /// The content that must arrive.
    pub content: Vec<u8>,
    /// Recipients that a scorer refused.
    pub barred: u32,
    /// Recipients that the onward server accepted.
    pub granted: u32,
    /// Recipients that were accepted according to the client's replies.
    pub told: u32,
    /// The reason why it must not be forwarded, if any.
    pub forbidden: Option<&'static str>,
    /// The reply to its content, as read by the client.
    pub answer: Option<Vec<u8>>,
    /// Each time that an onward server received it completely.
    pub kept: Vec<Kept>,
}

/// A mail in an onward server's possession.
pub struct Kept {
    pub connection: usize,
    pub recipients: u32,
    /// Its positive reply, if any, and the number of octets written up to the end of that reply.
    pub said: Option<(String, usize)>,
    pub is_whole: bool,
    /// Whether its positive reply is unambiguous.
    pub is_plain: bool,
}

/// Returns the name of a mail in its addresses and its header: `m2.s17`.
pub fn name(session: usize, mail: usize) -> String {
    format!("m{mail}.s{session}")
}

/// Parses the first such name in the text. Returns session and mail.
pub fn named(text: &[u8]) -> Option<(usize, usize)> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|octet| *octet == b'm') {
        rest = &rest[at + 1..];
        let (mail, behind) = number(rest);
        if let (Some(mail), Some(behind)) = (mail, behind.strip_prefix(b".s"))
            && let (Some(session), _) = number(behind)
        {
            return Some((session, mail));
        }
    }
    None
}

/// Parses the number of the recipient in an address: `r1.m2.s17`.
pub fn recipient(text: &[u8]) -> Option<usize> {
    let at = text.windows(2).position(|pair| pair[0] == b'r' && pair[1].is_ascii_digit())?;
    number(&text[at + 1..]).0
}

fn number(text: &[u8]) -> (Option<usize>, &[u8]) {
    let digits = text.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let fold = |sum: usize, digit: &u8| sum * 10 + usize::from(digit - b'0');
    ((1..=6).contains(&digits).then(|| text[..digits].iter().fold(0, fold)), &text[digits..])
}

/// Returns whether `octets` contain this word.
pub fn holds(octets: &[u8], word: &[u8]) -> bool {
    let mut rest = octets;
    while let Some(at) = rest.iter().position(|octet| *octet == word[0]) {
        rest = &rest[at..];
        if rest.starts_with(word) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

/// Returns whether there is a bare CR or LF.
pub fn bare_line_ends(octets: &[u8]) -> bool {
    let pairs = octets.windows(2).filter(|pair| pair == b"\r\n").count();
    let ends = octets.iter().filter(|octet| matches!(octet, b'\r' | b'\n')).count();
    ends != 2 * pairs
}
