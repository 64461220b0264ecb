use proptest::prelude::*;
use simple_dns::rdata::{A, CNAME, MX, PTR, RData, SOA, TXT};
use simple_dns::{CLASS, CharacterString, Name, Packet, PacketFlag, RCODE, ResourceRecord};

use super::{ALIASES, Answer, DomainName, Duration, HEADER, Query, Record, RecordKind};
use super::{Reply, ResolveError};
use crate::dns::packet::RECORDS;

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
    let query = Query::without_edns(0x1234, &name, RecordKind::Txt);
    let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x10\0\x01";
    assert_eq!(query.octets(), expected);
}

/// RFC 6891 section 6.1.2: an OPT record with 1,232 (0x4d0) octets.
#[test]
fn datagrams_of_1232_octets_are_asked_for() {
    let name = name("a.example");
    let query = Query::new(0x1234, &name, RecordKind::Txt);
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x01a\x07example\0\0\x10\0\x01";
    let expected = [&question[..], b"\0\0\x29\x04\xd0\0\0\0\0\0\0"].concat();
    assert_eq!(query.octets(), expected);
    let packet = Packet::parse(query.octets()).unwrap();
    assert_eq!(packet.opt().unwrap().udp_packet_size, 1_232);
}

#[test]
fn names_are_asked_with_any_octets() {
    let name = DomainName::from_octets(b"a b/\xff\\.example").unwrap();
    let query = Query::without_edns(7, &name, RecordKind::A);
    assert_eq!(&query.octets()[HEADER..], b"\x06a b/\xff\\\x07example\0\0\x01\0\x01");
}

#[test]
fn records_are_read_with_the_least_time_to_live() {
    let asked = name("a.example");
    let query = Query::new(7, &asked, RecordKind::A);
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
        // NXDOMAIN is about the name at the end of the chain, and has no meaning beside records.
        let expected = match expected {
            Reply::Answer(answer) if answer.records.is_empty() => {
                &Reply::Answer(Answer::no_such_domain(answer.ttl))
            }
            other => other,
        };
        assert_eq!(query.read(&absent), *expected, "{answers:?} {authority:?}");
    }
}

/// RFC 2317 section 4: the names in the middle of the chain are no host names.
#[test]
fn aliases_may_have_any_octets() {
    let asked = name("1.2.0.192.in-addr.arpa");
    let query = Query::new(7, &asked, RecordKind::Ptr);
    for middle in ["1.0/25.2.0.192.in-addr.arpa", "1.a b\u{fc}(.2.0.192.in-addr.arpa"] {
        let ptr = RData::PTR(PTR(Name::new("mx.example").unwrap()));
        let chain: &[Given<'_>] =
            &[("1.2.0.192.in-addr.arpa", 60, alias(middle)), (middle, 60, ptr)];
        let expected = answer(&[Record::Ptr(name("mx.example"))], 60);
        assert_eq!(query.read(&reply(&query, chain, &[])), expected, "{middle}");
    }
}

#[test]
fn a_malformed_record_does_not_void_the_others() {
    let asked = name("a.example");
    let header = |answers: u8| [0, 7, 0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0];
    let message = |query: &Query<'_>, records: &[(&[u8], &[u8])]| {
        let mut octets = header(records.len() as u8).to_vec();
        let question_end = HEADER + 15;
        octets.extend_from_slice(&query.octets()[HEADER..question_end]);
        for (head, data) in records {
            octets.extend_from_slice(head);
            octets.extend_from_slice(&[0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
            octets.extend_from_slice(data);
        }
        query.read(&octets)
    };
    // Owner and type. The owner is a pointer to the question.
    let (a_type, mx_type, txt_type) = (b"\xc0\x0c\0\x01", b"\xc0\x0c\0\x0f", b"\xc0\x0c\0\x10");
    let right: (&[u8], &[u8]) = (a_type, b"\x7f\0\0\x02");
    let query = Query::new(7, &asked, RecordKind::A);
    let faulty: [(&[u8], &[u8]); 7] = [
        (a_type, b""),
        (a_type, b"\x7f\0\0"),
        (a_type, b"\x7f\0\0\x02\0"),
        // An owner that is a pointer forwards, one beyond the end, and aliases to such names.
        (b"\xc0\x3f\0\x01", b"\x7f\0\0\x03"),
        (b"\xff\xff\0\x01", b"\x7f\0\0\x03"),
        (b"\xc0\x0c\0\x05", b"\xff\xff"),
        (b"\xc0\x0c\0\x05", b"\x07example\0\0"),
    ];
    for malformed in faulty {
        for records in [[malformed, right], [right, malformed]] {
            assert_eq!(message(&query, &records), answer(&[code(2)], 60), "{malformed:?}");
        }
        // Malformed records alone are not a negative answer.
        let failed = Reply::Failed(ResolveError::Malformed("malformed records"));
        assert_eq!(message(&query, &[malformed]), failed, "{malformed:?}");
    }
    // A malformed record of another type is ignored: the name has no addresses.
    for other in [&b"\xc0\x0c\0\x0c"[..], mx_type, txt_type] {
        assert_eq!(message(&query, &[(other, b"\xff\xff")]), answer(&[], 0), "{other:?}");
    }
    // The datagram ends before the record does.
    let cut = [&header(1)[..], &query.octets()[HEADER..HEADER + 15], a_type, &[0; 6]].concat();
    assert_eq!(query.read(&cut), Reply::Unrelated("not a DNS message"));

    let query = Query::new(7, &asked, RecordKind::Txt);
    let records: [(&[u8], &[u8]); 4] =
        [(txt_type, b"\x05abc"), (txt_type, b"\x03abc"), (txt_type, b"\x01a\x02"), (txt_type, b"")];
    let expected = [Record::Txt((*b"abc").into()), Record::Txt(Box::default())];
    assert_eq!(message(&query, &records), answer(&expected, 60));

    let query = Query::new(7, &asked, RecordKind::Mx);
    let records: [(&[u8], &[u8]); 5] = [
        (mx_type, b"\0"),
        (mx_type, b"\0\x05"),
        (mx_type, b"\0\x05\x02mx"),
        (mx_type, b"\0\x05\x02mx\xc0\x0c"),
        (mx_type, b"\0\x06\0"),
    ];
    let expected = [
        Record::Mx { preference: 5, exchange: Some(name("mx.a.example")) },
        Record::Mx { preference: 6, exchange: None },
    ];
    assert_eq!(message(&query, &records), answer(&expected, 60));
}

/// RFC 6891 section 6.1.3: the OPT record holds the upper bits of the response code.
#[test]
fn an_extended_response_code_is_no_answer() {
    let asked = name("a.example");
    let query = Query::new(7, &asked, RecordKind::A);
    let mut octets = reply(&query, &[("a.example", 60, a(2))], &[]);
    octets[HEADER - 1] = 1;
    octets.extend_from_slice(b"\0\0\x29\x04\xd0\x01\0\0\0\0\0");
    assert_eq!(query.read(&octets), Reply::Failed(ResolveError::Declined(16)));
}

/// RFC 6891 section 6.1.1: an OPT record is in the additional section, and its owner is the root.
#[test]
fn an_opt_record_in_a_wrong_place_is_ignored() {
    let asked = name("a.example");
    let query = Query::without_edns(7, &asked, RecordKind::A);
    let data = b"\0\x29\x04\xd0\x01\0\0\0\0\0";
    for (section, owner) in
        [(1, &b"\0"[..]), (2, b"\0"), (3, b"\xc0\x0c"), (3, b"\x01a\0"), (3, b"\xff\xff")]
    {
        // The records of a section follow those of the section before it.
        let mut octets = reply(&query, &[("a.example", 60, a(2))], &[]);
        octets[HEADER - 7 + 2 * section] += 1;
        octets.extend_from_slice(&[owner, data].concat());
        assert_eq!(query.read(&octets), answer(&[code(2)], 60), "{section} {owner:?}");
    }
}

#[test]
fn records_and_aliases_are_bounded() {
    let asked = name("a.example");
    let query = Query::new(7, &asked, RecordKind::A);
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
        let query = Query::new(7, &asked, kind);
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
    for odd in ["b c.example", "b(c.example", "b\u{fc}.example"] {
        let expected = DomainName::from_octets(odd.as_bytes()).unwrap();
        assert_eq!(
            read(RecordKind::Mx, mx(odd)),
            [Record::Mx { preference: 5, exchange: Some(expected.clone()) }]
        );
        assert_eq!(read(RecordKind::Ptr, ptr(odd)), [Record::Ptr(expected)], "{odd}");
    }
    assert_eq!(read(RecordKind::Ptr, ptr(".")), [], "the root is no name of a host");
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
    let query = Query::new(7, &asked, RecordKind::A);
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
        unrelated(&right[..length], "not a DNS message");
    }
    for length in 12..right.len() {
        assert!(matches!(query.read(&right[..length]), Reply::Unrelated(_)), "{length}");
    }
    for question in [Query::new(7, &other, RecordKind::A), Query::new(7, &asked, RecordKind::Aaaa)]
    {
        unrelated(&reply(&question, given, &[]), "wrong question");
    }
    unrelated(&changed(&query, given, &[], |it| it.questions.clear()), "wrong question");
    let twice = |it: &mut Packet<'_>| it.questions.push(it.questions[0].clone().into_owned());
    unrelated(&changed(&query, given, &[], twice), "wrong question");
    let counts = |counts: [u8; 8]| [b"\0\x07\x81\x80", &counts[..], &right[12..]].concat();
    unrelated(&counts([0, 1, 255, 255, 255, 255, 255, 255]), "too many records");
    unrelated(&counts([0, 1, 0, 1, 3, 255, 0, 0]), "too many records");
}

#[test]
fn unusable_response_states_the_reason() {
    let asked = name("a.example");
    let query = Query::new(7, &asked, RecordKind::A);
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

/// Servers that do not know EDNS may reply to a question with the header alone.
#[test]
fn a_damaged_error_response_is_read_as_that_error() {
    let (asked, other) = (name("a.example"), name("b.example"));
    let query = Query::new(7, &asked, RecordKind::A);
    let given: &[Given<'_>] = &[("a.example", 60, a(2))];
    let declined = |query: &Query<'_>, rcode: RCODE| {
        changed(query, given, &[("example", 60, zone(60))], |it| *it.rcode_mut() = rcode)
    };
    for (rcode, number) in [(RCODE::FormatError, 1), (RCODE::NotImplemented, 4)] {
        let expected = Reply::Failed(ResolveError::Declined(number));
        let right = declined(&query, rcode);
        for length in HEADER..=right.len() {
            assert_eq!(query.read(&right[..length]), expected, "cut at {length}");
        }
        let noisy = [&right[..query.octets().len() - 11], &[0xff; 40]].concat();
        assert_eq!(query.read(&noisy), expected);
        for length in 2..HEADER {
            assert_eq!(query.read(&right[..length]), Reply::Unrelated("not a DNS message"));
        }
        let wrong_id = [&[0, 8], &right[2..HEADER]].concat();
        assert_eq!(query.read(&wrong_id), Reply::Unrelated("wrong ID"));
        let no_response = [&right[..2], &[0x01], &right[3..HEADER]].concat();
        assert_eq!(query.read(&no_response), Reply::Unrelated("not a response"));
        let wrong = declined(&Query::new(7, &other, RecordKind::A), rcode);
        for length in query.octets().len() - 11..=wrong.len() {
            assert_eq!(query.read(&wrong[..length]), Reply::Unrelated("wrong question"));
        }
    }
    for rcode in [RCODE::NoError, RCODE::NameError] {
        let header = &declined(&query, rcode)[..HEADER];
        assert_eq!(query.read(header), Reply::Unrelated("not a DNS message"));
    }
}

#[test]
fn compression_pointer_loops_are_refused() {
    let asked = name("a.example");
    let query = Query::without_edns(7, &asked, RecordKind::A);
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
        let query = Query::without_edns(7, &asked, RecordKind::A);
        if likely {
            // A reply whose answer section is the random octets.
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
        let query = Query::new(7, &asked, RecordKind::A);
        let given: &[Given<'_>] = &[("a.example", 60, alias("b.example")), ("b.example", 60, a(2))];
        let mut octets = reply(&query, given, &[("example", 60, zone(60))]);
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        query.read(&octets);
    }
}
