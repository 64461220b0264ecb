use super::*;
use crate::panel::{Panel, Seat, Sitting};
use crate::peer::Helo;
use crate::rehearsal::{Rehearsal, envelope, message, recipient};
use crate::scorers::told;
use crate::store::Memory;
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict};

fn greylist(runtime: &Rehearsal) -> Greylist<Rehearsal> {
    Greylist::new(runtime.clone(), Arc::new(Memory::new()))
}

/// Returns the reply to a client at this address, with this sender and recipient.
fn ask(greylist: &Greylist<Rehearsal>, address: &str, sender: &str, to: &str) -> String {
    let mut envelope = envelope(sender);
    envelope.peer = Arc::new(Peer::new((address.parse::<std::net::IpAddr>().unwrap(), 1).into()));
    let recipient = ForwardPath::parse(to).unwrap();
    told(&greylist.runtime.run(greylist.on_rcpt(&RcptContext::new(&envelope, &recipient))).unwrap())
}

fn pass(runtime: &Rehearsal, seconds: u64) {
    runtime.run(runtime.sleep(Duration::from_secs(seconds)));
}

#[test]
fn triplet_is_deferred_and_then_accepted() {
    let day = 86_400;
    let again = |seconds: u32| format!("451 4.7.1 Greylisted, try again in {seconds} seconds");
    // Seconds to wait, and the expected reply then.
    let table: &[&[(u64, String)]] = &[
        &[
            (0, again(300)),
            (1, again(299)),
            (298, again(1)),
            (1, "GREYLIST_PASSED=0.00 after 300 seconds".into()),
            (0, "silent".into()),
            (34 * day, "silent".into()),
            (34 * day, "silent".into()),
            (36 * day, again(300)),
        ],
        // The retry window ends after two days.
        &[(0, again(300)), (2 * day - 1, "GREYLIST_PASSED=0.00 after 172799 seconds".into())],
        &[
            (0, again(300)),
            (2 * day, again(300)),
            (300, "GREYLIST_PASSED=0.00 after 300 seconds".into()),
        ],
        // Early retries neither extend the delay nor the retry window.
        &[
            (0, again(300)),
            (100, again(200)),
            (100, again(100)),
            (100, "GREYLIST_PASSED=0.00 after 300 seconds".into()),
        ],
        &[(0, again(300)), (299, again(1)), (2 * day - 299, again(300))],
    ];
    for script in table {
        let runtime = Rehearsal::new();
        let greylist = greylist(&runtime);
        for (seconds, expected) in *script {
            pass(&runtime, *seconds);
            let heard = ask(&greylist, "192.0.2.1", "<a@example.org>", "<b@example.net>");
            assert_eq!(heard, *expected, "{script:?}");
        }
    }
}

#[test]
fn triplet_consists_of_network_sender_and_recipient() {
    let first = ("192.0.2.1", "<a@example.org>", "<b@example.net>");
    let table = [
        (first, true),
        (("192.0.2.254", "<a@example.org>", "<b@example.net>"), true),
        (("::ffff:192.0.2.254", "<A@EXAMPLE.org>", "<B@example.NET>"), true),
        (("192.0.2.1", "<a+ext@example.org>", "<b@example.net>"), true),
        (("192.0.2.1", "<\"a\"@example.org.>", "<@x:b@example.net>"), true),
        (("192.0.2.1", "<a@example.org(x)>", "<b%example.net@example.net>"), true),
        (("192.0.3.1", "<a@example.org>", "<b@example.net>"), false),
        (("192.0.2.1", "<aa@example.org>", "<b@example.net>"), false),
        (("192.0.2.1", "<a@example.org>", "<b+ext@example.net>"), false),
        (("2001:db8::1", "<a@example.org>", "<b@example.net>"), false),
    ];
    for ((address, sender, to), known) in table {
        let runtime = Rehearsal::new();
        let greylist = greylist(&runtime);
        ask(&greylist, first.0, first.1, first.2);
        pass(&runtime, 300);
        let heard = ask(&greylist, address, sender, to);
        assert_eq!(heard.starts_with("GREYLIST_PASSED"), known, "{address} {sender} {to}: {heard}");
    }
}

#[test]
fn exempt_clients_are_not_greylisted() {
    let runtime = Rehearsal::new();
    let exempt = "198.51.100.0/24".parse().unwrap();
    let greylist = greylist(&runtime).exempt(exempt).include_helo();
    assert_eq!(ask(&greylist, "198.51.100.7", "<a@example.org>", "<b@example.net>"), "silent");
    let mut envelope = envelope("<a@example.org>");
    let rcpt = |envelope: &Envelope| {
        told(&runtime.run(greylist.on_rcpt(&RcptContext::new(envelope, &recipient()))).unwrap())
    };
    envelope.peer = Arc::new(Peer::local());
    assert_eq!(rcpt(&envelope), "silent");
    let client = Peer::new(([192, 0, 2, 1], 1).into());
    envelope.peer = Arc::new(Peer { login: Some("alice".into()), ..client.clone() });
    assert_eq!(rcpt(&envelope), "silent");
    // Another HELO name is a different triplet.
    for name in ["one.example", "two.example"] {
        let helo = Some(Helo { extended: true, name: name.into() });
        envelope.peer = Arc::new(Peer { helo, ..client.clone() });
        assert!(rcpt(&envelope).ends_with("in 300 seconds"));
        pass(&runtime, 300);
    }
}

#[test]
fn too_many_early_retries_are_refused_if_configured() {
    let runtime = Rehearsal::new();
    let greylist = greylist(&runtime).refuse_after(NonZeroU32::new(3));
    let try_once = || ask(&greylist, "192.0.2.1", "<a@example.org>", "<b@example.net>");
    for _ in 0..4 {
        assert!(try_once().starts_with("451 4.7.1"));
        pass(&runtime, 1);
    }
    assert_eq!(try_once(), "550 5.7.1 Too many early retries");
    // A retry after the delay is still accepted.
    pass(&runtime, 296);
    assert!(try_once().starts_with("GREYLIST_PASSED"));
}

/// An address probe gets the true answer at RCPT. A bounce is deferred after the content.
#[test]
fn null_reverse_path_is_deferred_after_the_content() {
    let runtime = Rehearsal::new();
    let greylist = greylist(&runtime);
    assert_eq!(ask(&greylist, "192.0.2.1", "<>", "<b@example.net>"), "silent");
    let mut envelope = envelope("<>");
    envelope.forward_paths = vec![recipient(), ForwardPath::parse("<c@example.net>").unwrap()];
    let message = message("x");
    let data =
        || told(&runtime.run(greylist.on_data(&DataContext::new(&envelope, &message))).unwrap());
    assert_eq!(data(), "451 4.7.1 Greylisted, try again in 300 seconds");
    pass(&runtime, 300);
    assert_eq!(data(), "GREYLIST_PASSED=0.00 after 300 seconds");
    assert_eq!(data(), "silent");
}

#[test]
fn client_is_allowed_after_accepted_messages() {
    let runtime = Rehearsal::new();
    let greylist = greylist(&runtime);
    let lesson = |impression| Lesson {
        peer: Arc::new(Peer::new(([192, 0, 2, 1], 1).into())),
        impression,
        strangers: 0,
    };
    let learn = |impression| runtime.run(greylist.learn(&lesson(impression))).unwrap();
    let knows = || ask(&greylist, "192.0.2.200", "<x@example.org>", "<y@example.net>") == "silent";
    // Several messages in one hour count once. Bad transactions and those without a result do not
    // count.
    for _ in 0..10 {
        learn(Impression::Good);
    }
    for _ in 0..3 {
        pass(&runtime, 3600);
        learn(Impression::Good);
        learn(Impression::Bad);
        learn(Impression::Unknown);
    }
    assert!(!knows());
    pass(&runtime, 3600);
    learn(Impression::Good);
    assert!(knows());
    // The allow list entry is kept for 35 days.
    pass(&runtime, 35 * 86_400 - 1);
    assert!(knows());
    pass(&runtime, 1);
    assert!(!knows());
}

#[test]
fn panel_replies_with_the_greylisting_refusal() {
    let runtime = Rehearsal::new();
    let panel = Panel::new().seat(Seat::new(greylist(&runtime)));
    let (envelope, recipient) = (envelope("<a@example.org>"), recipient());
    let subject = Subject::Recipient(&envelope, &recipient);
    let mut tally = Tally::new();
    let verdict = runtime.run(panel.ask(&runtime, subject, &mut tally, &mut Sitting::new()));
    let Verdict::Refuse(refusal) = verdict else { panic!("{verdict:?}") };
    assert_eq!(refusal.to_string(), "451 4.7.1 Greylisted, try again in 300 seconds");
}

#[test]
fn store_failure_counts_only_if_it_could_change_the_answer() {
    let greylist = |runtime: &Rehearsal, declines| {
        Greylist::new(runtime.clone(), Arc::new(crate::store::faulty::Faulty::new(declines)))
    };
    // The lookup of the allow list fails. A triplet that was retried in time does not need it.
    let runtime = Rehearsal::new();
    let unproven = greylist(&runtime, "grey-proven");
    let (envelope, to) = (envelope("<a@example.org>"), crate::rehearsal::recipient());
    let rcpt = || runtime.run(unproven.on_rcpt(&RcptContext::new(&envelope, &to)));
    assert_eq!(rcpt().unwrap_err().to_string(), "store: operation refused: \"no\"");
    pass(&runtime, 300);
    assert!(told(&rcpt().unwrap()).starts_with("GREYLIST_PASSED"));

    // After the content, one deferred recipient defers the message, whether a failed lookup comes
    // before or after it.
    let greylist = greylist(&runtime, "unknown@");
    let mut envelope = crate::rehearsal::envelope("<>");
    for (recipients, waits) in [
        (&["<unknown@example.org>", "<known@example.org>"][..], true),
        (&["<known@example.org>", "<unknown@example.org>"], true),
        (&["<unknown@example.org>"], false),
    ] {
        envelope.forward_paths =
            recipients.iter().map(|path| ForwardPath::parse(path).unwrap()).collect();
        let answer = runtime
            .run(greylist.on_data(&DataContext::new(&envelope, &crate::rehearsal::message(""))));
        assert_eq!(answer.as_ref().is_ok_and(|it| it.refusal.is_some()), waits, "{answer:?}");
        assert_eq!(answer.is_err(), !waits);
    }
}

#[test]
fn own_networks_are_never_greylisted() {
    let runtime = Rehearsal::new();
    let greylist = greylist(&runtime);
    let mut envelope = envelope("<a@example.org>");
    Arc::make_mut(&mut envelope.peer).own = true;
    let to = crate::rehearsal::recipient();
    assert_eq!(
        runtime.run(greylist.on_rcpt(&RcptContext::new(&envelope, &to))).unwrap(),
        Opinion::silent()
    );
    Arc::make_mut(&mut envelope.peer).own = false;
    let opinion = runtime.run(greylist.on_rcpt(&RcptContext::new(&envelope, &to))).unwrap();
    assert!(opinion.refusal.is_some(), "{opinion:?}");
}
