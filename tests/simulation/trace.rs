//! What happened: a hash of all of it, and on request the dialogue.

use std::time::Duration;

/// The dialogue in the notation of RFC 5321 Appendix D: `C:` and `S:` as there, `R:` what the gate
/// says onward, `O:` what the onward server says, `J:` what a scorer says, `T:` time that passes,
/// `!:` what goes wrong. The number before it is the session's, behind a stroke the connection's.
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

    /// Something happened, of which these numbers and octets are all.
    pub fn note(&mut self, numbers: [u64; 2], octets: &[u8]) {
        numbers.into_iter().for_each(|number| self.mix(number));
        let (words, rest) = octets.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|octet| self.mix(u64::from(*octet)));
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// A line of the dialogue, made only if somebody wants it.
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
