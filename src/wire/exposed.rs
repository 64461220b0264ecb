//! Parts of the wire by themselves, for benchmarks, which set them beside those of others (feature
//! `testing`). Whoever relays has no use for them; they are no part of the interface and may change
//! with any version.

use super::command::Command;
use super::line::LineReader;
use super::reply::{Reply, ReplyLimits, ReplyReader};

/// Takes the first line of `octets` for a command; says whether it is one. What is parsed is given,
/// so that it is not optimised away.
pub fn read_command(octets: &[u8]) -> Option<impl Sized + use<>> {
    let (_, line) = LineReader::new(2_048).next(octets);
    line.and_then(Result::ok).and_then(|line| Command::parse(line).ok())
}

/// The replies in `octets`, up to one that is none.
pub fn read_replies(octets: &[u8]) -> impl Iterator<Item = Reply> + use<> {
    let mut reader = ReplyReader::default();
    reader.receive(octets);
    std::iter::from_fn(move || reader.next(ReplyLimits::default()).ok().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_done() {
        assert!(read_command(b"NOOP\r\n").is_some() && read_command(b"NOOP").is_none());
        let replies: Vec<_> = read_replies(b"250 a\r\n550 b\r\n250 c").collect();
        assert_eq!(replies.iter().map(Reply::to_string).collect::<Vec<_>>(), ["250 a", "550 b"]);
    }
}
