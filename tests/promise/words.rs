//! All replies to clients come from this table, from the panel or from the onward server.

use proptest::prelude::*;

use super::cases::case;
use super::gate::Judgement;
use super::oracle::{Reply, read_replies};
use super::server::Said;
use super::truth::play;

/// All replies of the gate itself.
const OURS: &[&str] = &[
    "220 gate.example ESMTP nobounce",
    "221 2.0.0 Bye",
    "214 2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT",
    "250 2.0.0 Ok",
    "250 2.1.0 Sender ok",
    "250 2.0.0 Chunk received",
    "250 gate.example",
    "252 2.5.0 Cannot verify the user, try RCPT",
    "354 End data with <CR><LF>.<CR><LF>",
    "421 4.3.0 Checks timed out, try again later",
    "421 4.4.2 Timeout exceeded, closing connection",
    "421 4.3.2 Service shutting down, try again later",
    "421 4.5.2 Command line too long",
    "421 4.7.0 Too many commands without a message",
    "421 4.7.0 Too many errors",
    "421 4.7.0 Too many messages in one session",
    "451 4.3.0 The next server sent an invalid reply, try again later",
    "451 4.4.1 The next server cannot be reached, try again later",
    "451 4.4.2 The connection to the next server was lost, try again later",
    "451 4.4.7 The next server did not answer in time, try again later",
    "451 4.3.0 Checks timed out, try again later (S.",
    "451 4.3.5 The next server does not offer a required extension, send EHLO again",
    "451 4.3.5 The next server does not accept your identity, try again later",
    "451 4.5.0 The next server accepted it for some recipients only, try again later",
    "452 4.5.3 Only one recipient per transaction, send to the others separately",
    "452 4.5.3 Too many recipients, send the rest in another transaction",
    "500 5.5.1 Command not recognised",
    "500 5.5.2 Bare CR received, lines must end in CRLF",
    "521 5.5.2 Bare LF received, lines must end in CRLF",
    "500 5.5.2 Control character in command",
    "500 5.5.2 Line too long",
    "501 5.1.3 Bad recipient address syntax",
    "501 5.1.7 Bad sender address syntax",
    "501 5.5.4 Invalid or repeated parameter",
    "501 5.5.4 Syntax: ",
    "502 5.5.1 Command not implemented",
    "503 5.5.1 An earlier chunk was refused, send RSET",
    "503 5.5.1 Not allowed within a mail transaction",
    "503 5.5.1 Only BDAT or RSET may follow BDAT",
    "503 5.5.1 Send EHLO first",
    "503 5.5.1 Send MAIL first",
    "521 5.5.1 Protocol error, this is an SMTP server",
    "550 5.5.2 Message contains bare CR or LF, lines must end in CRLF",
    "552 5.3.4 Message size exceeds the limit",
    "554 5.5.0 SMTP protocol synchronization error",
    "554 5.5.1 No valid recipients",
    "555 5.5.4 Unsupported parameter",
];

/// Returns whether the reply is in the table, is from the panel (it ends in the reference of its
/// transaction), or was sent by the onward server, octet for octet.
pub fn is_known(reply: &Reply, said: &[Said]) -> bool {
    let text = String::from_utf8_lossy(&reply.octets);
    let flat = text.replacen('-', " ", 1);
    OURS.iter().any(|ours| flat.starts_with(ours))
        || (reply.is_no() && text.trim_end().ends_with(')') && text.contains(" (S."))
        || said.iter().any(|said| said.text == reply.octets)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    /// P7: with a panel without objections, every reply is from the table or from the onward
    /// server.
    #[test]
    fn replies_contain_no_internal_text(case in case()) {
        let mut case = case;
        case.judgements.retain(|judgement| !matches!(judgement, Judgement::Refuse(_)));
        let (gate, _) = play(&case);
        for reply in read_replies(&gate.to_client).0 {
            let text = String::from_utf8_lossy(&reply.octets);
            prop_assert!(is_known(&reply, &gate.server.said), "{text}");
            let own_reference = text.starts_with("451 4.3.0 Checks timed out");
            prop_assert!(own_reference || !text.contains("(S."), "{text}");
        }
    }
}
