//! The fixed replies of a session, in one table. Each is a complete reply to one command.

use super::EndCause;
use crate::wire::attributes::{AttributeCommand, AttributeError};
use crate::wire::command::CommandFault;
use crate::wire::content::ContentFault;
use crate::wire::line::LineError;
use crate::wire::reply::{EnhancedStatus, Reply, ReplyCode};

/// A reply to the client, and its consequences.
#[derive(Debug)]
pub(super) enum Answer {
    Reply(Reply),
    /// The refusal of a faulty command. Too many of them end the session.
    Fault(Reply),
    /// The reply to a junk command, which changes nothing. Too many of them end the session.
    Junk(Reply),
    /// The last reply: it ends the session and its transaction.
    HangUp(Reply, EndCause),
}

pub(super) const BYE: Reply = Reply::fixed(221, Some((0, 0)), "Bye");
pub(super) const OK: Reply = Reply::fixed(250, Some((0, 0)), "Ok");
pub(super) const SENDER_OK: Reply = Reply::fixed(250, Some((1, 0)), "Sender ok");
pub(super) const CHUNK_OK: Reply = Reply::fixed(250, Some((0, 0)), "Chunk received");
pub(super) const READY_FOR_TLS: Reply = Reply::fixed(220, Some((0, 0)), "Ready to start TLS");
pub(super) const HELP: Reply =
    Reply::fixed(214, Some((0, 0)), "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT");
pub(super) const CANNOT_VERIFY: Reply =
    Reply::fixed(252, Some((5, 0)), "Cannot verify the user, try RCPT");
pub(super) const ANSWERS_FOLLOW: Reply =
    Reply::fixed(353, None, "A reply for each recipient follows, then one for the message");
pub(super) const GO_AHEAD: Reply = Reply::fixed(354, None, "End data with <CR><LF>.<CR><LF>");

pub(super) const TIMED_OUT: Reply =
    Reply::fixed(421, Some((4, 2)), "Timeout exceeded, closing connection");
pub(super) const TOO_SLOW: Reply =
    Reply::fixed(421, Some((4, 2)), "Mail data received too slowly, try again later");
pub(super) const NOT_CHECKED: Reply =
    Reply::fixed(421, Some((3, 0)), "Checks timed out, try again later");
pub(super) const GOING_DOWN: Reply =
    Reply::fixed(421, Some((3, 2)), "Service shutting down, try again later");
pub(super) const TLS_BUSY: Reply =
    Reply::fixed(421, Some((7, 0)), "Too many TLS handshakes, try again later");
pub(super) const EVICTED: Reply =
    Reply::fixed(421, Some((3, 2)), "Too many connections, try again later");
pub(super) const TOO_MANY_ERRORS: Reply = Reply::fixed(421, Some((7, 0)), "Too many errors");
pub(super) const TOO_MUCH_JUNK: Reply =
    Reply::fixed(421, Some((7, 0)), "Too many commands without a message");
pub(super) const TOO_MANY_REFUSED: Reply =
    Reply::fixed(421, Some((7, 0)), "Too many refused recipients");
pub(super) const TOO_MANY_TRANSACTIONS: Reply =
    Reply::fixed(421, Some((7, 0)), "Too many messages in one session");
pub(super) const ENDLESS_LINE: Reply = Reply::fixed(421, Some((5, 2)), "Command line too long");

pub(super) const TOO_MANY_RECIPIENTS: Reply =
    Reply::fixed(452, Some((5, 3)), "Too many recipients, send the rest in another transaction");

pub(super) const NO_MEMORY: Reply =
    Reply::fixed(452, Some((3, 1)), "Insufficient system storage, try again later");

pub(super) const NOT_IMPLEMENTED: Reply =
    Reply::fixed(502, Some((5, 1)), "Command not implemented");
pub(super) const HELLO_FIRST: Reply = Reply::fixed(503, Some((5, 1)), "Send EHLO first");
pub(super) const MAIL_FIRST: Reply = Reply::fixed(503, Some((5, 1)), "Send MAIL first");
pub(super) const IN_TRANSACTION: Reply =
    Reply::fixed(503, Some((5, 1)), "Not allowed within a mail transaction");
pub(super) const IN_CHUNKS: Reply =
    Reply::fixed(503, Some((5, 1)), "Only BDAT or RSET may follow BDAT");
pub(super) const CHUNK_LOST: Reply =
    Reply::fixed(503, Some((5, 1)), "An earlier chunk was refused, send RSET");
pub(super) const TLS_ALREADY: Reply = Reply::fixed(503, Some((5, 1)), "TLS is already active");
pub(super) const TLS_FIRST: Reply =
    Reply::fixed(503, Some((5, 1)), "Send STARTTLS before XCLIENT and XFORWARD");
pub(super) const OWN_LOOP: Reply =
    Reply::fixed(451, Some((4, 6)), "Mail loop detected, try again later");
pub(super) const TOO_MANY_HOPS: Reply =
    Reply::fixed(554, Some((4, 6)), "Too many hops, possible mail loop");
pub(super) const TOO_BIG: Reply = Reply::fixed(552, Some((3, 4)), "Message size exceeds the limit");
pub(super) const NO_RECIPIENT: Reply = Reply::fixed(554, Some((5, 1)), "No valid recipients");
pub(super) const OUT_OF_TURN: Reply =
    Reply::fixed(554, Some((5, 0)), "SMTP protocol synchronization error");
pub(super) const PARAMETER_NOT_OFFERED: Reply =
    Reply::fixed(555, Some((5, 4)), "Unsupported parameter");
pub(super) const BARE_LINE_END: Reply =
    Reply::fixed(550, Some((5, 2)), "Message contains bare CR or LF, lines must end in CRLF");
pub(super) const ANOTHER_PROTOCOL: Reply =
    Reply::fixed(521, Some((5, 1)), "Protocol error, this is an SMTP server");

/// Returns the reply to mail data that was not kept.
pub(super) fn content_fault(fault: ContentFault) -> Reply {
    match fault {
        ContentFault::TooBig => TOO_BIG,
        ContentFault::NoMemory => NO_MEMORY,
    }
}

/// Returns the reply to a malformed command line.
pub(super) fn line_fault(fault: LineError) -> Reply {
    match fault {
        LineError::BareLf => {
            Reply::fixed(521, Some((5, 2)), "Bare LF received, lines must end in CRLF")
        }
        LineError::BareCr => {
            Reply::fixed(500, Some((5, 2)), "Bare CR received, lines must end in CRLF")
        }
        LineError::Control => Reply::fixed(500, Some((5, 2)), "Control character in command"),
        LineError::TooLong => Reply::fixed(500, Some((5, 2)), "Line too long"),
        LineError::Endless => ENDLESS_LINE,
    }
}

/// Returns the reply to an unknown or invalid command.
pub(super) fn command_fault(fault: CommandFault) -> Reply {
    match fault {
        CommandFault::Unknown => Reply::fixed(500, Some((5, 1)), "Command not recognised"),
        CommandFault::Foreign => ANOTHER_PROTOCOL,
        CommandFault::Syntax(form) => {
            const CODE: ReplyCode = ReplyCode::refusal(501);
            Reply::new(CODE, EnhancedStatus::new(5, 4), &format!("Syntax: {form}"))
        }
        CommandFault::ReversePath => Reply::fixed(501, Some((1, 7)), "Bad sender address syntax"),
        CommandFault::ForwardPath => {
            Reply::fixed(501, Some((1, 3)), "Bad recipient address syntax")
        }
        CommandFault::UnknownParameter => PARAMETER_NOT_OFFERED,
        CommandFault::BadParameter => {
            Reply::fixed(501, Some((5, 4)), "Invalid or repeated parameter")
        }
        CommandFault::ChunkSize => Reply::fixed(
            521,
            Some((5, 4)),
            "Syntax: BDAT SIZE [LAST]; the end of the chunk is unknown",
        ),
    }
}

/// Returns the reply to an invalid XCLIENT or XFORWARD command.
pub(super) fn attribute_fault(command: AttributeCommand, fault: AttributeError) -> Reply {
    const CODE: ReplyCode = ReplyCode::refusal(501);
    Reply::new(CODE, EnhancedStatus::new(5, 4), &format!("{}: {fault}", command.verb()))
}
