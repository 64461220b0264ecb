//! Client input that is generated while it is read, so it takes no memory.

/// Input with a beginning, a number of generated units, and an end.
pub struct Input {
    /// The part being read.
    part: Vec<u8>,
    read: usize,
    unit: Box<dyn Fn(usize) -> Vec<u8> + Send>,
    /// Number of generated units, and octets left for further units.
    made: usize,
    left: usize,
    end: Vec<u8>,
}

impl Input {
    /// Creates an input. `octets` is the total size of the units.
    pub fn new(
        begin: impl Into<Vec<u8>>,
        unit: impl Fn(usize) -> Vec<u8> + Send + 'static,
        octets: usize,
        end: impl Into<Vec<u8>>,
    ) -> Self {
        let (part, end) = (begin.into(), end.into());
        Self { part, read: 0, unit: Box::new(unit), made: 0, left: octets, end }
    }

    /// Fills the buffer as far as possible and returns the number of octets.
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

    /// Moves to the next part. Returns whether a further part exists.
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
