use super::*;
use crate::wire::mailbox::ForwardPath;

const LISTED: [&str; 7] = [
    "Alice@Example.ORG",
    "o.hara@example.net",
    "\"x y\"@example.org",
    "bob@b\u{fc}cher.example",
    "carol@[192.0.2.1]",
    "dora@[IPv6:2001:db8::1]",
    "list+all@example.org",
];

fn found<'m>(mailboxes: &'m Mailboxes, written: &str) -> Option<Match<'m>> {
    mailboxes.find(&ForwardPath::parse(written).unwrap().path)
}

#[test]
fn a_mailbox_is_found_in_every_spelling() {
    let mailboxes = Mailboxes::new(LISTED).unwrap();
    let table: [(&str, &[&str]); 7] = [
        (
            LISTED[0],
            &[
                "<alice@example.org>",
                "<ALICE@EXAMPLE.org.>",
                "<\"alice\"@example.org>",
                "<\"a\\lice\"@example.org>",
                "<@relay.example:alice@example.org>",
                "<alice%example.org>",
            ],
        ),
        (LISTED[1], &["<o.hara@example.net>", "<O.Hara@Example.Net>"]),
        (LISTED[2], &["<\"x y\"@example.org>", "<\"x\\ y\"@example.org>"]),
        (LISTED[3], &["<bob@B\u{dc}CHER.example>", "<bob@XN--BCHER-KVA.example>"]),
        (LISTED[4], &["<carol@[192.0.2.1]>", "<carol@[IPv6:::ffff:192.0.2.1]>"]),
        (LISTED[5], &["<dora@[IPv6:2001:DB8:0::1]>"]),
        (LISTED[6], &["<list+all@example.org>"]),
    ];
    for (mailbox, spellings) in table {
        for written in spellings {
            assert_eq!(found(&mailboxes, written), Some(Match::Mailbox(mailbox)), "{written}");
        }
    }
}

#[test]
fn other_mailboxes_are_not_found() {
    let mailboxes = Mailboxes::new(LISTED).unwrap();
    for written in [
        "<>",
        "<alice>",
        "<alice@example.net>",
        "<alice@sub.example.org>",
        "<alice@example.org.net>",
        "<alice@[192.0.2.1]>",
        "<carol@[192.0.2.2]>",
        "<bob@bucher.example>",
        "<ohara@example.net>",
        "<alice+x@example.org>",
        "<alice%example.org@example.net>",
        "<postmaster@example.com>",
        "<postmaster+x@example.org>",
    ] {
        assert_eq!(found(&mailboxes, written), None, "{written}");
    }
    assert!(!Mailboxes::default().contains(&ForwardPath::parse("<a@example.org>").unwrap().path));
}

/// Every server must accept mail for the postmaster (RFC 5321 section 4.5.1).
#[test]
fn the_postmaster_is_found_without_being_listed() {
    let mailboxes = Mailboxes::new(LISTED).unwrap();
    for written in [
        "<postmaster>",
        "<POSTMASTER>",
        "<Postmaster@example.org>",
        "<\"postmaster\"@EXAMPLE.NET>",
        "<postmaster@[192.0.2.1]>",
        "<postmaster@b\u{fc}cher.example>",
    ] {
        assert_eq!(found(&mailboxes, written), Some(Match::Postmaster), "{written}");
    }
    assert_eq!(found(&Mailboxes::default(), "<postmaster>"), Some(Match::Postmaster));
    let listed = Mailboxes::new(["postmaster@example.org"]).unwrap();
    let itself = Some(Match::Mailbox("postmaster@example.org"));
    assert_eq!(found(&listed, "<postmaster@example.org>"), itself);
}

/// Postfix `recipient_delimiter`: the whole local part is looked up first, and an empty name is
/// never a mailbox.
#[test]
fn an_extension_is_left_out_where_a_delimiter_is_set() {
    let mailboxes = Mailboxes::new(LISTED).unwrap().delimiter('+');
    let alice = Some(Match::Mailbox(LISTED[0]));
    for (written, expected) in [
        ("<alice+x@example.org>", alice),
        ("<Alice+x+y@example.org>", alice),
        ("<alice+@example.org>", alice),
        ("<list+all@example.org>", Some(Match::Mailbox(LISTED[6]))),
        ("<list+none@example.org>", None),
        ("<+alice@example.org>", None),
        ("<alice-x@example.org>", None),
        ("<postmaster+x@example.org>", Some(Match::Postmaster)),
        ("<postmaster+x>", Some(Match::Postmaster)),
    ] {
        assert_eq!(found(&mailboxes, written), expected, "{written}");
    }
}

#[test]
fn a_mailbox_without_local_part_or_domain_is_refused() {
    for wrong in [
        "",
        "alice",
        "@example.org",
        "\"\"@example.org",
        "alice@",
        "alice@.",
        "alice@[192.0.2]",
        "<alice@example.org>",
        "alice@example.org, bob",
    ] {
        assert_eq!(Mailboxes::new([wrong]).unwrap_err(), MailboxError(wrong.into()));
    }
}
