//! The host name of this server.

use std::fmt;
use std::ops::Deref;

/// Host name of this server, valid in greetings, EHLO and trace headers. It contains letters,
/// digits, and the other characters of a domain name or an address literal (RFC 5321 section
/// 4.1.2). The maximum length is 255 octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(Box<str>);

impl HostName {
    /// Creates the name. Invalid characters become hyphens. An empty name becomes `localhost`.
    pub fn new(name: &str) -> Self {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || ".-_[]:".contains(c) { c } else { '-' }
        };
        let name: String = name.chars().take(255).map(plain).collect();
        Self(if name.is_empty() { "localhost".into() } else { name.into() })
    }
}

impl Deref for HostName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for HostName {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::HostName;

    #[test]
    fn names_do_not_break_lines() {
        for (name, expected) in [
            ("mx.example.org", "mx.example.org"),
            ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("mx\r\nRCPT TO:<a@b>", "mx--RCPT-TO:-a-b-"),
            ("m\u{fc}nchen.example", "m-nchen.example"),
            ("", "localhost"),
        ] {
            assert_eq!(&*HostName::new(name), expected);
        }
        assert_eq!(HostName::new(&"x".repeat(300)).len(), 255);
    }
}
