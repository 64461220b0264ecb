//! What a client says, made as it is read: it takes no memory of its own.

/// Octets that begin so, go on with one unit after another, and end so.
pub struct Input {
    /// What is left of the part that is being read.
    part: Vec<u8>,
    read: usize,
    unit: Box<dyn Fn(usize) -> Vec<u8> + Send>,
    /// Units that were made, and how many octets of them there may be yet.
    made: usize,
    left: usize,
    end: Vec<u8>,
}

impl Input {
    /// `octets`: of all units.
    pub fn new(
        begin: impl Into<Vec<u8>>,
        unit: impl Fn(usize) -> Vec<u8> + Send + 'static,
        octets: usize,
        end: impl Into<Vec<u8>>,
    ) -> Self {
        let (part, end) = (begin.into(), end.into());
        Self { part, read: 0, unit: Box::new(unit), made: 0, left: octets, end }
    }

    /// Reads as much as fits; says how much that is.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let mut count = 0;
        while count < buffer.len() {
            if self.read == self.part.len() && !self.next() {
                break;
            }
            let rest = &self.part[self.read..];
            let length = rest.len().min(buffer.len() - count);
            buffer[count..count + length].copy_from_slice(&rest[..length]);
            (self.read, count) = (self.read + length, count + length);
        }
        count
    }

    /// Goes on to the next part, if there is one.
    fn next(&mut self) -> bool {
        self.read = 0;
        if self.left > 0 {
            self.part = (self.unit)(self.made);
            self.made += 1;
            self.left = self.left.saturating_sub(self.part.len());
        } else {
            self.part = std::mem::take(&mut self.end);
        }
        !self.part.is_empty()
    }
}
