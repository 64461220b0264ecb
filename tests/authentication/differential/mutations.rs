//! Random signed messages, and random changes of them.

use crate::signer::{Form, Key, Sign, split};

/// A pseudo-random number generator (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// A signed message, its key record, and how both were changed.
pub(super) struct Mail {
    /// The signature field.
    pub(super) signature: String,
    fields: Vec<String>,
    body: String,
    pub(super) record: Option<String>,
    /// Name of the key record, which no other message has.
    pub(super) key_name: String,
    pub(super) mutations: Vec<&'static str>,
}

impl Mail {
    /// Makes the message with this number.
    pub(super) fn random(random: &mut Random, number: usize) -> Self {
        let text = message(random);
        // Our signer takes a second for a signature of 1,024 bits.
        let small = random.one_in(100);
        let key = if small {
            Key::Rsa1024
        } else {
            random.of(&[Key::Rsa2048, Key::Rsa2048, Key::Ed25519])
        };
        let [header, body] = [(); 2].map(|()| random.of(&[Form::Simple, Form::Relaxed]));
        let mut names = vec!["From"];
        for name in ["To", "Subject", "Date", "Received", "Received", "X-Note", "From", "Cc"] {
            if random.one_in(2) {
                names.insert(random.below(names.len() + 1), name);
            }
        }
        let names = names.join(random.of(&[":", " : ", ":\r\n\t", ": "]));
        let canonical = body.body(split(&text).1).len();
        let length = random.one_in(10).then(|| random.below(canonical + 1));
        let mut tags = vec![
            "v=1".to_owned(),
            format!("a={}", key.algorithm()),
            format!("c={}/{}", header.name(), body.name()),
            "d=example.org".to_owned(),
            format!("s=s{number:05}"),
            format!("h={names}"),
            "bh={bh}".to_owned(),
        ];
        tags.extend(length.map(|length| format!("l={length}")));
        for (tag, odds) in [
            ("i=@example.org", 4),
            ("i=ann@sub.example.org", 6),
            ("t=999999000", 4),
            ("x=1000086400", 6),
            ("x=999900000", 30),
            ("q=dns/txt", 6),
            ("z=From:ann", 10),
        ] {
            let name = tag.split('=').next();
            if random.one_in(odds) && !tags.iter().any(|it| it.split('=').next() == name) {
                tags.insert(1 + random.below(tags.len()), tag.to_owned());
            }
        }
        let at = if random.one_in(4) { 1 + random.below(tags.len()) } else { tags.len() };
        tags.insert(at, "b={b}".to_owned());
        let tags = tags.join(random.of(&["; ", ";\r\n\t", ";", " ; "]));
        let name = "DKIM-Signature";
        let sign = Sign { name, key, header, body, length, names: &names, tags: &tags };
        let (fields, content) = split(&text);
        let mut mail = Self {
            signature: sign.field(&text),
            fields,
            body: content.to_owned(),
            record: Some(key.record()),
            key_name: format!("s{number:05}._domainkey.example.org"),
            mutations: Vec::new(),
        };
        for _ in 0..random.below(3) {
            mail.mutate(random);
        }
        mail
    }

    pub(super) fn text(&self) -> String {
        format!("{}{}\r\n{}", self.signature, self.fields.concat(), self.body)
    }
}

fn message(random: &mut Random) -> String {
    let mut fields: Vec<String> = Vec::new();
    for _ in 0..random.below(4) {
        let host = random.below(100);
        let fold = random.of(&[" ", "\r\n\t", "\r\n    "]);
        fields.push(format!("Received: from h{host}.example{fold}by mx{host}.example\r\n"));
    }
    for (field, odds) in [
        ("From: Ann <ann@example.org>\r\n", 1),
        ("To: Bob <bob@example.net>,\r\n Carol <carol@example.net>\r\n", 2),
        ("Subject:  A  subject \r\n", 1),
        ("SUBJECT : another\r\n", 12),
        ("Date: Sat, 08 Sep 2001 18:46:40 -0700\r\n", 1),
        ("X-Note:\t\r\n\tfolded\r\n", 3),
        ("X-Empty:\r\n", 3),
        ("Cc: dave@example.net\r\n", 4),
        ("Message-ID: <1@example.org>\r\n", 1),
    ] {
        if random.one_in(odds) {
            fields.insert(random.below(fields.len() + 1), field.to_owned());
        }
    }
    let mut body = String::new();
    for _ in 0..random.below(8) {
        body += random.of(&[
            "A line of text\r\n",
            "Two  spaces, a\ttab, and one at the end \r\n",
            " indented\r\n",
            "\r\n",
            " \t\r\n",
            ".\r\n",
            "long ",
        ]);
    }
    if !body.is_empty() && !body.ends_with("\r\n") {
        body += "\r\n";
    }
    format!("{}\r\n{body}", fields.concat())
}

type Mutation = (&'static str, fn(&mut Mail, &mut Random));

/// The possible changes of a message, its signature and its key record.
const MUTATIONS: &[Mutation] = &[
    ("letter of a field", |mail, random| {
        let field = random.below(mail.fields.len());
        letter(&mut mail.fields[field], random);
    }),
    ("letter of the body", |mail, random| letter(&mut mail.body, random)),
    ("letter of the signature field", |mail, random| letter(&mut mail.signature, random)),
    ("space in a field", |mail, random| {
        let field = random.below(mail.fields.len());
        let text = &mut mail.fields[field];
        replace(text, " ", random.of(&["  ", "\t", " \t ", "\r\n ", "\r\n\t", " \r\n "]), random);
    }),
    ("space in the body", |mail, random| {
        replace(&mut mail.body, " ", random.of(&["  ", "\t", "\t "]), random);
    }),
    ("space at the end of a line", |mail, random| {
        replace(&mut mail.body, "\r\n", random.of(&[" \r\n", "\t\r\n", "\r\n\r\n"]), random);
    }),
    ("space at the end of a field", |mail, random| {
        let field = random.below(mail.fields.len());
        replace(&mut mail.fields[field], "\r\n", " \t\r\n", random);
    }),
    ("space in the signature field", |mail, random| {
        let new = random.of(&["  ", "\t", "\r\n ", "\r\n\t"]);
        replace(&mut mail.signature, " ", new, random);
    }),
    ("unfolded", |mail, random| {
        let field = random.below(mail.fields.len());
        replace(&mut mail.fields[field], "\r\n\t", " ", random);
    }),
    ("empty lines", |mail, random| mail.body += random.of(&["\r\n", "\r\n\r\n", " \r\n"])),
    ("text appended", |mail, _| mail.body += "Appended\r\n"),
    ("field added", |mail, random| {
        let field = random.of(&[
            "Received: from x by y\r\n",
            "Subject: x\r\n",
            "X-New: x\r\n",
            "X-Note: x\r\n",
            "Cc: x\r\n",
            "From: Mallory <m@example.com>\r\n",
        ]);
        mail.fields.insert(random.below(mail.fields.len() + 1), field.to_owned());
    }),
    ("field removed", |mail, random| {
        mail.fields.remove(random.below(mail.fields.len()));
    }),
    ("fields swapped", |mail, random| {
        let (one, other) = (random.below(mail.fields.len()), random.below(mail.fields.len()));
        mail.fields.swap(one, other);
    }),
    ("name in another case", |mail, random| {
        let field = random.below(mail.fields.len());
        let field = &mut mail.fields[field];
        let colon = field.find(':').unwrap_or(0);
        let name = field[..colon].to_uppercase();
        field.replace_range(..colon, &name);
    }),
    ("space before the colon", |mail, random| {
        let field = random.below(mail.fields.len());
        let field = &mut mail.fields[field];
        let colon = field.find(':').unwrap_or(0);
        field.insert(colon, ' ');
    }),
    ("tag removed", |mail, random| {
        tags(mail, |tags| {
            tags.remove(random.below(tags.len()));
        });
    }),
    ("tag repeated", |mail, random| {
        tags(mail, |tags| {
            let tag = tags[random.below(tags.len())].clone();
            tags.push(tag);
        });
    }),
    ("tags reordered", |mail, random| {
        tags(mail, |tags| {
            let (one, other) = (random.below(tags.len()), random.below(tags.len()));
            tags.swap(one, other);
        });
    }),
    ("tag inserted", |mail, random| {
        tags(mail, |tags| {
            let tag = random.of(&[
                " new=1",
                " x_1=a=b",
                " =1",
                " 1a=2",
                "",
                " ",
                " x y=1",
                " g-h=1",
                " n",
                " l=0",
                " l=3",
                " q=dns",
                " q=dns/txt",
                " q=http:dns/txt",
                " x=1",
                " x=2000000000",
                " t=1000000000",
                " t=x",
                " i=@example.com",
                " i=sub.example.org",
                " i=@EXAMPLE.org",
                " e=\u{fc}",
            ]);
            tags.insert(random.below(tags.len() + 1), tag.to_owned());
        });
    }),
    ("value changed", |mail, random| {
        let (old, new) = random.of(&[
            ("v=1", "v=2"),
            ("v=1", "v=01"),
            ("rsa-sha256", "rsa-sha1"),
            ("rsa-sha256", "RSA-SHA256"),
            ("-sha256", "-sha512"),
            ("relaxed", "Relaxed"),
            ("relaxed/", "simple/"),
            ("simple/", "relaxed/"),
            ("/relaxed", ""),
            ("/simple", ""),
            ("c=", "c= "),
            ("d=example.org", "d=EXAMPLE.ORG"),
            ("d=example.org", "d=example.org."),
            ("d=example.org", "d=org"),
            ("s=s0", "s=S0"),
            ("s=s0", "s=t0"),
            ("h=", "h=:"),
            ("h=", "h=Nothing:"),
            ("From", "FROM"),
            ("From", "Fro"),
            ("i=", "i=b=40x"),
        ]);
        mail.signature = mail.signature.replace(old, new);
    }),
    ("hash or signature spoiled", |mail, random| {
        let (old, new) = random.of(&[
            ("bh=", "bh=A"),
            ("bh=", "bh= \r\n\t"),
            (" b=", " b=A"),
            (" b=", " b=\r\n  "),
            ("=;", ";"),
            ("=;", "==;"),
            ("=\r\n", "\r\n"),
            ("=\r\n", "==\r\n"),
            ("=\r\n", "=;\r\n"),
            ("=\r\n", "=;;\r\n"),
            ("=\r\n", "=\r\n \r\n"),
            ("=\r\n", "= ; \r\n"),
            ("+", "-"),
            ("/", "_"),
        ]);
        mail.signature = mail.signature.replace(old, new);
    }),
    ("key record changed", |mail, random| {
        let Some(record) = &mut mail.record else { return };
        let (old, new) = random.of(&[
            ("v=DKIM1", "v=DKIM2"),
            ("v=DKIM1", "v=dkim1"),
            ("v=DKIM1; ", ""),
            ("v=DKIM1;", "v=DKIM1;;"),
            ("v=DKIM1;", "v=DKIM1; t=y;"),
            ("v=DKIM1;", "v=DKIM1; t=s;"),
            ("v=DKIM1;", "v=DKIM1; t=y : s;"),
            ("v=DKIM1;", "v=DKIM1; h=sha1;"),
            ("v=DKIM1;", "v=DKIM1; h=sha1:sha256;"),
            ("v=DKIM1;", "v=DKIM1; s=*;"),
            ("v=DKIM1;", "v=DKIM1; s=email;"),
            ("v=DKIM1;", "v=DKIM1; s=other;"),
            ("v=DKIM1;", "v=DKIM1; g=*;"),
            ("v=DKIM1;", "v=DKIM1; n=note; new=1;"),
            ("v=DKIM1;", "v=DKIM1; v=DKIM1;"),
            ("v=DKIM1;", "v=DKIM1; broken;"),
            ("k=rsa; ", ""),
            ("k=rsa", "k=RSA"),
            ("k=rsa", "k=other"),
            ("k=rsa", "k=ed25519"),
            ("k=ed25519", "k=rsa"),
            ("p=", "p= "),
            ("p=M", "p=M A"),
            ("p=M", "p= M"),
            ("AQAB", "AQAB;"),
            ("AQAB", "AQAC"),
            ("AQAB", "AQ AB"),
            ("AQAB", ""),
            ("=", " = "),
        ]);
        *record = record.replacen(old, new, 1);
    }),
    ("no key", |mail, random| {
        mail.record =
            random.of(&[None, Some("v=DKIM1; p="), Some("p=;"), Some("")]).map(str::to_owned);
    }),
];

impl Mail {
    fn mutate(&mut self, random: &mut Random) {
        let (name, mutate) = random.of(MUTATIONS);
        mutate(self, random);
        // There must be a field and a signature left to look at.
        if self.fields.is_empty() {
            self.fields.push("X-New: x\r\n".to_owned());
        }
        self.mutations.push(name);
    }
}

/// Replaces a letter by another one.
fn letter(text: &mut String, random: &mut Random) {
    let places: Vec<_> =
        text.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()).map(|(at, _)| at).collect();
    // The first of a signature field would make another field of it.
    if let Some(at) = places.get(14 + random.below(places.len().max(1))).or(places.last()) {
        let new = random.of(&["a", "B", "7", "x", "Q"]);
        text.replace_range(*at..at + 1, new);
    }
}

/// Replaces one occurrence.
fn replace(text: &mut String, old: &str, new: &str, random: &mut Random) {
    let places: Vec<_> = text.match_indices(old).map(|(at, _)| at).collect();
    if !places.is_empty() {
        let at = random.of(&places);
        text.replace_range(at..at + old.len(), new);
    }
}

/// Changes the tags of the signature.
fn tags(mail: &mut Mail, change: impl FnOnce(&mut Vec<String>)) {
    let (name, value) = mail.signature.split_once(':').unwrap_or_default();
    let value = value.strip_suffix("\r\n").unwrap_or(value);
    let mut tags: Vec<_> = value.split(';').map(str::to_owned).collect();
    change(&mut tags);
    mail.signature = format!("{name}:{}\r\n", tags.join(";"));
}
