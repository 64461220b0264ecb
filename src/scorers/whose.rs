//! The keys under which clients, senders and recipients are remembered.

use crate::network::Network;
use crate::peer::Peer;
use crate::wire::mailbox::SmtpPath;

/// The prefix lengths of the network under which a client is remembered. Default: 24 bits for IPv4
/// and 64 for IPv6. Large senders often retry from a neighbouring address, and postgrey uses `/24`
/// for that reason. The owner of one IPv6 address usually has 2⁶⁴ of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    ipv4: u32,
    ipv6: u32,
}

impl Widths {
    /// Creates prefix lengths, limited to 32 and 128 bits.
    pub const fn new(ipv4: u32, ipv6: u32) -> Self {
        let ipv4 = if ipv4 > 32 { 32 } else { ipv4 };
        Self { ipv4, ipv6: if ipv6 > 128 { 128 } else { ipv6 } }
    }

    /// Returns the network of a client, or `None` if it has no address.
    pub fn network(self, peer: &Peer) -> Option<Network> {
        let address = peer.address?.ip();
        Some(Network::of(address, if address.is_ipv4() { self.ipv4 } else { self.ipv6 }))
    }
}

impl Default for Widths {
    fn default() -> Self {
        Self::new(24, 64)
    }
}

/// Returns the key of a mailbox: its canonical form in lower case.
pub(super) fn mailbox(path: &SmtpPath) -> String {
    path.canonical().to_string().to_lowercase()
}

/// Removes the parts of a mailbox that change from message to message: the extension after `+`, and
/// numbers, which become `#`. (postgrey does the same for the senders of mailing lists.)
pub(super) fn steady(mailbox: &str) -> String {
    let (local_part, domain) = match mailbox.rsplit_once('@') {
        Some((local_part, domain)) => (local_part, Some(domain)),
        None => (mailbox, None),
    };
    let local_part = local_part.split_once('+').map_or(local_part, |(user, _)| user);
    let mut steady = String::new();
    for part in local_part.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let word = part.trim_end_matches(|c: char| !c.is_alphanumeric());
        let is_number = !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_digit());
        steady.push_str(if is_number { "#" } else { word });
        steady.push_str(&part[word.len()..]);
    }
    if let Some(domain) = domain {
        steady.push('@');
        steady.push_str(domain);
    }
    steady
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::envelope;

    #[test]
    fn mailbox_key_is_canonical() {
        let table = [
            ("<Alice@Example.ORG>", "alice@example.org", "alice@example.org"),
            ("<@hop.example:alice@example.org>", "alice@example.org", "alice@example.org"),
            ("<alice+list@example.org>", "alice+list@example.org", "alice@example.org"),
            (
                "<news-4711-bob=example.net@lists.example>",
                "news-4711-bob=example.net@lists.example",
                "news-#-bob=example.net@lists.example",
            ),
            ("<b12-12c-3@example.org>", "b12-12c-3@example.org", "b12-12c-#@example.org"),
            ("<postmaster>", "postmaster", "postmaster"),
            ("<\"Alice+list\"@EXAMPLE.org.>", "alice+list@example.org", "alice@example.org"),
            ("<alice%example.org@example.org>", "alice@example.org", "alice@example.org"),
            ("<a@b@example.org>", "a@b@example.org", "a@b@example.org"),
            ("<a b>", "ab", "ab"),
            ("<>", "", ""),
        ];
        for (written, plain, unchanging) in table {
            let path = envelope(written).reverse_path.path;
            assert_eq!(mailbox(&path), plain);
            assert_eq!(steady(&mailbox(&path)), unchanging);
        }
    }
}
