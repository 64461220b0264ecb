//! An onward server that replies automatically, for dialogues and for the scripts of a virtual
//! runtime.

/// State of the automatic server, and which part of the onward side it plays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Automatic {
    role: Role,
    reading: Reading,
    /// The reply to EHLO.
    hello: Vec<u8>,
    messages: u32,
    /// Command prefixes in upper case, each with its reply.
    replies: Vec<(Box<[u8]>, Box<str>)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Role {
    /// The dialogue contains the whole onward side.
    #[default]
    Nothing,
    /// Connection, greeting and EHLO are automatic.
    Introduces,
    /// The whole onward side is automatic.
    Accepts,
}

#[derive(Debug, Clone, Copy, Default)]
enum Reading {
    #[default]
    Commands,
    Data,
    /// A BDAT chunk, with the number of octets still to come.
    Chunk(usize),
}

/// Reaction of the server to a line.
pub(crate) enum Heard {
    /// The dialogue handles the line.
    Scripted,
    /// The server sends this reply, which may be empty.
    Says(Vec<u8>),
}

impl Automatic {
    pub(crate) fn introduces(keywords: &[&str]) -> Self {
        Self::new(Role::Introduces, keywords)
    }

    /// Creates a server that accepts everything. Without keywords it offers the usual extensions.
    pub(crate) fn accepts(keywords: &[&str]) -> Self {
        const USUAL: [&str; 5] = ["PIPELINING", "SIZE 0", "8BITMIME", "SMTPUTF8", "DSN"];
        let keywords = if keywords.is_empty() { &USUAL } else { keywords };
        Self::new(Role::Accepts, keywords)
    }

    fn new(role: Role, keywords: &[&str]) -> Self {
        let mut server = Self { role, ..Self::default() };
        server.offer(keywords);
        server
    }

    /// Sets the keywords of the EHLO reply.
    pub(crate) fn offer(&mut self, keywords: &[&str]) {
        let mut lines = vec!["onward.example.com"];
        lines.extend(keywords.iter().filter(|keyword| **keyword != "none"));
        let mut hello = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let mark = if index + 1 == lines.len() { ' ' } else { '-' };
            hello.extend_from_slice(format!("250{mark}{line}\r\n").as_bytes());
        }
        self.hello = hello;
    }

    /// Sets the reply to commands that begin with `command`. The command `.` stands for the end of
    /// the mail data.
    #[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "for scripts alone"))]
    pub(crate) fn reply_to(&mut self, command: &str, reply: &str) {
        let command = command.to_ascii_uppercase().into_bytes().into();
        self.replies.insert(0, (command, reply.into()));
    }

    fn reply(&self, line: &[u8]) -> Option<&str> {
        let same = |command: &[u8]| {
            line.get(..command.len()).is_some_and(|front| front.eq_ignore_ascii_case(command))
        };
        self.replies.iter().find(|(command, _)| same(command)).map(|(_, reply)| &**reply)
    }

    /// Returns the greeting if it is automatic.
    pub(crate) fn greeting(&mut self) -> Option<&'static [u8]> {
        self.reading = Reading::Commands;
        (self.role != Role::Nothing).then_some(b"220 onward.example.com ESMTP\r\n")
    }

    /// Returns whether the whole onward side is automatic.
    pub(crate) fn is_alone(&self) -> bool {
        self.role == Role::Accepts
    }

    /// Processes a line without its CRLF.
    pub(crate) fn hear(&mut self, line: &[u8]) -> Heard {
        let is_asked = match self.reading {
            Reading::Commands => true,
            Reading::Data => line == b".",
            Reading::Chunk(_) => false,
        };
        if is_asked && let Some(reply) = self.reply(line) {
            let end = if reply.is_empty() || reply.ends_with("\r\n") { "" } else { "\r\n" };
            let reply = [reply, end].concat().into_bytes();
            let takes_data = reply.starts_with(b"354") && line.eq_ignore_ascii_case(b"DATA");
            self.reading = if takes_data { Reading::Data } else { Reading::Commands };
            return Heard::Says(reply);
        }
        let verb = line.split(|octet| *octet == b' ').next().unwrap_or(line);
        let reply = match (self.role, self.reading, verb) {
            (Role::Introduces | Role::Accepts, Reading::Commands, b"EHLO" | b"LHLO") => {
                return Heard::Says(self.hello.clone());
            }
            (Role::Nothing | Role::Introduces, ..) => return Heard::Scripted,
            (Role::Accepts, Reading::Data, _) if line == b"." => {
                self.reading = Reading::Commands;
                self.taken()
            }
            (Role::Accepts, Reading::Data, _) => String::new(),
            (Role::Accepts, Reading::Chunk(left), _) => {
                let left = left.saturating_sub(line.len() + 2);
                if left > 0 {
                    self.reading = Reading::Chunk(left);
                    String::new()
                } else {
                    self.reading = Reading::Commands;
                    self.taken()
                }
            }
            (Role::Accepts, Reading::Commands, b"DATA") => {
                self.reading = Reading::Data;
                "354 Go ahead\r\n".to_owned()
            }
            (Role::Accepts, Reading::Commands, b"BDAT") => {
                let size = line.split(|octet| *octet == b' ').nth(1);
                let size = size.and_then(|size| str::from_utf8(size).ok()?.parse().ok());
                self.reading = Reading::Chunk(size.unwrap_or(0));
                String::new()
            }
            (Role::Accepts, Reading::Commands, b"RCPT") => "250 2.1.5 Ok\r\n".to_owned(),
            (Role::Accepts, Reading::Commands, b"QUIT") => "221 2.0.0 Bye\r\n".to_owned(),
            (Role::Accepts, Reading::Commands, _) => "250 2.0.0 Ok\r\n".to_owned(),
        };
        Heard::Says(reply.into_bytes())
    }

    fn taken(&mut self) -> String {
        self.messages += 1;
        format!("250 2.0.0 Ok: queued as {}\r\n", self.messages)
    }
}
