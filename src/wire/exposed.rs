//! Single parsers of the wire formats, for benchmarks that compare them with other implementations
//! (feature `testing`). They are of no use for relaying mail, are not part of the public interface,
//! and may change in any version.

use super::command::Command;
use super::line::LineReader;
use super::reply::{Reply, ReplyLimits, ReplyReader};

/// Parses the first line of `octets` as a command. Returns `None` if it is not one. Returning the
/// parsed command keeps the optimiser from removing the work.
pub fn read_command(octets: &[u8]) -> Option<impl Sized + use<>> {
    let (_, line) = LineReader::new(2_048).next(octets);
    line.and_then(Result::ok).and_then(|line| Command::parse(line).ok())
}

/// Returns the replies in `octets`, up to the first malformed or incomplete one.
pub fn read_replies(octets: &[u8]) -> impl Iterator<Item = Reply> + use<> {
    let mut reader = ReplyReader::default();
    reader.receive(octets);
    std::iter::from_fn(move || reader.next(ReplyLimits::default()).ok().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benchmarked_readers_parse_commands_and_replies() {
        assert!(read_command(b"NOOP\r\n").is_some() && read_command(b"NOOP").is_none());
        let replies: Vec<_> = read_replies(b"250 a\r\n550 b\r\n250 c").collect();
        assert_eq!(replies.iter().map(Reply::to_string).collect::<Vec<_>>(), ["250 a", "550 b"]);
    }
}
