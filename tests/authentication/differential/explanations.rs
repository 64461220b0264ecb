//! Why another implementation comes to another result, each with the paragraph that decides.

use nobounce::authentication::dkim::SignatureResult::{Fail, Pass, Policy};
use nobounce::authentication::dkim::Verification;

use super::mutations::Mail;

/// Returns the explanation of a difference. A fault of one implementation only explains it if the
/// other one agrees with us (`is_alone`), or does not know the algorithm.
pub(super) fn find(
    who: &str,
    is_alone: bool,
    mail: &Mail,
    text: &str,
    ours: &Verification,
    theirs: &str,
) -> Option<&'static str> {
    let record = mail.record.as_deref().unwrap_or_default();
    let (header, _) = text.split_once("\r\n\r\n")?;
    let reason = ours.reason.as_deref().unwrap_or_default();
    let lines = || header.split("\r\n");
    let of = |tag: &str| {
        let mut tags = mail.signature.split(';').filter_map(|it| it.split_once('='));
        tags.find(|(name, _)| name.trim() == tag).map_or("", |(_, value)| value)
    };
    let (dkimpy, perl) = (is_alone && who == "dkimpy", is_alone && who == "Mail::DKIM");
    let explanations = [
        (
            ours.result == Policy && reason.starts_with("l="),
            "l= that does not cover the body: nothing stops anybody who appends (RFC 6376 section 8.2)",
        ),
        (
            who == "Mail::DKIM" && theirs.contains("unsupported algorithm ed25519"),
            "Mail::DKIM of Debian 12 has no Ed25519 (RFC 8463)",
        ),
        (
            dkimpy && theirs.contains("Unexpected characters in RFC822 header"),
            "dkimpy does not take white space before the colon (RFC 5322 section 4.5)",
        ),
        (
            dkimpy && lines().any(|line| line.starts_with("From :")),
            "dkimpy takes `From :` for a separator of an mbox file (RFC 5322 section 4.5)",
        ),
        (
            dkimpy && reason == "the key is not for SHA-256",
            "dkimpy does not know h= of key records (RFC 6376 section 3.6.1)",
        ),
        (
            dkimpy && ours.result == Fail && mail.signature.ends_with("\r\n \r\n"),
            "dkimpy deletes more than the last CRLF of the signature field (RFC 6376 section 3.7)",
        ),
        (
            dkimpy
                && theirs == "mismatch"
                && lines().filter(|line| line.to_lowercase().starts_with("from")).count() > 1,
            "dkimpy signs every From, whether h= names it or not (RFC 6376 section 5.4.2)",
        ),
        (
            dkimpy && theirs == "mismatch" && of("b").ends_with([' ', '\t', '\r', '\n']),
            "dkimpy does not delete the white space after b= (RFC 6376 section 3.7)",
        ),
        (
            dkimpy && theirs.contains("not valid base64") && ours.result == Pass,
            "dkimpy expects padding, which RFC 6376 section 2.10 makes optional",
        ),
        (
            perl && matches!(reason, "malformed b=" | "malformed bh="),
            "Mail::DKIM ignores what is no base64 (RFC 6376 section 2.10)",
        ),
        (
            reason == "the key does not allow subdomains in i=",
            "the other does not know t=s (RFC 6376 section 3.6.1)",
        ),
        (
            perl && reason == "malformed key record"
                && ["broken", ";;", "v=DKIM1; v=DKIM1"].iter().any(|it| record.contains(it)),
            "Mail::DKIM ignores faults of tag lists (RFC 6376 section 3.2)",
        ),
        (
            perl && reason == "a line of the header section is not a header field"
                && lines().any(|line| !line.contains(':') && !line.starts_with([' ', '\t'])),
            "Mail::DKIM joins lines before it looks for a colon (RFC 5322 section 2.2)",
        ),
    ];
    explanations.iter().find(|(is_so, _)| *is_so).map(|(_, why)| *why)
}
