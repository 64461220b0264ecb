//! Hashes of the body in canonical form (RFC 6376 sections 3.4.3 to 3.4.5).

use ring::digest;

use super::canonicalization::{Block, Canonicalization, GLANCE, squeezed};

/// Octets that are collected before they are hashed. Longer runs are hashed without being copied.
const STAGED: usize = 1 << 10;

/// The hash of a body in canonical form, or of its beginning.
#[derive(Debug, Clone, Default)]
pub(super) struct BodyHash {
    /// The hash. `None` if `l=` exceeds the length of the body.
    pub(super) hash: Option<[u8; 32]>,
    /// Whether the whole body was hashed.
    pub(super) whole: bool,
}

/// Hasher for several signatures. The body is read once, and hashed once for each canonicalization.
pub(super) struct BodyHashes {
    simple: Option<Hasher>,
    relaxed: Option<Hasher>,
}

/// The hashes of a body that were requested.
pub(super) struct Computed {
    simple: Option<Hashed>,
    relaxed: Option<Hashed>,
}

impl BodyHashes {
    /// Creates a hasher for these canonicalizations and lengths (`l=`).
    pub(super) fn new(
        requests: impl Iterator<Item = (Canonicalization, Option<u64>)> + Clone,
    ) -> Self {
        let hasher = |form: Canonicalization| {
            let mut lengths = requests.clone().filter(|it| it.0 == form).map(|it| it.1).peekable();
            lengths.peek().is_some().then(|| Hasher::new(form, lengths.flatten()))
        };
        Self {
            simple: hasher(Canonicalization::Simple),
            relaxed: hasher(Canonicalization::Relaxed),
        }
    }

    /// Returns whether there are no requests.
    pub(super) fn is_empty(&self) -> bool {
        self.simple.is_none() && self.relaxed.is_none()
    }

    /// Reads the next octets. Lines end with CRLF, and no CR or LF is alone.
    pub(super) fn update(&mut self, octets: &[u8]) {
        [&mut self.simple, &mut self.relaxed]
            .into_iter()
            .flatten()
            .for_each(|it| it.update(octets));
    }

    pub(super) fn finish(self) -> Computed {
        Computed {
            simple: self.simple.map(Hasher::finish),
            relaxed: self.relaxed.map(Hasher::finish),
        }
    }
}

impl Computed {
    /// Returns the hash for a request.
    pub(super) fn hash(&self, (form, length): (Canonicalization, Option<u64>)) -> BodyHash {
        let found = match form {
            Canonicalization::Simple => self.simple.as_ref(),
            Canonicalization::Relaxed => self.relaxed.as_ref(),
        };
        found.map(|found| found.hash(length)).unwrap_or_default()
    }
}

/// Canonicalizes a body, and hashes the result. White space that may end the body is not hashed at
/// once: two numbers store it until other octets follow.
struct Hasher {
    form: Canonicalization,
    sink: Sink,
    /// Line ends that are hashed only if something follows.
    lines: u64,
    /// Whether white space follows them.
    space: bool,
}

impl Hasher {
    fn new(form: Canonicalization, lengths: impl Iterator<Item = u64>) -> Self {
        Self { form, sink: Sink::new(lengths), lines: 0, space: false }
    }

    fn update(&mut self, octets: &[u8]) {
        let relaxed = self.form == Canonicalization::Relaxed;
        let is_held = |octet: &u8| match octet {
            b'\r' | b'\n' => true,
            b' ' | b'\t' => relaxed,
            _ => false,
        };
        let Some(last) = octets.iter().rposition(|octet| !is_held(octet)) else {
            return self.hold(octets);
        };
        let (kept, rest) = octets.split_at(last + 1);
        let begin = kept.iter().position(|octet| !is_held(octet)).unwrap_or(last);
        self.hold(&kept[..begin]);
        self.release();
        match self.form {
            Canonicalization::Simple => self.sink.write(&kept[begin..]),
            Canonicalization::Relaxed => relax(&kept[begin..], &mut self.sink),
        }
        self.hold(rest);
    }

    /// Reads white space.
    fn hold(&mut self, octets: &[u8]) {
        for octet in octets {
            match octet {
                b'\n' => {
                    self.lines += 1;
                    self.space = false;
                }
                b'\r' => {}
                _ => self.space = true,
            }
        }
    }

    /// Hashes the white space that was held back.
    fn release(&mut self) {
        const LINES: &[u8; 256] = &{
            let mut lines = [b'\r'; 256];
            let mut at = 1;
            while at < lines.len() {
                lines[at] = b'\n';
                at += 2;
            }
            lines
        };
        while self.lines > 0 {
            let count = self.lines.min(LINES.len() as u64 / 2);
            self.sink.write(&LINES[..2 * count as usize]);
            self.lines -= count;
        }
        if std::mem::take(&mut self.space) {
            self.sink.write(b" ");
        }
    }

    fn finish(mut self) -> Hashed {
        // An empty body is CRLF in simple form, and empty in relaxed form.
        if self.sink.written() > 0 || self.form == Canonicalization::Simple {
            self.sink.write(b"\r\n");
        }
        self.sink.finish()
    }
}

/// Writes lines with a single space for each run of white space, and without white space at line
/// ends. The first and the last octet are not white space.
fn relax(octets: &[u8], sink: &mut Sink) {
    let mut begin = 0;
    let mut at = 0;
    while let Some(block) = octets[at..].first_chunk() {
        if changes(block) {
            sink.write(&octets[begin..at]);
            sink.squeeze(block, GLANCE);
            begin = at + GLANCE;
        }
        at += GLANCE;
    }
    sink.write(&octets[begin..at]);
    // No octet follows the last one and could change it.
    let mut rest = [0; GLANCE + 1];
    let octets = &octets[at..];
    rest[..octets.len()].copy_from_slice(octets);
    sink.squeeze(&rest, octets.len());
}

/// Returns whether white space in a block is changed.
fn changes(block: &Block) -> bool {
    let pairs = block.iter().zip(&block[1..]);
    pairs.fold(false, |any, (octet, next)| {
        any | (*octet == b'\t') | ((*octet == b' ') & ends_space(next))
    })
}

/// Returns whether this is white space within a line.
fn is_space(octet: &u8) -> bool {
    (*octet == b' ') | (*octet == b'\t')
}

/// Returns whether white space before this octet is removed.
fn ends_space(octet: &u8) -> bool {
    is_space(octet) | (*octet == b'\r')
}

/// Collects short runs of octets, and hashes them together.
struct Sink {
    hashes: Hashes,
    /// At most [`STAGED`] octets that are not hashed yet.
    staged: Vec<u8>,
}

impl Sink {
    fn new(lengths: impl Iterator<Item = u64>) -> Self {
        Self { hashes: Hashes::new(lengths), staged: Vec::with_capacity(STAGED) }
    }

    fn written(&self) -> u64 {
        self.hashes.length + self.staged.len() as u64
    }

    fn write(&mut self, octets: &[u8]) {
        if self.staged.len() + octets.len() > STAGED {
            self.flush();
        }
        if octets.len() <= STAGED / 4 {
            self.staged.extend_from_slice(octets);
        } else {
            self.flush();
            self.hashes.update(octets);
        }
    }

    /// Writes the first octets of a block without superfluous white space.
    fn squeeze(&mut self, block: &Block, length: usize) {
        let (squeezed, count) = squeezed(block, length, is_space, ends_space);
        self.write(&squeezed[..count]);
    }

    fn flush(&mut self) {
        self.hashes.update(&self.staged);
        self.staged.clear();
    }

    fn finish(mut self) -> Hashed {
        self.flush();
        self.hashes.finish()
    }
}

/// Hash of the octets that were read, and of their beginnings.
struct Hashes {
    context: digest::Context,
    /// Octets that were read.
    length: u64,
    /// Lengths whose hashes are wanted, the next one last.
    wanted: Vec<u64>,
    /// Hashes of beginnings, by length.
    beginnings: Vec<(u64, [u8; 32])>,
}

impl Hashes {
    fn new(lengths: impl Iterator<Item = u64>) -> Self {
        let mut wanted: Vec<_> = lengths.collect();
        wanted.sort_unstable_by(|one, other| other.cmp(one));
        wanted.dedup();
        let context = digest::Context::new(&digest::SHA256);
        Self { context, length: 0, wanted, beginnings: Vec::new() }
    }

    fn update(&mut self, mut octets: &[u8]) {
        while let Some(length) = self.wanted.last() {
            let left = usize::try_from(length - self.length).unwrap_or(usize::MAX);
            let Some((here, rest)) = octets.split_at_checked(left) else { break };
            self.context.update(here);
            self.length = *length;
            self.beginnings.push((*length, finished(self.context.clone())));
            self.wanted.pop();
            octets = rest;
        }
        self.context.update(octets);
        self.length += octets.len() as u64;
    }

    fn finish(self) -> Hashed {
        let whole = finished(self.context);
        Hashed { length: self.length, whole, beginnings: self.beginnings }
    }
}

fn finished(context: digest::Context) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The hashes of a body in one canonical form.
struct Hashed {
    length: u64,
    whole: [u8; 32],
    /// Hashes of its beginnings, by length.
    beginnings: Vec<(u64, [u8; 32])>,
}

impl Hashed {
    fn hash(&self, length: Option<u64>) -> BodyHash {
        match length {
            None => BodyHash { hash: Some(self.whole), whole: true },
            Some(length) => {
                let found = self.beginnings.iter().find(|(it, _)| *it == length);
                let hash = found.map(|(_, hash)| *hash);
                BodyHash { hash, whole: length == self.length }
            }
        }
    }
}

#[cfg(test)]
mod tests;
