//! What was seen on the wire and in the scorers, apart from what the gate says of itself.

use super::coverage::At;

/// A client's session.
#[derive(Default)]
pub struct Session {
    /// Where the client stands; `None` before it connects.
    pub at: Option<At>,
    /// The gate serves it.
    pub live: bool,
    /// The client's connection.
    pub wire: Option<usize>,
    /// The connection to the onward server that was used last.
    pub onward: Option<usize>,
    pub mails: Vec<Mail>,
    /// The panel refused the connection: nothing of this session may go onward.
    pub barred: bool,
    /// An onward server said something before it was asked: its later replies answer nothing that
    /// can be told.
    pub lied_to: bool,
    /// Transactions that the gate says have ended.
    pub ended: usize,
    /// There were too many clients for it.
    pub turned_away: bool,
    /// It is answered slowly.
    pub tarpitted: bool,
    /// Unknown recipients of its that an onward server was asked about.
    pub harvested: usize,
    pub connected: usize,
    pub disconnected: usize,
    /// Mails that the gate says are unacknowledged.
    pub unacknowledged: Vec<usize>,
}

/// One mail that a client sends, in one transaction. Recipients are bits.
#[derive(Default)]
pub struct Mail {
    /// What must arrive.
    pub content: Vec<u8>,
    /// Recipients that a scorer refused.
    pub barred: u32,
    /// Recipients that the onward server said yes to.
    pub granted: u32,
    /// Recipients that the client was told yes of.
    pub told: u32,
    /// Why it must not go onward.
    pub forbidden: Option<&'static str>,
    /// The reply to its content, as the client read it.
    pub answer: Option<Vec<u8>>,
    /// Times that an onward server had all of it.
    pub kept: Vec<Kept>,
}

/// The onward server has this mail.
pub struct Kept {
    pub connection: usize,
    pub recipients: u32,
    /// What it said, if it said yes, and how many octets it had written with that.
    pub said: Option<(String, usize)>,
    pub is_whole: bool,
    /// Its yes is a plain one, which is not to be misunderstood.
    pub is_plain: bool,
}

/// The name of a mail in its addresses and its header: `m2.s17`.
pub fn name(session: usize, mail: usize) -> String {
    format!("m{mail}.s{session}")
}

/// The first such name in this text: session and mail.
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

/// The recipient in an address: `r1.m2.s17`.
pub fn recipient(text: &[u8]) -> Option<usize> {
    let at = text.windows(2).position(|pair| pair[0] == b'r' && pair[1].is_ascii_digit())?;
    number(&text[at + 1..]).0
}

fn number(text: &[u8]) -> (Option<usize>, &[u8]) {
    let digits = text.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let fold = |sum: usize, digit: &u8| sum * 10 + usize::from(digit - b'0');
    ((1..=6).contains(&digits).then(|| text[..digits].iter().fold(0, fold)), &text[digits..])
}

/// Whether `octets` hold this word.
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

/// Whether a CR or LF stands alone.
pub fn bare_line_ends(octets: &[u8]) -> bool {
    let pairs = octets.windows(2).filter(|pair| pair == b"\r\n").count();
    let ends = octets.iter().filter(|octet| matches!(octet, b'\r' | b'\n')).count();
    ends != 2 * pairs
}
