//! Mail data: in from the wire (end of data, un-stuffing, BDAT, bare CR and LF) and out to it
//! (dot-stuffing). The strict half of the promise that nothing is smuggled.
//!
//! In: the end of data is `CRLF . CRLF` and nothing else (RFC 5321 section 4.1.1.4). Out: what is
//! written holds no CR or LF but in CRLF, no line of it is a single dot, and the end of data comes
//! once, last; so a server that takes more for an end of data has nothing to take.

use bytes::{Bytes, BytesMut};
use memchr::{memchr2, memmem};

/// Runs of mail data shorter than this are gathered into one buffer when they are written: a
/// message of nothing but dots must not become a list of millions of slices.
const GATHER: usize = 4_096;

/// Mail data: `*( line CRLF )`, where no line holds a CR or LF. Only the decoders of this file make
/// it, so that the writer has nothing to check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailData(Bytes);

impl MailData {
    /// Makes mail data of any octets: LF without CR becomes CRLF, CR without LF becomes a space,
    /// a last line without CRLF gets one.
    pub fn normalise(octets: &[u8]) -> Self {
        let mut decoder = ContentDecoder::new(octets.len(), u64::MAX);
        decoder.chunk(octets);
        decoder.finish()
    }

    /// The octets.
    pub fn octets(&self) -> &Bytes {
        &self.0
    }
}

/// What becomes of a CR or LF that stands alone in mail data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineEndings {
    /// LF becomes CRLF, CR a space (what Postfix 3.9 does by default).
    #[default]
    Normalise,
    /// The mail data is read to its end, then refused with `550 5.5.2`.
    Refuse,
}

/// Decodes the mail data of one message, from DATA or from BDAT chunks.
#[derive(Debug)]
pub(crate) struct ContentDecoder {
    output: BytesMut,
    place: Place,
    limit: u64,
    /// Octets of content so far, kept or not.
    size: u64,
    bare: bool,
}

/// What the octets before the next one make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// CRLF, or nothing at all.
    LineStart,
    /// A dot at the start of a line.
    Dot,
    /// The same and a CR.
    DotCr,
    /// Some text.
    Text,
    /// Some text and a CR.
    Cr,
}

/// How far a decoder came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All octets were taken, more are to come.
    More,
    /// The end of data was seen; this many octets were taken.
    End(usize),
}

impl ContentDecoder {
    /// `capacity`: octets to make room for (a trusted bound of the SIZE the client announced).
    /// `limit`: octets of decoded content beyond which nothing is kept.
    pub(crate) fn new(capacity: usize, limit: u64) -> Self {
        let output = BytesMut::with_capacity(capacity);
        Self { output, place: Place::LineStart, limit, size: 0, bare: false }
    }

    /// Takes octets behind DATA, up to and including the end of data `CRLF . CRLF`, whose first CRLF
    /// may be the one that ended the DATA line.
    pub(crate) fn data(&mut self, input: &[u8]) -> Progress {
        let mut rest = input;
        while let Some(&octet) = rest.first() {
            match (self.place, octet) {
                (Place::LineStart, b'.') => self.place = Place::Dot,
                (Place::Dot, b'\r') => self.place = Place::DotCr,
                (Place::DotCr, b'\n') => return Progress::End(input.len() - rest.len() + 1),
                (Place::DotCr, _) => {
                    // The dot was stuffing after all, and the CR stands alone.
                    self.stray_cr();
                    continue;
                }
                (Place::LineStart | Place::Dot | Place::Text | Place::Cr, _) => {
                    rest = self.text(rest, true);
                    continue;
                }
            }
            rest = &rest[1..];
        }
        Progress::More
    }

    /// Takes octets of a BDAT chunk; the caller counts. Chunks join as if there were no border.
    pub(crate) fn chunk(&mut self, input: &[u8]) {
        let mut rest = input;
        while !rest.is_empty() {
            rest = self.text(rest, false);
        }
    }

    /// Whether a CR or LF stood alone. To be asked when the mail data is complete: a CR at the end
    /// of a chunk may still get its LF.
    pub(crate) fn saw_bare(&self) -> bool {
        self.bare || self.place == Place::Cr
    }

    /// Whether the content went beyond the limit. What was kept by then has been freed.
    pub(crate) fn over_limit(&self) -> bool {
        self.size > self.limit
    }

    /// Octets of decoded content so far, kept or not, as SIZE counts them.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The mail data, after the end of data or the last chunk.
    pub(crate) fn finish(mut self) -> MailData {
        // No limit applies to what completes the last line: the content has been found small enough,
        // and going beyond the limit here would empty it unseen.
        if self.place == Place::Cr {
            self.output.extend_from_slice(b" ");
        }
        if !self.output.is_empty() && !self.output.ends_with(b"\r\n") {
            self.output.extend_from_slice(b"\r\n");
        }
        MailData(self.output.freeze())
    }

    /// Takes text: whole lines at once where their ends are in order, up to what needs a closer
    /// look. With `dots` that includes a dot at the start of a line. Gives back what is left.
    fn text<'i>(&mut self, input: &'i [u8], dots: bool) -> &'i [u8] {
        if self.place == Place::Cr {
            if input.first() == Some(&b'\n') {
                self.keep(b"\r\n");
                self.place = Place::LineStart;
                return &input[1..];
            }
            self.stray_cr();
        }
        self.place = Place::Text;
        let mut from = 0;
        while let Some(at) = memchr2(b'\r', b'\n', &input[from..]).map(|at| at + from) {
            match (input[at], input.get(at + 1)) {
                (b'\r', Some(b'\n')) => {
                    from = at + 2;
                    if dots && input.get(from).is_none_or(|octet| *octet == b'.') {
                        self.keep(&input[..from]);
                        self.place = Place::LineStart;
                        return &input[from..];
                    }
                }
                (b'\r', None) => {
                    self.keep(&input[..at]);
                    self.place = Place::Cr;
                    return &[];
                }
                (b'\r', Some(_)) => {
                    self.keep(&input[..at]);
                    self.stray_cr();
                    return &input[at + 1..];
                }
                _ => {
                    // A dot behind this line end is content: the client has not begun a line.
                    self.keep(&input[..at]);
                    self.keep(b"\r\n");
                    self.bare = true;
                    return &input[at + 1..];
                }
            }
        }
        self.keep(input);
        &[]
    }

    fn stray_cr(&mut self) {
        self.bare = true;
        self.place = Place::Text;
        self.keep(b" ");
    }

    fn keep(&mut self, octets: &[u8]) {
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.over_limit() {
            self.output = BytesMut::new();
        } else {
            self.output.extend_from_slice(octets);
        }
    }
}

/// Appends to `output` the segments of mail data (each of whole lines) as they stand between 354 and
/// the reply: stuffed, ended by `.` CRLF. Long runs are not copied; short ones are gathered.
pub(crate) fn write_data(segments: &[Bytes], output: &mut Vec<Bytes>) {
    let mut gathered = BytesMut::new();
    let mut write = |run: Bytes| {
        if run.len() < GATHER {
            gathered.extend_from_slice(&run);
        } else {
            if !gathered.is_empty() {
                output.push(gathered.split().freeze());
            }
            output.push(run);
        }
    };
    let dot = || Bytes::from_static(b".");
    let line_dot = memmem::Finder::new(b"\n.");
    for segment in segments {
        if segment.first() == Some(&b'.') {
            write(dot());
        }
        let mut from = 0;
        for at in line_dot.find_iter(segment) {
            write(segment.slice(from..=at));
            write(dot());
            from = at + 1;
        }
        write(segment.slice(from..));
    }
    write(Bytes::from_static(b".\r\n"));
    if !gathered.is_empty() {
        output.push(gathered.freeze());
    }
}
