//! The trace of a run: a hash of all events, and optionally the dialogue.

use std::time::Duration;

/// The dialogue in the notation of RFC 5321 Appendix D: `C:` and `S:` as there, `R:` what the gate
/// sends onward, `O:` what the onward server replies, `J:` what a scorer answers, `T:` the time
/// that passes, `!:` a fault. Each line starts with the number of the session and, after a slash,
/// of the connection.
#[derive(Default)]
pub struct Trace {
    hash: u64,
    dialogue: Option<Vec<String>>,
    told: Duration,
}

impl Trace {
    pub fn new(told: bool) -> Self {
        Self { dialogue: told.then(Vec::new), ..Self::default() }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn into_dialogue(self) -> Vec<String> {
        self.dialogue.unwrap_or_default()
    }

    /// Adds an event to the hash, described by these numbers and octets.
    pub fn note(&mut self, numbers: [u64; 2], octets: &[u8]) {
        numbers.into_iter().for_each(|number| self.mix(number));
        let (words, rest) = octets.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|octet| self.mix(u64::from(*octet)));
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// Adds a line to the dialogue. The closure only runs if the dialogue is recorded.
    pub fn tell(&mut self, elapsed: Duration, line: impl FnOnce() -> String) {
        if let Some(dialogue) = &mut self.dialogue {
            if elapsed > self.told {
                dialogue.push(format!("    T: {:?}", elapsed - self.told));
                self.told = elapsed;
            }
            dialogue.push(line());
        }
    }

    pub fn is_told(&self) -> bool {
        self.dialogue.is_some()
    }
}
