//! Limits of sessions and onward connections as dialogues, in the notation of
//! `nobounce::testing::Transcript`.

use nobounce::testing::{Chunking, Transcript};

/// A limit, with a dialogue exactly at the limit and another one just beyond it.
pub(crate) struct Bound {
    pub(crate) name: &'static str,
    pub(crate) at: String,
    pub(crate) past: String,
}

const HELLO: &str = "S: 220 ...\nC: HELO c\nS: 250 gate.example.com\n";
const MAIL: &str = "C: MAIL FROM:<a@b>\nS: 250 2.1.0 Sender ok\n";
const RCPT: &str = "C: RCPT TO:<c@d>\nS: 250 2.1.5 Ok\n";
const DATA: &str = "C: DATA\nS: 354 ...\n";
const QUEUED: &str = "C: .\nS: 250 2.0.0 Ok: queued as 1\n";
const ACCEPTS: &str = "@ relay accepts\n";
const SLOW: &str = "S: 421 4.4.2 Timeout exceeded, closing connection\nS: <close>\n";
/// The onward server is asked and refuses.
const HEARD: &str = "R: MAIL FROM:<a@b>\nO: 550 5.1.0 No\nS: 550 5.1.0 No\n";
const LATE: &str = "S: 451 4.4.7 The next server did not answer in time, try again later\n";
/// The onward server's part of a content.
const SENT: &str = "R: DATA\nO: 354 Go ahead\nR: <trace>\nR:\nR: x\nR: .\n";

/// Returns a limit with the settings and the common beginning, then the two continuations.
fn bound(name: &'static str, before: &[&str], at: &str, past: &str) -> Bound {
    let before = before.concat();
    Bound { name, at: format!("{before}{at}"), past: format!("{before}{past}") }
}

/// Returns the end of a dialogue in which the session is closed with this reply.
fn closed(reply: &str) -> String {
    format!("S: {reply}\nS: <close>\n")
}

#[test]
fn client_is_served_at_each_bound_and_refused_beyond_it() {
    let mut faults = Vec::new();
    for Bound { name, at, past } in all() {
        for (side, script) in [("at", at), ("past", past)] {
            let transcript =
                Transcript::parse(&script).unwrap_or_else(|error| panic!("{name}: {error}"));
            for chunking in [Chunking::Whole, Chunking::Octets, Chunking::Random(1)] {
                if let Err(error) = transcript.play(chunking) {
                    faults.push(format!("{name}, {side}: {error} ({chunking:?})"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

pub(crate) fn all() -> Vec<Bound> {
    let mut all = commands();
    all.extend(contents());
    all.extend(times());
    all.extend(onward());
    all.extend(onward_times());
    all
}

fn commands() -> Vec<Bound> {
    // The length includes CRLF.
    let line = |octets: usize| format!("C: NOOP {}\n", "x".repeat(octets - 7));
    let faulty = |octets: usize| format!("C: {}\n", "x".repeat(octets - 2));
    let too_long = "S: 500 5.5.2 Line too long\n";
    let prdr = "@ limits.recipients 2\n@ relay accepts\n@ through PRDR, SIZE 17, LIMITS RCPTMAX=1\n\
        @ protocol lmtp\nS: 220 ...\nC: EHLO c\nS: 250-gate.example.com\nS: 250-PIPELINING\n\
        S: 250-CHUNKING\nS: 250-PRDR\nS: 250-SIZE 9\nS: 250 LIMITS MAILMAX=1000\n\
        C: MAIL FROM:<a@b> PRDR\nS: 250 2.1.0 Sender ok\n";
    let too_many = "S: 452 4.5.3 Too many recipients, send the rest in another transaction\n";
    let refused = "C: RCPT TO:<c@d>\nJ: refuse 550 5.7.1 No\nS: 550 5.7.1 No (play.1)\n";
    let later = "C: RCPT TO:<c@d>\nJ: refuse 450 4.7.1 Later\nS: 450 4.7.1 Later (play.1)\n";
    let last = "C: RCPT TO:<c@d>\nJ: refuse 550 5.7.1 No\n\
        S: 421 4.7.0 Too many refused recipients\nS: <close>\n";
    let long = format!("C: RCPT TO:<{}@d>\nS: 250 2.1.5 Ok\n", "x".repeat(996));
    let reset = "C: RSET\nS: 250 2.0.0 Ok\n";
    vec![
        bound(
            "command_line",
            &[HELLO],
            &format!("{}S: 250 2.0.0 Ok", line(2_048)),
            &format!("{}{too_long}", line(2_049)),
        ),
        bound(
            "endless_line",
            &[HELLO],
            &format!("{}{too_long}C: NOOP\nS: 250 2.0.0 Ok", faulty(65_536)),
            &format!("{}{too_long}{}", faulty(65_537), closed("421 4.5.2 Command line too long")),
        ),
        bound(
            "recipients",
            &["@ limits.recipients 2\n", ACCEPTS, HELLO, MAIL],
            &RCPT.repeat(2),
            &format!("{}C: RCPT TO:<c@d>\n{too_many}", RCPT.repeat(2)),
        ),
        bound(
            "recipients_overshoot",
            &[
                "@ limits.recipients 1\n@ limits.recipients_overshoot 2\n@ limits.errors 2\n",
                &format!("{ACCEPTS}{HELLO}{MAIL}{RCPT}C: FOO\nS: 500 5.5.1 ...\n"),
            ],
            &format!("C*2: RCPT TO:<c@d>\n{}C: NOOP\nS: 250 2.0.0 Ok", too_many.repeat(2)),
            // The next error is the last one.
            &format!(
                "C*3: RCPT TO:<c@d>\n{}{}",
                too_many.repeat(2),
                closed("421 4.7.0 Too many errors")
            ),
        ),
        bound(
            "recipients_with_prdr",
            &[prdr],
            &RCPT.repeat(2),
            &format!("{}C: RCPT TO:<c@d>\n{too_many}", RCPT.repeat(2)),
        ),
        bound(
            "refused_in_a_row",
            &["@ limits.refused_in_a_row 3\n", ACCEPTS, HELLO, MAIL],
            // A transient refusal does not count. An accepted recipient resets the count.
            &format!("{refused}{refused}{later}{RCPT}{refused}{refused}"),
            &format!("{refused}{refused}{last}"),
        ),
        bound(
            "refused_recipients",
            &["@ limits.refused_recipients 3\n", ACCEPTS, HELLO, MAIL],
            &format!("{refused}{RCPT}{refused}{RCPT}"),
            &format!("{refused}{RCPT}{refused}{RCPT}{last}"),
        ),
        // The sender has 3 octets, and each recipient 1,000 with its brackets, plus 64 for its
        // container. Seven do not fit into the 4,096 free octets and 2,000 of the budget.
        bound(
            "envelope",
            &["@ budget 4096\n", ACCEPTS, HELLO, MAIL],
            &long.repeat(7),
            &format!(
                "{}C: RCPT TO:<{}@d>\nS: 452 4.3.1 Insufficient system storage, try again later\n{RCPT}",
                long.repeat(7),
                "x".repeat(996)
            ),
        ),
        bound(
            "errors",
            &["@ limits.errors 3\n", HELLO],
            "C*2: FOO\nS*2: 500 5.5.1 Command not recognised",
            &format!("C*3: FOO\nS*2: 500 5.5.1 ...\n{}", closed("421 4.7.0 Too many errors")),
        ),
        bound(
            "junk_commands",
            &["@ limits.junk_commands 3\n", HELLO],
            "C*3: NOOP\nS*3: 250 2.0.0 Ok",
            &format!(
                "C*4: NOOP\nS*3: 250 2.0.0 Ok\n{}",
                closed("421 4.7.0 Too many commands without a message")
            ),
        ),
        bound(
            "transactions",
            &["@ limits.transactions 2\n", HELLO, MAIL, reset],
            MAIL,
            &format!(
                "{MAIL}{reset}C: MAIL FROM:<a@b>\n{}",
                closed("421 4.7.0 Too many messages in one session")
            ),
        ),
    ]
}

fn contents() -> Vec<Bound> {
    let own_trace = "Received: from c by gate.example.com (nobounce) with SMTP id play.7";
    let too_big = "S: 552 5.3.4 Message size exceeds the limit\n";
    // 64 octets with CRLF. The first block of a content has 8,192 octets.
    let lines = |count: usize| format!("C*{count}: {}\n", "x".repeat(62));
    vec![
        bound(
            "content",
            &["@ limits.content 20\n", ACCEPTS, HELLO, MAIL, RCPT, DATA],
            &format!("C: Subject: x\nC:\nC: text\n{QUEUED}"),
            &format!("C: Subject: x\nC:\nC: text!\nC: .\n{too_big}"),
        ),
        bound(
            "content_in_chunks",
            &["@ limits.content 20\n", ACCEPTS, HELLO, MAIL, RCPT],
            "C: BDAT 10\nC: 12345678\nS: 250 2.0.0 Chunk received\n\
                C: BDAT 10 LAST\nC: 12345678\nS: 250 2.0.0 Ok: queued as 1",
            &format!(
                "C: BDAT 10\nC: 12345678\nS: 250 2.0.0 Chunk received\n\
                C: BDAT 11 LAST\nC: 123456789\n{too_big}"
            ),
        ),
        bound(
            "hops",
            &["@ limits.hops 3\n", ACCEPTS, HELLO, MAIL, RCPT, DATA],
            &format!("C*2: Received: by a\nC:\nC: Received: by a\n{QUEUED}"),
            "C*3: Received: by a\nC: .\nS: 554 5.4.6 Too many hops, possible mail loop",
        ),
        bound(
            "own_hops",
            &[ACCEPTS, HELLO, MAIL, RCPT, DATA],
            &format!("C*2: {own_trace}\n{QUEUED}"),
            &format!("C*3: {own_trace}\nC: .\nS: 451 4.4.6 Mail loop detected, ..."),
        ),
        bound(
            "memory",
            &["@ budget 8192\n", ACCEPTS, HELLO, MAIL, RCPT, DATA],
            &format!("{}{QUEUED}", lines(128)),
            &format!(
                "{}C: .\nS: 452 4.3.1 Insufficient system storage, try again later",
                lines(129)
            ),
        ),
    ]
}

fn times() -> Vec<Bound> {
    let behind_data = |settings: &str| format!("{settings}{ACCEPTS}{HELLO}{MAIL}{RCPT}{DATA}");
    // Takes 3,570 seconds.
    let trickle = "T: 170s\nC: x\\\n".repeat(21);
    let too_slow = closed("421 4.4.2 Mail data received too slowly, try again later");
    let tls = "@ capabilities STARTTLS\n";
    let upgrade = "C: STARTTLS\nS: 220 2.0.0 ...\nS: <starttls>\n";
    vec![
        bound(
            "greeting_delay",
            &[],
            "@ greeting_delay 1m\nT: 59s\nT: 1s\nS: 220 ...",
            "@ greeting_delay 1h\nT: 59s\nT: 1s\nS: 220 ...",
        ),
        bound(
            "command_time",
            &[HELLO],
            "T: 299s\nC: NOOP\nS: 250 2.0.0 Ok",
            &format!("T: 300s\n{SLOW}"),
        ),
        // 3,480 seconds in total.
        bound(
            "commands_time",
            &[HELLO, &"T: 290s\nC: NOOP\nS: 250 2.0.0 Ok\n".repeat(12)],
            "T: 119s\nC: NOOP\nS: 250 2.0.0 Ok",
            &format!("T: 120s\n{SLOW}"),
        ),
        bound(
            "mail_data_time",
            &[&behind_data("")],
            &format!("T: 179s\nC:\nC: x\n{QUEUED}"),
            &format!("T: 180s\n{SLOW}"),
        ),
        bound(
            "content_time",
            &[&behind_data("@ limits.data_rate 0\n"), &trickle],
            &format!("T: 29s\nC:\nC: x\n{QUEUED}"),
            &format!("T: 30s\n{SLOW}"),
        ),
        // Ten octets are worth ten seconds, nine octets nine. The credit is five minutes.
        bound(
            "data_rate",
            &[&behind_data("@ limits.data_rate 1\n"), "T: 150s\n"],
            &format!("C: 12345678\nT: 159s\n{QUEUED}"),
            &format!("C: 1234567\nT: 159s\n{too_slow}"),
        ),
        // Two octets are worth four thousandths of a second.
        bound(
            "data_rate_credit",
            &[&behind_data(""), "T: 150s\nC:\n"],
            &format!("T: 150s\nC: x\n{QUEUED}"),
            &format!("T: 151s\n{too_slow}"),
        ),
        bound(
            "tls_time",
            &[tls, HELLO, upgrade],
            "T: 59s\nC: HELO c\nS: 250 gate.example.com",
            "T: 60s\nS: <close>",
        ),
    ]
}

fn onward() -> Vec<Bound> {
    let nonsense = "S: 451 4.3.0 The next server sent an invalid reply, try again later\n";
    let rcpt = "C: RCPT TO:<c@d>\nR: MAIL FROM:<a@b>\n";
    let line = |octets: usize| format!("O: 250 {}\n", "x".repeat(octets - 4));
    let next = "R: RCPT TO:<c@d>\nO: 250 2.1.5 Ok\nS: 250 2.1.5 Ok";
    vec![
        bound(
            "reply_line",
            &["@ relay offers none\n", HELLO, MAIL, rcpt],
            &format!("{}{next}", line(4_096)),
            &format!("{}{nonsense}R: <close>", line(4_097)),
        ),
        bound(
            "reply_lines",
            &["@ relay offers none\n", HELLO, MAIL, rcpt],
            &format!("O*127: 250-x\nO: 250 x\n{next}"),
            &format!("O*128: 250-x\n{nonsense}R: <close>"),
        ),
    ]
}

fn onward_times() -> Vec<Bound> {
    let asked = format!("{HELLO}{MAIL}C: RCPT TO:<c@d>\n");
    let connects = format!("{asked}R: <connect>\n");
    let upgrades = format!(
        "@ tls must\n{connects}O: 220 o\nR: EHLO gate.example.com\nO: 250-o\nO: 250 STARTTLS\n\
         R: STARTTLS\nO: 220 Go ahead\nR: <starttls>\n"
    );
    let taken =
        "R: MAIL FROM:<a@b>\nR: RCPT TO:<c@d>\nO: 250 2.1.0 Ok\nO: 250 2.1.5 Ok\nS: 250 2.1.5 Ok\n";
    let forwards = format!("@ relay offers PIPELINING\n{asked}{taken}{DATA}C:\nC: x\nC: .\n");
    let end = "O: 250 2.0.0 Ok: queued as 1\nS: 250 2.0.0 Ok: queued as 1";
    let greeted = format!("R: EHLO gate.example.com\nO: 250 o\n{HEARD}");
    let sends = SENT.strip_prefix("R: DATA\n").unwrap();
    vec![
        bound(
            "onward_connect_time",
            &[&connects],
            &format!("T: 29s\nO: 220 o\n{greeted}"),
            &format!("T: 30s\n{LATE}"),
        ),
        bound(
            "onward_greeting_time",
            &[&connects, "O: 2\\\n"],
            &format!("T: 59s\nO: 20 o\n{greeted}"),
            &format!("T: 60s\n{LATE}R: <close>"),
        ),
        bound(
            "onward_command_time",
            &["@ relay offers none\n", &asked, "R: MAIL FROM:<a@b>\n"],
            "T: 239s\nO: 550 5.1.0 No\nS: 550 5.1.0 No",
            &format!("T: 240s\n{LATE}R: <close>"),
        ),
        bound(
            "onward_tls_time",
            &[&upgrades],
            &format!("T: 59s\n{greeted}"),
            "T: 60s\nS: 451 4.7.5 ...\nR: <close>",
        ),
        bound(
            "onward_data_initiation_time",
            &[&forwards, "R: DATA\n"],
            &format!("T: 119s\n{sends}{end}"),
            &format!("T: 120s\n{LATE}R: <close>"),
        ),
        bound(
            "onward_data_termination_time",
            &[&forwards, SENT],
            &format!("T: 539s\n{end}"),
            &format!("T: 540s\n{LATE}R: <close>"),
        ),
        bound(
            "onward_quit_time",
            &["@ relay offers PIPELINING\n", &asked, taken],
            "C: QUIT\nS: 221 2.0.0 Bye\nS: <close>\nR: QUIT\nT: 4s\nO: 221 2.0.0 Bye\nR: <close>",
            "C: QUIT\nS: 221 2.0.0 Bye\nS: <close>\nR: QUIT\nT: 4s\nT: 1s\nR: <close>",
        ),
        // Each step is in time, but all together are late.
        bound(
            "recipient_time",
            &[&connects, "T: 20s\nO: 220 o\nR: EHLO gate.example.com\nT: 230s\nO: 250 o\n"],
            "R: MAIL FROM:<a@b>\nT: 34s\nO: 250 2.1.0 Ok\nR: RCPT TO:<c@d>\nO: 250 2.1.5 Ok\nS: 250 2.1.5 Ok",
            &format!("R: MAIL FROM:<a@b>\nT: 35s\n{LATE}"),
        ),
        bound(
            "outcome_time",
            &[&forwards, "R: DATA\nT: 100s\n", sends],
            &format!("T: 469s\n{end}"),
            &format!("T: 470s\n{LATE}"),
        ),
    ]
}
