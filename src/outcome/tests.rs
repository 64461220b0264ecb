use super::*;
use crate::envelope::SessionId;

fn reply(code: u16, text: &str) -> Reply {
    Reply::plain(ReplyCode::new(code).unwrap(), text)
}

/// Creates a receipt from the onward server's reply to this request of the first transaction.
fn read(granted: Granted, text: &str) -> Receipt {
    let transaction = SessionId::new("test").transaction(1);
    Receipt::read(granted, &transaction, reply(250, text)).unwrap()
}

#[test]
fn the_queue_id_is_found() {
    let longest = "x".repeat(64);
    for (text, id) in [
        ("2.0.0 Ok: queued as 4cQ1kX2Y3zZ", Some("4cQ1kX2Y3zZ")),
        ("2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4cQ1", Some("4cQ1")),
        ("2.0.0 Ok: queued as  4cQ1, thank you", Some("4cQ1")),
        ("OK id=1vOabc-000000003Fz-1a2B", Some("1vOabc-000000003Fz-1a2B")),
        ("2.0.0 5AS1x_y.z Message accepted for delivery", Some("5AS1x_y.z")),
        ("2.0.0 1a2b3c4d: Message accepted for delivery", Some("1a2b3c4d")),
        ("2.0.0:1a2b3c4d Message accepted for delivery", Some("1a2b3c4d")),
        ("one line\nqueued as A\nqueued as B", Some("B")),
        ("queued as A\nthe last line counts", None),
        ("2.0.0 Ok", None),
        ("2.0.0 Ok: queued as ", None),
        ("2.0.0 Ok: queued as <none>", None),
        (&format!("queued as {longest}"), Some(&*longest)),
        (&format!("queued as {longest}x"), None),
    ] {
        assert_eq!(read(Granted::Content, text).queue_id(), id, "{text}");
        assert_eq!(read(Granted::Answer(1), text).queue_id(), id, "{text}");
        assert_eq!(read(Granted::Recipient, text).queue_id(), None, "{text}");
    }
    for id in ["1", "", "a,S=1:2", "a b", "a\nb", "na\u{ef}ve", &longest, &format!("{longest}x")] {
        assert_eq!(Receipt::kept(id).queue_id(), Some(id), "the given id, for any reply");
    }
    assert_eq!(Receipt::recipient().queue_id(), None);
}

#[test]
fn receipt_requires_a_2xx_reply() {
    let transaction = SessionId::new("test").transaction(1);
    for code in [354, 450, 550] {
        let read = Receipt::read(Granted::Content, &transaction, reply(code, "queued as 1"));
        assert_eq!(read.unwrap_err().code().value(), code);
    }
}

/// A receipt for one request does not answer another.
#[test]
fn receipt_is_bound_to_its_request() {
    use Granted::{Answer, Content, Recipient};
    let session = SessionId::new("test");
    let (own, other) = (session.transaction(1), session.transaction(2));
    let questions = [Recipient, Content, Answer(1), Answer(2)];
    for granted in questions {
        for asked in questions {
            let covered = |transaction| {
                let outcome = Outcome::Accepted(read(granted, "Ok")).covering(asked, transaction);
                matches!(outcome, Outcome::Accepted(_))
            };
            assert_eq!(covered(&own), granted == asked, "{granted:?} for {asked:?}");
            assert!(!covered(&other), "{granted:?} for {asked:?} of another transaction");
        }
    }
    // A custom relay target states neither the transaction nor the recipient.
    for asked in questions {
        for (receipt, of_content) in [(Receipt::recipient(), false), (Receipt::kept("1"), true)] {
            let outcome = Outcome::Accepted(receipt).covering(asked, &own);
            match of_content == (asked != Recipient) {
                true => assert!(matches!(outcome, Outcome::Accepted(_)), "{asked:?}"),
                false => {
                    assert!(matches!(outcome, Outcome::Failed(RelayError::Mismatch)), "{asked:?}")
                }
            }
        }
    }
}
