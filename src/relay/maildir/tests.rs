use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::envelope::SessionId;
use crate::wire::command::{MailParameters, RcptParameters};
use crate::wire::content::MailData;
use crate::wire::mailbox::ReversePath;

/// Returns a temporary folder, and the path of a Maildir in it that does not exist yet.
fn place() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("maildir");
    (place, path)
}

fn store(folder: &Folder, segments: &[&[u8]]) -> io::Result<String> {
    let segments: Vec<Bytes> = segments.iter().map(|s| Bytes::copy_from_slice(s)).collect();
    folder.draft(&segments)?.keep()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn path(written: &str) -> SmtpPath {
    let (path, rest) = SmtpPath::scan(written.as_bytes()).unwrap();
    assert_eq!(rest, b"", "{written}");
    path
}

fn recipient(written: &str) -> ForwardPath {
    ForwardPath { path: path(written), parameters: RcptParameters::default() }
}

fn envelope(from: &str, to: &[&str]) -> Envelope {
    let reverse_path = ReversePath { path: path(from), parameters: MailParameters::default() };
    let id = SessionId::new("test").transaction(1);
    let mut envelope = Envelope::new(id, Arc::new(Peer::local()), reverse_path);
    envelope.forward_paths = to.iter().map(|to| recipient(to)).collect();
    envelope
}

fn message(envelope: &Envelope, content: &[u8]) -> Message {
    let content = MailData::normalise(content);
    Message::new("mx.example.org", envelope, SystemTime::UNIX_EPOCH, content)
}

fn reply(outcome: &Outcome) -> String {
    let mut output = bytes::BytesMut::new();
    outcome.reply().write(&mut output);
    String::from_utf8(output.to_vec()).unwrap()
}

mod on_disk {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_message_is_kept_octet_for_octet_under_the_name_it_was_given() {
        let (_place, path) = place();
        let name = store(&Folder::new(path.clone()), &[b"A: b\r\n", b"", b"\r\n.\r\n\xff\r\n"]);

        let kept = fs::read(path.join("new").join(name.unwrap())).unwrap();
        assert_eq!(kept, b"A: b\r\n\r\n.\r\n\xff\r\n");
        assert_eq!(names(&path.join("new")).len(), 1);
        assert!(names(&path.join("tmp")).is_empty());
    }

    #[test]
    fn folders_and_files_are_private() {
        let (_place, path) = place();
        let name = store(&Folder::new(path.clone()), &[b"\r\n"]).unwrap();

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for folder in ["", "tmp", "new", "cur"] {
            assert_eq!(mode(&path.join(folder)), 0o700, "{folder}");
        }
        assert_eq!(mode(&path.join("new").join(name)), 0o600);
    }

    #[test]
    fn file_name_contains_time_process_and_host() {
        let (_place, path) = place();
        let name = store(&Folder::new(path), &[b"\r\n"]).unwrap();

        let mut parts = name.splitn(3, '.');
        let seconds: u64 = parts.next().unwrap().parse().unwrap();
        assert!(seconds > 1_700_000_000, "{name}");
        let middle = parts.next().unwrap().strip_prefix('M').unwrap();
        let (micros, rest) = middle.split_once('P').unwrap();
        let (pid, counter) = rest.split_once('Q').unwrap();
        assert!(micros.parse::<u32>().unwrap() < 1_000_000);
        assert_eq!(pid.parse::<u32>().unwrap(), std::process::id());
        counter.parse::<u64>().unwrap();
        assert!(!parts.next().unwrap().is_empty(), "{name}");
    }

    #[test]
    fn a_hundred_at_once_are_a_hundred_messages() {
        let (_place, path) = place();
        let folder = Folder::new(path.clone());
        let store_one = |n: u32| {
            let content = n.to_string();
            (store(&folder, &[content.as_bytes()]).unwrap(), content)
        };
        let kept: Vec<_> = thread::scope(|scope| {
            let deliveries: Vec<_> = (0..100).map(|n| scope.spawn(move || store_one(n))).collect();
            deliveries.into_iter().map(|delivery| delivery.join().unwrap()).collect()
        });

        let reported: BTreeSet<String> = kept.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(reported.len(), 100);
        assert_eq!(reported, names(&path.join("new")));
        for (name, content) in kept {
            assert_eq!(fs::read_to_string(path.join("new").join(name)).unwrap(), content);
        }
        assert!(names(&path.join("tmp")).is_empty());
    }

    #[test]
    fn existing_file_is_not_overwritten() {
        let (_place, path) = place();
        let folder = Folder::new(path.clone());
        let draft = folder.draft(&[Bytes::from_static(b"second")]).unwrap();
        fs::write(path.join("new/taken"), b"first").unwrap();

        let name = draft.keep_as(["taken", "free"].map(String::from).into_iter()).unwrap();

        assert_eq!(name, "free");
        assert_eq!(fs::read(path.join("new/taken")).unwrap(), b"first");
        assert_eq!(fs::read(path.join("new/free")).unwrap(), b"second");
        assert!(names(&path.join("tmp")).is_empty());
    }

    #[test]
    fn lack_of_a_free_name_is_an_error() {
        let (_place, path) = place();
        let folder = Folder::new(path.clone());
        let draft = folder.draft(&[Bytes::from_static(b"second")]).unwrap();
        fs::write(path.join("new/taken"), b"first").unwrap();

        let error = draft.keep_as(std::iter::repeat("taken".to_string())).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(names(&path.join("new")), BTreeSet::from(["taken".into()]));
        assert!(names(&path.join("tmp")).is_empty());
    }

    #[test]
    fn dropped_draft_is_removed() {
        let (_place, path) = place();
        let folder = Folder::new(path.clone());
        drop(folder.draft(&[Bytes::from_static(b"never mind")]).unwrap());

        assert!(names(&path.join("new")).is_empty());
        assert!(names(&path.join("tmp")).is_empty());
    }

    #[test]
    fn unusable_folder_is_an_error() {
        for part in ["tmp", "new"] {
            let (_place, path) = place();
            fs::create_dir(&path).unwrap();
            fs::write(path.join(part), b"a file").unwrap();

            let error = store(&Folder::new(path.clone()), &[b"\r\n"]).unwrap_err();

            assert_eq!(error.kind(), ErrorKind::NotADirectory, "{part}");
            assert_eq!(fs::read(path.join(part)).unwrap(), b"a file");
            let other = if part == "tmp" { "new" } else { "tmp" };
            assert!(names(&path.join(other)).is_empty(), "{part}");
        }
    }

    #[test]
    fn the_parent_is_not_created() {
        let (place, _) = place();
        let folder = Folder::new(place.path().join("not there/maildir"));
        let error = store(&folder, &[b"\r\n"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(names(place.path()).is_empty());
    }

    #[test]
    fn removed_folder_is_created_again() {
        let (_place, path) = place();
        let folder = Folder::new(path.clone());
        store(&folder, &[b"\r\n"]).unwrap();
        fs::remove_dir_all(&path).unwrap();
        store(&folder, &[b"\r\n"]).unwrap();
        assert_eq!(names(&path.join("new")).len(), 1);
    }

    #[test]
    fn old_files_in_tmp_are_removed() {
        let (_place, path) = place();
        fs::create_dir(&path).unwrap();
        fs::create_dir(path.join("tmp")).unwrap();
        for (name, hours) in [("old", 37), ("recent", 35)] {
            let file = fs::File::create(path.join("tmp").join(name)).unwrap();
            let age = Duration::from_secs(hours * 3600);
            file.set_modified(file.metadata().unwrap().modified().unwrap() - age).unwrap();
        }

        store(&Folder::new(path.clone()), &[b"\r\n"]).unwrap();

        assert_eq!(names(&path.join("tmp")), BTreeSet::from(["recent".into()]));
    }

    #[test]
    fn slots_are_counted_and_returned() {
        let folder = Folder::new("unused".into());
        let held = [folder.slot(2), folder.slot(2)];
        assert!(held.iter().all(Option::is_some));
        assert!(folder.slot(2).is_none());
        drop(held);
        assert!(folder.slot(2).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn segments_are_stored_unchanged(
            segments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        ) {
            let (_place, path) = place();
            let parts: Vec<&[u8]> = segments.iter().map(Vec::as_slice).collect();
            let name = store(&Folder::new(path.clone()), &parts).unwrap();
            prop_assert_eq!(fs::read(path.join("new").join(name)).unwrap(), segments.concat());
        }
    }
}

#[test]
fn failures_are_transient_without_internal_text() {
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    for error in full.map(io::Error::from) {
        let outcome = failure(error);
        assert_eq!(reply(&outcome), "452 4.3.1 Insufficient system storage\r\n");
    }
    let others = [
        io::Error::from(ErrorKind::PermissionDenied),
        io::Error::from(ErrorKind::NotADirectory),
        io::Error::from(ErrorKind::ReadOnlyFilesystem),
        io::Error::other("secret"),
    ];
    for error in others {
        let expected = "451 4.3.0 Mail cannot be accepted now, try again later\r\n";
        assert_eq!(reply(&failure(error)), expected);
    }
}

#[test]
fn deliveries_run_side_by_side_on_their_threads() {
    let (_place, path) = place();
    let maildir = Maildir::new(&path);
    let deliveries = (0..100).map(|n: u32| maildir.keep(vec![n.to_string().into()]));
    let kept = pollster::block_on(futures::future::join_all(deliveries));

    let kept: Vec<String> = kept.into_iter().map(Result::unwrap).collect();
    assert_eq!(kept.iter().cloned().collect::<BTreeSet<_>>(), names(&path.join("new")));
    for (n, name) in kept.iter().enumerate() {
        assert_eq!(fs::read_to_string(path.join("new").join(name)).unwrap(), n.to_string());
    }
    assert!(maildir.folder.slot(1).is_some(), "a slot was not given back");
}

/// Tests through the `Target` and `Relay` traits, as a session uses them.
mod as_a_relay {
    use pollster::block_on;

    use super::*;

    fn deliver(maildir: &Maildir, envelope: &Envelope, message: &Message) -> Outcome {
        block_on(maildir.open(&Peer::local()).content(envelope, message.clone()))
    }

    #[test]
    fn sink_accepts_any_recipient_and_a_mailbox_its_own() {
        let envelope = envelope("<bob@example.com>", &[]);
        let sink = Maildir::new("unused");
        let mailbox =
            Maildir::new("unused").recipients(Mailboxes::new(["alice@example.org"]).unwrap());
        let cases = [
            ("<alice@example.org>", true),
            ("<@relay.example:alice@example.org>", true),
            ("<Alice@EXAMPLE.org>", true),
            ("<postmaster>", true),
            ("<bob@example.org>", false),
            ("<alice@[192.0.2.1]>", false),
            // The null path is not a mailbox (RFC 5321 section 4.1.2). A failed delivery to it
            // could not be reported.
            ("<>", false),
        ];
        for (written, taken) in cases {
            let ask = |maildir: &Maildir| {
                let mut relay = maildir.open(&Peer::local());
                reply(&block_on(relay.rcpt(&envelope, &recipient(written))))
            };
            let sunk = if written == "<>" {
                "550 5.1.1 No such mailbox here\r\n"
            } else {
                "250 2.1.5 Recipient OK\r\n"
            };
            assert_eq!(ask(&sink), sunk, "{written}");
            let own = if taken {
                "250 2.1.5 Recipient OK\r\n"
            } else {
                "550 5.1.1 No such mailbox here\r\n"
            };
            assert_eq!(ask(&mailbox), own, "{written}");
        }
    }

    #[test]
    fn dsn_is_not_offered() {
        let capabilities = block_on(Maildir::new("unused").capabilities());
        assert!(!capabilities.dsn);
        assert!(capabilities.eight_bit_mime && capabilities.smtp_utf8);
    }

    #[test]
    fn the_file_is_delivery_fields_then_the_message() {
        let (_place, path) = place();
        let envelope =
            envelope("<bob@example.com>", &["<alice@example.org>", "<carol@example.org>"]);
        let message = message(&envelope, b"Subject: hi\r\n\r\n.dot\r\nlast\r\n");

        let outcome = deliver(&Maildir::new(&path), &envelope, &message);

        let Outcome::Accepted(receipt) = outcome else { panic!("{outcome:?}") };
        let name = receipt.queue_id().unwrap();
        assert_eq!(names(&path.join("new")), BTreeSet::from([name.into()]));
        let fields = "Return-Path: <bob@example.com>\r\n\
                      Delivered-To: alice@example.org\r\n\
                      Delivered-To: carol@example.org\r\n";
        let expected = [fields.as_bytes(), &message.segments().concat()].concat();
        assert_eq!(fs::read(path.join("new").join(name)).unwrap(), expected);
    }

    #[test]
    fn a_notification_has_an_empty_return_path() {
        let (_place, path) = place();
        let envelope = envelope("<>", &["<alice@example.org>"]);
        let message = message(&envelope, b"\r\n");
        let outcome = deliver(&Maildir::new(&path), &envelope, &message);
        let Outcome::Accepted(receipt) = outcome else { panic!("{outcome:?}") };
        let kept = fs::read(path.join("new").join(receipt.queue_id().unwrap())).unwrap();
        assert!(kept.starts_with(b"Return-Path: <>\r\nDelivered-To: alice@example.org\r\n"));
    }

    #[test]
    fn failed_delivery_is_451_and_leaves_no_file() {
        let (_place, path) = place();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("new"), b"a file").unwrap();
        let envelope = envelope("<bob@example.com>", &["<alice@example.org>"]);
        let message = message(&envelope, b"\r\n");

        let outcome = deliver(&Maildir::new(&path), &envelope, &message);

        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        assert!(reply(&outcome).starts_with("451 4.3.0 "));
        assert!(names(&path.join("tmp")).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_mail_data_ends_the_file(octets in prop::collection::vec(any::<u8>(), 0..2000)) {
            let (_place, path) = place();
            let envelope = envelope("<bob@example.com>", &["<alice@example.org>"]);
            let message = message(&envelope, &octets);
            let outcome = deliver(&Maildir::new(&path), &envelope, &message);
            let Outcome::Accepted(receipt) = outcome else { panic!("{outcome:?}") };
            let kept = fs::read(path.join("new").join(receipt.queue_id().unwrap())).unwrap();
            prop_assert!(kept.ends_with(&message.segments().concat()));
        }
    }
}
