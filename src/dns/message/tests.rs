use proptest::prelude::*;
use simple_dns::CharacterString;
use simple_dns::rdata::{A, CNAME, MX, PTR, SOA};

use super::*;

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

/// A record: owner, TTL and data.
type Given<'g> = (&'g str, u32, RData<'g>);

/// Creates the reply to this question with these records in its answer and authority sections.
fn reply(query: &Query<'_>, answers: &[Given<'_>], authority: &[Given<'_>]) -> Vec<u8> {
    changed(query, answers, authority, |_| {})
}

fn changed(
    query: &Query<'_>,
    answers: &[Given<'_>],
    authority: &[Given<'_>],
    change: impl FnOnce(&mut Packet<'_>),
) -> Vec<u8> {
    let mut packet = Packet::parse(query.octets()).unwrap().into_reply();
    let record = |(owner, ttl, data): &Given<'_>| {
        ResourceRecord::new(
            Name::new(owner).unwrap().into_owned(),
            CLASS::IN,
            *ttl,
            data.clone().into_owned(),
        )
    };
    packet.answers = answers.iter().map(record).collect();
    packet.name_servers = authority.iter().map(record).collect();
    change(&mut packet);
    packet.build_bytes_vec_compressed().unwrap()
}

fn a(last: u8) -> RData<'static> {
    RData::A(A { address: u32::from_be_bytes([127, 0, 0, last]) })
}

fn alias(target: &'static str) -> RData<'static> {
    RData::CNAME(CNAME(Name::new(target).unwrap()))
}

fn zone(minimum: u32) -> RData<'static> {
    let name = Name::new("ns.example").unwrap();
    let (mname, rname) = (name.clone(), name);
    RData::SOA(SOA { mname, rname, serial: 1, refresh: 1, retry: 1, expire: 1, minimum })
}

fn answer(records: &[Record], seconds: u64) -> Reply {
    Reply::Answer(Answer::new(records.to_vec(), Duration::from_secs(seconds)))
}

fn code(last: u8) -> Record {
    Record::A([127, 0, 0, last].into())
}

#[test]
fn query_is_encoded_as_in_rfc_1035() {
    let name = name("a.example");
    let query = Query::new(0x1234, &name, RecordKind::Txt).unwrap();
    let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x10\0\x01";
    assert_eq!(query.octets(), expected);
}

#[test]
fn records_are_read_with_the_least_time_to_live() {
    let asked = name("a.example");
    let query = Query::new(7, &asked, RecordKind::A).unwrap();
    let table: &[(&[Given<'_>], &[Given<'_>], Reply)] = &[
        (&[("a.example", 60, a(2))], &[], answer(&[code(2)], 60)),
        (&[("A.EXAMPLE", 60, a(2)), ("a.example", 30, a(4))], &[], answer(&[code(2), code(4)], 30)),
        // Records of other names and types are ignored.
        (&[("b.example", 60, a(2)), ("a.example", 60, a(3))], &[], answer(&[code(3)], 60)),
        (&[("a.example", 60, zone(9))], &[], answer(&[], 0)),
        // Aliases, in any order.
        (
            &[("b.example", 60, a(2)), ("a.example", 10, alias("b.example"))],
            &[],
            answer(&[code(2)], 10),
        ),
        (&[("a.example", 10, alias("b.example"))], &[], answer(&[], 0)),
        (
            &[("a.example", 100, alias("b.example"))],
            &[("example", 300, zone(200))],
            answer(&[], 100),
        ),
        (
            &[("a.example", 10, alias("b.example")), ("b.example", 10, alias("a.example"))],
            &[],
            Reply::Failed(ResolveError::Malformed("CNAME loop, or too many CNAME records")),
        ),
        // No records, for the time given by the zone (RFC 2308 section 5).
        (&[], &[("example", 300, zone(900))], answer(&[], 300)),
        (&[], &[("example", 900, zone(300))], answer(&[], 300)),
        (&[], &[], answer(&[], 0)),
        (&[("a.example", u32::MAX, a(2))], &[], answer(&[code(2)], 0)),
    ];
    for (answers, authority, expected) in table {
        let octets = reply(&query, answers, authority);
        assert_eq!(query.read(&octets), *expected, "{answers:?} {authority:?}");
        let absent = changed(&query, answers, authority, |it| *it.rcode_mut() = RCODE::NameError);
        assert_eq!(query.read(&absent), *expected, "NXDOMAIN says how an alias ends, no more");
    }
}

#[test]
fn records_and_aliases_are_bounded() {
    let asked = name("a.example");
    let query = Query::new(7, &asked, RecordKind::A).unwrap();
    // The question counts as one record.
    let records = |count| reply(&query, &vec![("a.example", 60, a(2)); count], &[]);
    assert!(matches!(query.read(&records(RECORDS - 1)), Reply::Answer(_)));
    assert!(matches!(query.read(&records(RECORDS)), Reply::Unrelated(_)));

    let names: Vec<String> = (0..20).map(|n| format!("a{n}.example")).collect();
    let names: Vec<&'static str> = names.into_iter().map(|it| &*it.leak()).collect();
    let chain = |aliases: usize| {
        let mut chain = vec![("a.example", 60, alias(names[0]))];
        chain.extend((1..aliases).map(|n| (names[n - 1], 60, alias(names[n]))));
        chain.push((names[aliases - 1], 60, a(2)));
        query.read(&reply(&query, &chain, &[]))
    };
    assert_eq!(chain(ALIASES), answer(&[code(2)], 60));
    let endless = Reply::Failed(ResolveError::Malformed("CNAME loop, or too many CNAME records"));
    assert_eq!(chain(ALIASES + 1), endless);
}

#[test]
fn other_types_are_read() {
    let asked = name("a.example");
    let read = |kind, data: RData<'_>| {
        let query = Query::new(7, &asked, kind).unwrap();
        match query.read(&reply(&query, &[("a.example", 60, data)], &[])) {
            Reply::Answer(answer) => answer.records.to_vec(),
            other => panic!("{other:?}"),
        }
    };
    let mx =
        |text: &'static str| RData::MX(MX { preference: 5, exchange: Name::new(text).unwrap() });
    let exchange = Some(name("mx.example"));
    assert_eq!(read(RecordKind::Mx, mx("MX.example")), [Record::Mx { preference: 5, exchange }]);
    assert_eq!(
        read(RecordKind::Mx, mx(".")),
        [Record::Mx { preference: 5, exchange: None }],
        "null MX"
    );
    let ptr = |text: &'static str| RData::PTR(PTR(Name::new(text).unwrap()));
    assert_eq!(read(RecordKind::Ptr, ptr("b.example")), [Record::Ptr(name("b.example"))]);
    for odd in ["b c.example", r"b\.c.example", r"b\010.example", "b(c.example", r"\228.example"] {
        assert_eq!(read(RecordKind::Ptr, ptr(odd)), [], "{odd}");
    }
    let mut txt = TXT::new();
    for string in [&b"v=spf1 "[..], b"", b"=\xff", b" -all"] {
        txt.add_char_string(CharacterString::new(string).unwrap());
    }
    let expected = Record::Txt((*b"v=spf1 =\xff -all").into());
    assert_eq!(read(RecordKind::Txt, RData::TXT(txt)), [expected]);
}

#[test]
fn unrelated_messages_are_not_answers() {
    let (asked, other) = (name("a.example"), name("b.example"));
    let query = Query::new(7, &asked, RecordKind::A).unwrap();
    let given: &[Given<'_>] = &[("a.example", 60, a(2))];
    let right = reply(&query, given, &[]);
    assert_eq!(query.read(&right), answer(&[code(2)], 60));

    let unrelated = |octets: &[u8], why| assert_eq!(query.read(octets), Reply::Unrelated(why));
    unrelated(b"", "wrong ID");
    unrelated(&right[..1], "wrong ID");
    let mut wrong = right.clone();
    wrong[1] ^= 1;
    unrelated(&wrong, "wrong ID");
    unrelated(query.octets(), "not a response");
    for length in 2..12 {
        unrelated(&right[..length], "more records than fit into the message");
    }
    for length in 12..right.len() {
        assert!(matches!(query.read(&right[..length]), Reply::Unrelated(_)), "{length}");
    }
    for question in [
        Query::new(7, &other, RecordKind::A).unwrap(),
        Query::new(7, &asked, RecordKind::Aaaa).unwrap(),
    ] {
        unrelated(&reply(&question, given, &[]), "wrong question");
    }
    unrelated(&changed(&query, given, &[], |it| it.questions.clear()), "wrong question");
    let twice = |it: &mut Packet<'_>| it.questions.push(it.questions[0].clone().into_owned());
    unrelated(&changed(&query, given, &[], twice), "wrong question");
    let counts = |counts: [u8; 8]| [b"\0\x07\x81\x80", &counts[..], &right[12..]].concat();
    unrelated(
        &counts([0, 1, 255, 255, 255, 255, 255, 255]),
        "more records than fit into the message",
    );
    unrelated(&counts([0, 1, 0, 1, 3, 255, 0, 0]), "more records than fit into the message");
}

#[test]
fn unusable_response_states_the_reason() {
    let asked = name("a.example");
    let query = Query::new(7, &asked, RecordKind::A).unwrap();
    let declined = |rcode: RCODE| changed(&query, &[], &[], |it| *it.rcode_mut() = rcode);
    for (rcode, number) in [
        (RCODE::FormatError, 1),
        (RCODE::ServerFailure, 2),
        (RCODE::NotImplemented, 4),
        (RCODE::Refused, 5),
    ] {
        let expected = Reply::Failed(ResolveError::Declined(number));
        assert_eq!(query.read(&declined(rcode)), expected);
        let silent = changed(&query, &[], &[], |it| {
            *it.rcode_mut() = rcode;
            it.questions.clear();
        });
        assert_eq!(query.read(&silent), expected, "without the question");
    }
    let cut = changed(&query, &[("a.example", 60, a(2))], &[], |it| {
        it.set_flags(PacketFlag::TRUNCATION);
    });
    for length in query.octets().len()..=cut.len() {
        assert_eq!(query.read(&cut[..length]), Reply::Truncated, "cut at {length}");
    }
}

#[test]
fn compression_pointer_loops_are_refused() {
    let asked = name("a.example");
    let query = Query::new(7, &asked, RecordKind::A).unwrap();
    let header = b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0";
    let question = &query.octets()[12..];
    // Compression pointers to themselves, to the next one, in a loop, and beyond the end.
    let at = 12 + question.len();
    for pointer in [at, at + 2, 0x3fff, 12, 0] {
        let pointer = (0xc000 | pointer as u16).to_be_bytes();
        let tail = b"\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x02";
        let octets = [&header[..], question, &pointer, tail].concat();
        let expected = pointer == [0xc0, 12];
        assert_eq!(
            matches!(query.read(&octets), Reply::Answer(it) if !it.records.is_empty()),
            expected
        );
    }
}

proptest! {
    /// The parser handles any input, and only a correct message gives an answer with records.
    #[test]
    fn arbitrary_octets_do_not_panic(mut octets: Vec<u8>, likely: bool) {
        let asked = name("a.example");
        let query = Query::new(7, &asked, RecordKind::A).unwrap();
        if likely {
            let tail = std::mem::replace(&mut octets, query.octets().to_vec());
            octets[2] |= 0x80;
            octets[7] = 1;
            octets.extend(tail);
        }
        query.read(&octets);
    }

    #[test]
    fn damaged_answers_do_not_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let asked = name("a.example");
        let query = Query::new(7, &asked, RecordKind::A).unwrap();
        let given: &[Given<'_>] = &[("a.example", 60, alias("b.example")), ("b.example", 60, a(2))];
        let mut octets = reply(&query, given, &[("example", 60, zone(60))]);
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        query.read(&octets);
    }
}
