//! Unusual spellings of commands in several chunkings: the replies of Postfix 3.7 and of a session.
//! Lines that both accept are executed. A malformed command line never is.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test")]

use std::time::{Instant, SystemTime};

use nobounce::envelope::SessionId;
use nobounce::session::Capabilities;
use nobounce::{Outcome, Peer, Receipt, Request, Session, Settings, Step, Verdict};

/// The result of a session when it waits for its client or is over.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    replies: Vec<String>,
    /// Senders and recipients that passed the session.
    recipients: usize,
    is_closed: bool,
}

/// Runs a client that sends these groups, each cut into pieces of `size` octets.
fn heard(settings: &Settings, groups: &[&[u8]], size: usize) -> Heard {
    let (now, id) = (Instant::now(), SessionId::new("test"));
    let peer = Peer::new(([192, 0, 2, 1], 4711).into());
    let mut session = Session::new(settings.clone().into(), id, peer, now, SystemTime::UNIX_EPOCH);
    session.offer(&Capabilities::all());
    let mut heard = Heard { replies: Vec::new(), recipients: 0, is_closed: false };
    let pieces = groups.iter().flat_map(|group| group.chunks(size));
    for piece in [&b""[..]].into_iter().chain(pieces) {
        session.receive(piece);
        loop {
            match session.poll(now) {
                Step::Transmit(octets) => {
                    let lines = str::from_utf8(&octets).unwrap().lines().map(str::to_owned);
                    heard.replies.extend(lines.filter(|line| line.as_bytes()[3] == b' '));
                }
                Step::Receive => break,
                Step::Ask(question) => question.answer(Verdict::Pass),
                Step::Forward(forward) => {
                    let (request, pending) = forward.take();
                    let receipt = match request {
                        Request::Recipient(..) | Request::Renewal(_) => Receipt::recipient(),
                        Request::Content(..) | Request::Answer(..) => Receipt::kept("1"),
                    };
                    heard.recipients += 1;
                    pending.complete(Outcome::Accepted(receipt));
                }
                Step::Ended(_) => {}
                Step::StartTls => panic!("not offered"),
                Step::Close => {
                    heard.is_closed = true;
                    break;
                }
            }
        }
    }
    heard
}

const SIZES: [usize; 4] = [1, 2, 7, usize::MAX];

/// Checks that the result is the same in every chunking.
fn heard_in_every_chunking(settings: &Settings, groups: &[&[u8]]) -> Heard {
    let whole = heard(settings, groups, usize::MAX);
    for size in SIZES {
        let shown: Vec<_> = groups.iter().map(|group| group.escape_ascii().to_string()).collect();
        assert_eq!(heard(settings, groups, size), whole, "{shown:?} in pieces of {size}");
    }
    whole
}

const EHLO: &[u8] = b"EHLO c\r\n";
const MAIL: &[u8] = b"MAIL FROM:<a@b.example>\r\n";
const RCPT: &[u8] = b"RCPT TO:<c@example.com>\r\n";
/// Octets that must not be read as commands.
const CHUNK: &[u8] = b"RSET\r\nMAIL FROM:<x@y>\r\nRCPT TO:<z@example.com>\r\nDATA\r\n";

/// Returns the states in which BDAT may arrive, each with the input that leads to it.
fn states() -> [(&'static str, Settings, Vec<&'static [u8]>); 10] {
    let settings = Settings::new("mx.example");
    let mut without_chunking = settings.clone();
    without_chunking.capabilities.chunking = false;
    let mut small = settings.clone();
    small.limits.content = 2;
    let chunk = &b"BDAT 3\r\nx\r\n"[..];
    [
        ("before EHLO", settings.clone(), vec![]),
        ("after HELO", settings.clone(), vec![b"HELO c\r\n"]),
        ("no transaction", settings.clone(), vec![EHLO]),
        ("no recipient", settings.clone(), vec![EHLO, MAIL]),
        ("recipient", settings.clone(), vec![EHLO, MAIL, RCPT]),
        ("not offered", without_chunking, vec![EHLO, MAIL, RCPT]),
        ("chunks", settings.clone(), vec![EHLO, MAIL, RCPT, chunk]),
        ("spoiled", small, vec![EHLO, MAIL, RCPT, chunk]),
        ("DATA refused", settings.clone(), vec![EHLO, MAIL, b"DATA\r\n"]),
        ("after a message", settings, vec![EHLO, MAIL, RCPT, b"BDAT 0 LAST\r\n"]),
    ]
}

#[test]
fn a_faulty_bdat_line_closes_the_session_in_every_state() {
    let long = [b"BDAT 6 ", &b" ".repeat(3_000)[..], b"\r\n"].concat();
    let late = [&b" ".repeat(2_047)[..], b"BDAT 6\r\n"].concat();
    let split = [&b" ".repeat(2_046)[..], b"BDAT 6\r\n"].concat();
    let wordy = [b"bdat 6 LAST ", &b"x".repeat(70_000)[..], b"\r\n"].concat();
    let faulty: [&[u8]; 38] = [
        b"BDAT 6 LAST\n",
        b"BDAT 6\n",
        b"BDAT\n",
        b"BDAT 6\nx\r\n",
        b"BDAT 6 LAST\r\r\n",
        b"BDAT\r\r\n",
        b"BDAT\r6\r\n",
        b"BDAT 6\rLAST\r\n",
        b"BDAT 6\0 LAST\r\n",
        b"BDAT\0 6 LAST\r\n",
        b"\0BDAT 6 LAST\r\n",
        b"\r BDAT 6 LAST\r\n",
        b" \tbdat\t6\x01\r\n",
        b"BDAT 6\x0bLAST\r\n",
        b"BDAT 6\x7f\r\n",
        b"BDAT\r\n",
        b"BDAT \r\n",
        b" BDAT\t\r\n",
        b"bdat x\r\n",
        b"BDAT LAST\r\n",
        b"BDAT 6 6\r\n",
        b"BDAT 6 LAST x\r\n",
        b"BDAT 6 LASTx\r\n",
        b"BDAT 6LAST\r\n",
        b"BDAT -1\r\n",
        b"BDAT +6\r\n",
        b"BDAT 6.\r\n",
        b"BDAT 0x6\r\n",
        b"BDAT \"6\"\r\n",
        b"BDAT 6\x80\r\n",
        b"BDAT \xd9\xa5\r\n",
        b"BDAT 18446744073709551622\r\n",
        b"BDAT 99999999999999999999 LAST\r\n",
        b"BDAT 9223372036854775808\r\n",
        &long,
        &late,
        &split,
        &wordy,
    ];
    for (state, settings, said) in states() {
        let before = heard(&settings, &said, usize::MAX);
        assert!(!before.is_closed, "{state}");
        for line in faulty {
            let mut groups = said.clone();
            groups.push(line);
            groups.push(CHUNK);
            let after = heard_in_every_chunking(&settings, &groups);
            let shown = &line[..line.len().min(40)].escape_ascii().to_string();
            assert!(after.is_closed, "{state}: {shown}");
            assert_eq!(after.recipients, before.recipients, "{state}: {shown}");
            assert_eq!(after.replies.len(), before.replies.len() + 1, "{state}: {shown}");
            let reply = after.replies.last().unwrap();
            assert!(reply.starts_with("521 5.5.4 "), "{state}: {shown}: {reply}");
        }
    }
}

#[test]
fn a_sound_bdat_line_is_followed_by_a_chunk_in_every_state() {
    // A chunk of six octets that look like a command.
    let sound: [&[u8]; 6] = [
        b"BDAT 6\r\nQUIT\r\n",
        b"bdat  6 \r\nQUIT\r\n",
        b"BDAT\t6\r\nQUIT\r\n",
        b" \tBDAT \t 6\t\r\nQUIT\r\n",
        b"BDAT 006\r\nQUIT\r\n",
        b"BDAT 6 LAST\r\nQUIT\r\n",
    ];
    for (state, settings, said) in states() {
        let before = heard(&settings, &said, usize::MAX);
        for line in sound {
            let groups = [&said[..], &[line]].concat();
            let after = heard_in_every_chunking(&settings, &groups);
            assert!(!after.is_closed, "{state}: {}", line.escape_ascii());
            assert_eq!(after.replies.len(), before.replies.len() + 1, "{state}");
        }
    }
}

/// Lines without CR: the first is answered at once, and none is executed.
#[test]
fn bare_lf_in_command_is_refused() {
    let settings = Settings::new("mx.example");
    for line in ["EHLO c\n", "\n", "NOOP\nNOOP\r\n", "FOO\n", "EHLO c\n\r\n", "\r\nNOOP\n"] {
        let after = heard_in_every_chunking(&settings, &[line.as_bytes(), CHUNK]);
        assert!(after.is_closed, "{line:?}");
        let reply = after.replies.last().unwrap();
        assert!(reply.starts_with("521 5.5.2 Bare LF"), "{line:?}: {reply}");
        assert!(!after.replies.iter().any(|reply| reply.starts_with("250")), "{line:?}");
    }
    for line in [&b"RCPT TO:<x@y>\n"[..], b"RCPT TO:<x@y>\nRCPT TO:<z@example.com>\r\n"] {
        let after = heard_in_every_chunking(&settings, &[EHLO, MAIL, RCPT, line, CHUNK]);
        assert!(after.is_closed && after.recipients == 1);
    }
}

/// A line, the code of Postfix's reply, and the code of ours.
type Spelling = (&'static str, u16, u16);

/// Replies of Postfix 3.7.11 with `smtpd_forbid_bare_newline` and otherwise default settings. Where
/// a session differs, it is stricter on purpose: control octets make a line malformed. Parameters
/// that were not offered and duplicate parameters are refused.
const FIRST: &[Spelling] = &[
    ("EHLO  c", 250, 250),
    ("EHLO\tc", 250, 250),
    (" EHLO c", 250, 250),
    ("EHLO c d", 250, 250),
    ("EHLO c \t", 250, 250),
    ("EHLO", 501, 501),
    ("EHLO \t", 501, 501),
    ("EHLO c\r", 250, 500),
    ("EHLO c\rd", 250, 500),
    ("EHLO \0", 501, 500),
    ("", 500, 500),
    (" ", 500, 500),
    ("\t", 500, 500),
];

const AFTER_EHLO: &[Spelling] = &[
    ("MAIL  FROM:<a@b.example>", 250, 250),
    ("MAIL\tFROM:<a@b.example>", 250, 250),
    ("MAIL FROM: <a@b.example>", 250, 250),
    ("MAIL FROM:\t<a@b.example>", 250, 250),
    ("MAIL FROM :<a@b.example>", 501, 501),
    ("MAIL FROM:<a@b.example> ", 250, 250),
    ("MAIL FROM:<a@b.example>\t", 250, 250),
    ("MAIL FROM:<a@b.example>  SIZE=5", 250, 250),
    ("MAIL FROM:<a@b.example>\tSIZE=5", 250, 250),
    ("MAIL FROM:<a@b.example> SIZE=5  BODY=7BIT", 250, 250),
    ("MAIL FROM:<a@b.example> SIZE=5\tBODY=7BIT", 250, 250),
    ("MAIL FROM:<a@b.example>SIZE=5", 501, 501),
    ("MAIL FROM:a@b.example", 250, 250),
    ("MAIL FROM: a@b.example SIZE=5", 250, 250),
    ("MAIL FROM:<>", 250, 250),
    ("MAIL FROM: <>", 250, 250),
    ("MAIL FROM:< a@b.example >", 250, 250),
    ("MAIL FROM:", 501, 501),
    ("MAIL FROM", 501, 501),
    ("MAIL", 501, 501),
    ("MAIL from:<a@b.example>", 250, 250),
    ("mail FROM:<a@b.example>", 250, 250),
    ("MAIL FROM<a@b.example>", 501, 501),
    ("MAIL FROM:<a@b.example> SIZE=12345678901234567890", 552, 552),
    ("MAIL FROM:<a@b.example> SIZE=99999999999999999999999", 552, 552),
    ("MAIL FROM:<a@b.example> SIZE=999999999", 552, 552),
    ("MAIL FROM:<a@b.example> SIZE=-1", 501, 501),
    ("MAIL FROM:<a@b.example> SIZE=", 501, 501),
    ("MAIL FROM:<a@b.example> SIZE=0", 250, 250),
    ("MAIL FROM:<a@b.example> SIZE", 555, 501),
    ("MAIL FROM:<a@b.example> SIZE=5 SIZE=6", 250, 501),
    ("MAIL FROM:<a@b.example> size=5", 250, 250),
    ("MAIL FROM:<a@b.example> BODY=8BITMIME", 250, 250),
    ("MAIL FROM:<a@b.example> BODY=BINARYMIME", 555, 555),
    ("MAIL FROM:<a@b.example> BODY=x", 555, 501),
    ("MAIL FROM:<a@b.example> ENVID=a=b", 250, 250),
    ("MAIL FROM:<a@b.example> ENVID=QQ+3D", 250, 250),
    ("MAIL FROM:<a@b.example> ENVID=", 501, 501),
    ("MAIL FROM:<a@b.example> ENVID=+XX", 501, 501),
    ("MAIL FROM:<a@b.example> ENVID=+3d", 250, 250),
    ("MAIL FROM:<a@b.example> ENVID=a ENVID=b", 501, 501),
    ("MAIL FROM:<a@b.example> RET=FULL", 250, 250),
    ("MAIL FROM:<a@b.example> RET=x", 501, 501),
    ("MAIL FROM:<a@b.example> RET=FULL RET=HDRS", 501, 501),
    ("MAIL FROM:<a@b.example> AUTH=<>", 250, 555),
    ("MAIL FROM:<a@b.example> SMTPUTF8", 250, 250),
    ("MAIL FROM:<a@b.example> SMTPUTF8=x", 555, 501),
    ("MAIL FROM:<a@b.example> FOO=x", 555, 555),
    ("MAIL FROM:<a@b.example> x", 555, 555),
    ("MAIL FROM:<a@b.example>\r", 250, 500),
    ("MAIL \x01FROM:<a@b.example>", 501, 500),
    ("MAIL FROM:<a\x01@b.example>", 250, 500),
    ("MAIL FROM:<a@b.example> SIZE=1\0 BODY=7BIT", 250, 500),
    ("NOOP x y", 250, 250),
    (" NOOP", 250, 250),
    ("\tNOOP", 250, 250),
    ("NOOP\t", 250, 250),
    ("NOOP ", 250, 250),
    ("NOOP\x0b", 250, 500),
    ("NOOP \x7f", 250, 500),
    ("NOOP\rNOOP", 250, 500),
    ("NOOP \0", 250, 500),
    ("RSET x", 501, 501),
    ("RSET ", 250, 250),
    ("RSET\t", 250, 250),
    ("QUIT ", 221, 221),
    ("FOO", 500, 500),
];

const AFTER_MAIL: &[Spelling] = &[
    ("RCPT  TO:<c@example.com>", 250, 250),
    ("RCPT TO: <c@example.com>", 250, 250),
    ("RCPT\tTO:\t<c@example.com>", 250, 250),
    ("RCPT TO:<c@example.com> ", 250, 250),
    ("RCPT TO:c@example.com", 250, 250),
    ("RCPT TO:< c@example.com>", 250, 250),
    ("RCPT TO:", 501, 501),
    ("RCPT TO:<c@example.com>  NOTIFY=NEVER", 250, 250),
    ("RCPT TO:<c@example.com>\tNOTIFY=NEVER", 250, 250),
    ("RCPT TO:<c@example.com> NOTIFY=NEVER,FAILURE", 501, 501),
    ("RCPT TO:<c@example.com> NOTIFY=SUCCESS,SUCCESS", 250, 250),
    ("RCPT TO:<c@example.com> NOTIFY=success,,delay", 250, 250),
    ("RCPT TO:<c@example.com> NOTIFY=success,", 250, 250),
    ("RCPT TO:<c@example.com> NOTIFY=", 501, 501),
    ("RCPT TO:<c@example.com> NOTIFY=x", 501, 501),
    ("RCPT TO:<c@example.com> NOTIFY", 555, 501),
    ("RCPT TO:<c@example.com> NOTIFY=NEVER NOTIFY=NEVER", 501, 501),
    ("RCPT TO:<c@example.com> ORCPT=rfc822;a=b@example.com", 250, 250),
    ("RCPT TO:<c@example.com> ORCPT=rfc822;a+3Db@example.com", 250, 250),
    ("RCPT TO:<c@example.com> ORCPT=rfc822;", 250, 250),
    ("RCPT TO:<c@example.com> ORCPT=rfc822", 501, 501),
    ("RCPT TO:<c@example.com> ORCPT=", 501, 501),
    ("RCPT TO:<c@example.com> ORCPT=x400;foo", 250, 250),
    ("RCPT TO:<c@example.com> ORCPT=rfc822;a+zz", 501, 501),
    ("RCPT TO:<c@example.com> ORCPT=rfc822;a+3d", 250, 250),
    ("RCPT TO:<c@example.com> ORCPT=rfc822;a+", 501, 501),
    ("RCPT TO:<c@example.com> ORCPT=utf-8;a", 250, 250),
    ("RCPT TO:<c@example.com> ORCPT=;a", 501, 501),
    ("RCPT TO:<c@example.com> ORCPT=rfc822;a;b", 250, 250),
    ("RCPT TO:<c@example.com> ORCPT=rfc822;a ORCPT=rfc822;b", 501, 501),
    ("RCPT TO:<c@example.com> orcpt=RFC822;x", 250, 250),
    ("RCPT TO:<c@example.com> FOO=1", 555, 555),
    ("RCPT TO:<c@example.com> SIZE=4", 555, 555),
    ("DATA\t", 554, 554),
];

#[test]
fn odd_spellings_are_read_as_postfix_reads_them() {
    let settings = Settings::new("mx.example");
    let mut faults = Vec::new();
    let tables = [(&[][..], FIRST), (&[EHLO], AFTER_EHLO), (&[EHLO, MAIL], AFTER_MAIL)];
    for (said, table) in tables {
        for (line, postfix, ours) in table {
            let line = [line.as_bytes(), b"\r\n"].concat();
            let groups = [said, &[&line]].concat();
            let after = heard_in_every_chunking(&settings, &groups);
            let reply = after.replies.last().unwrap();
            if !reply.starts_with(&ours.to_string()) {
                faults.push(format!("{}: {reply}", line.escape_ascii()));
            }
            // Where they differ, ours is a refusal.
            assert!(postfix == ours || *ours >= 500, "{}", line.escape_ascii());
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
