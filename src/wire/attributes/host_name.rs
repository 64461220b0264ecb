//! Host names that Postfix accepts in XCLIENT and XFORWARD.

/// Longest name in octets (Postfix `VALID_HOSTNAME_LEN`; RFC 1035 section 2.3.4 allows 253 in this
/// form).
const NAME: usize = 255;
/// Longest label in octets (RFC 1035 section 2.3.4).
const LABEL: usize = 63;

/// Returns the name in a form that Postfix accepts, without a trailing dot. Returns `None` if
/// Postfix would refuse it.
///
/// The name comes from DNS, where its owner can write anything: `203.0.113.7.`,
/// `host-.isp.example.`, `*.example`. Postfix answers such a NAME with 501, and then the client
/// could not be identified at all. The rules are those of Postfix `valid_hostname`: labels consist
/// of letters, digits, `_` and inner hyphens, and the name must not consist of digits and dots
/// alone.
pub(super) fn valid(name: &str) -> Option<&str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        (1..=LABEL).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = name.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    (name.len() <= NAME && !is_number && name.split('.').all(is_label)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::valid;

    #[test]
    fn names_that_postfix_refuses_are_unavailable() {
        let [longest, longer] = [127, 128].map(|count| "a.".repeat(count) + "a");
        for (name, expected) in [
            ("mail.example.org", Some("mail.example.org")),
            ("mail.example.org.", Some("mail.example.org")),
            ("MAIL.example", Some("MAIL.example")),
            ("localhost", Some("localhost")),
            ("a_b._c", Some("a_b._c")),
            ("1-2.3", Some("1-2.3")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            (&longest, Some(&*longest)),
            (&longer, None),
            (&("x".repeat(63) + ".b"), Some(&*("x".repeat(63) + ".b"))),
            (&("x".repeat(64) + ".b"), None),
            ("203.0.113.7", None),
            ("203.0.113.7.", None),
            ("7", None),
            ("host-.isp.example.", None),
            ("-host.example", None),
            ("a.-", None),
            ("*.example", None),
            ("a..b", None),
            ("a..", None),
            (".a", None),
            (".", None),
            ("", None),
            ("gr\u{fc}n.example", None),
            ("a b", None),
            ("a\0b", None),
            ("[192.0.2.1]", None),
            ("2001:db8::1", None),
            ("a/b", None),
            ("a=b", None),
            ("[UNAVAILABLE]", None),
        ] {
            assert_eq!(valid(name), expected, "{name:?}");
        }
    }
}
