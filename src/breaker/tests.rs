use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::rehearsal::Rehearsal;

const SECOND: Duration = Duration::from_secs(1);

fn opened(breaker: &Breaker, now: Instant) {
    for _ in 0..FAILURES {
        breaker.admit(now).unwrap().fail(now, &"no answer");
    }
}

#[test]
fn breaker_opens_after_five_consecutive_failures() {
    let (breaker, now) = (Breaker::new(), Rehearsal::new().now());
    for _ in 0..100 {
        for _ in 1..FAILURES {
            breaker.admit(now).unwrap().fail(now, &"no answer");
        }
        breaker.admit(now).unwrap().succeed(now);
    }
    assert_eq!(breaker.state(), State::Closed);
    opened(&breaker, now);
    assert_eq!(breaker.state(), State::Open { until: now + SECOND });
    let suspended = breaker.admit(now).unwrap_err();
    assert_eq!((suspended.pause, &*suspended.error), (SECOND, "no answer"));
}

#[test]
fn exactly_one_operation_probes() {
    let (breaker, now) = (Breaker::new(), Rehearsal::new().now());
    opened(&breaker, now);
    let later = now + SECOND;
    assert!(breaker.admit(later - Duration::from_nanos(1)).is_err());
    let admitted: Vec<_> = (0..100).filter_map(|_| breaker.admit(later).ok()).collect();
    assert_eq!(admitted.len(), 1);
    assert_eq!(breaker.state(), State::Probing);
    for pass in admitted {
        pass.succeed(later);
    }
    assert_eq!(breaker.state(), State::Closed);
    // A success resets the count: five more failures are needed.
    breaker.admit(later).unwrap().fail(later, &"no answer");
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn the_pause_doubles_to_half_a_minute() {
    let (breaker, mut now) = (Breaker::new(), Rehearsal::new().now());
    opened(&breaker, now);
    for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
        let State::Open { until } = breaker.state() else { panic!("{breaker:?}") };
        assert_eq!(until, now + SECOND * seconds);
        now = until;
        breaker.admit(now).unwrap().fail(now, &"still none");
    }
    now += LONGEST_PAUSE;
    breaker.admit(now).unwrap().succeed(now);
    opened(&breaker, now);
    assert_eq!(
        breaker.state(),
        State::Open { until: now + SECOND },
        "the first pause is used again"
    );
}

#[test]
fn a_dropped_operation_has_failed() {
    let clock = Rehearsal::new();
    let breaker = Breaker::new();
    for _ in 0..FAILURES {
        let hung = breaker.run(&clock, std::future::pending::<Result<(), &str>>());
        clock.run(async {
            futures::select_biased! {
                _ = Box::pin(futures::FutureExt::fuse(hung)) => unreachable!(),
                () = Box::pin(futures::FutureExt::fuse(clock.sleep(SECOND))) => {}
            }
        });
    }
    assert_eq!(breaker.state(), State::Open { until: clock.now() + SECOND });
    // Dropping a probe allows the next one.
    let later = clock.now() + SECOND;
    drop(breaker.admit(later).unwrap());
    assert_eq!(breaker.state(), State::Open { until: later + SECOND * 2 });
}

#[test]
fn operations_from_before_neither_prolong_the_pause_nor_count_twice() {
    let (breaker, now) = (Breaker::new(), Rehearsal::new().now());
    let under_way: Vec<_> = (0..100).map(|_| breaker.admit(now).unwrap()).collect();
    let late = now + SECOND;
    for pass in under_way {
        pass.fail(late, &"no answer");
    }
    assert_eq!(breaker.state(), State::Open { until: late + SECOND });

    // A late success of an earlier operation proves the recovery.
    let breaker = Breaker::new();
    let under_way = breaker.admit(now).unwrap();
    opened(&breaker, now);
    under_way.succeed(now);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn failure_and_recovery_are_each_reported_once() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = heard.clone();
    let breaker = Breaker::new().on_change(move |change| told.lock().unwrap().push(change.clone()));
    let mut now = Rehearsal::new().now();
    opened(&breaker, now);
    for seconds in [1, 2, 4] {
        now += SECOND * seconds;
        breaker.admit(now).unwrap().fail(now, &"still none");
    }
    now += SECOND * 8;
    breaker.admit(now).unwrap().succeed(now);
    breaker.admit(now).unwrap().succeed(now);
    let expected =
        [Change::Failed { error: "no answer".into() }, Change::Recovered { after: SECOND * 15 }];
    assert_eq!(heard.lock().unwrap()[..], expected);
}

#[test]
fn threads_share_one_probe() {
    let (breaker, now) = (Breaker::new().failures(1), Rehearsal::new().now());
    breaker.admit(now).unwrap().fail(now, &"no answer");
    let probes = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                if let Ok(pass) = breaker.admit(now + SECOND) {
                    probes.fetch_add(1, Ordering::Relaxed);
                    std::mem::forget(pass);
                }
            });
        }
    });
    assert_eq!(probes.load(Ordering::Relaxed), 1);
}
