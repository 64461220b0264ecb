//! The oracle: computes the answers of a store from the complete history each time. Only for clocks
//! that never go backwards.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use nobounce::store::{Balance, Key, Pace, Rate, Taken};

/// The history by key.
#[derive(Default)]
pub(crate) struct Model {
    sightings: HashMap<String, Vec<(SystemTime, Pace)>>,
    takings: HashMap<String, Vec<(SystemTime, u32)>>,
    weighings: HashMap<String, Vec<(SystemTime, Balance)>>,
    values: HashMap<String, (Vec<u8>, SystemTime)>,
    logs: HashMap<String, Vec<Appended>>,
}

/// Position, record, expiry of the log, and whether the log began with this record.
type Appended = (u64, Vec<u8>, SystemTime, bool);

/// First, last, times, early, and whether the last one counted.
pub(crate) type Known = (SystemTime, SystemTime, u32, u32, bool);

impl Model {
    pub(crate) fn see(&mut self, key: &Key, pace: Pace, now: SystemTime) -> Known {
        let all = self.sightings.entry(key.to_string()).or_default();
        all.push((now, pace));
        Self::told(all).unwrap()
    }

    pub(crate) fn recall(&self, key: &Key, now: SystemTime) -> Option<Known> {
        let all = self.sightings.get(&key.to_string())?;
        let (first, last, times, early, _) = Self::told(all)?;
        let (_, pace) = all[0];
        let kept = if times == 1 { pace.once } else { pace.again };
        (now < last + kept).then_some((first, last, times, early, false))
    }

    fn told(all: &[(SystemTime, Pace)]) -> Option<Known> {
        let mut counted: Vec<SystemTime> = Vec::new();
        let mut early = 0;
        let mut counts = false;
        for (at, pace) in all {
            let kept = if counted.len() == 1 { pace.once } else { pace.again };
            if counted.last().is_some_and(|last| *at >= *last + kept) {
                counted.clear();
                early = 0;
            }
            counts = counted.last().is_none_or(|last| *at >= *last + pace.apart);
            if counts { counted.push(*at) } else { early += 1 }
        }
        let times = u32::try_from(counted.len()).unwrap();
        Some((*counted.first()?, *counted.last()?, times, early, counts))
    }

    /// Fills the bucket token by token.
    pub(crate) fn take(
        &mut self,
        key: &Key,
        (tokens, time): (u32, Duration),
        wanted: u32,
        now: SystemTime,
    ) -> Taken {
        let each = u64::try_from(time.as_micros()).unwrap().div_ceil(u64::from(tokens));
        let most = each * u64::from(tokens);
        let wanted = wanted.min(tokens);
        let taken = self.takings.entry(key.to_string()).or_default();
        let (mut level, mut at) = (most, SystemTime::UNIX_EPOCH);
        for (when, count) in &*taken {
            level = refilled(level, at, *when, most) - each * u64::from(*count);
            at = *when;
        }
        let level = refilled(level, at, now, most);
        let cost = each * u64::from(wanted);
        if cost > level {
            return Taken::Exhausted { wait: Duration::from_micros(cost - level) };
        }
        taken.push((now, wanted));
        Taken::Granted { left: u32::try_from((level - cost) / each).unwrap() }
    }

    pub(crate) fn put(&mut self, key: &Key, value: &[u8], until: SystemTime) {
        self.values.insert(key.to_string(), (value.into(), until));
    }

    pub(crate) fn get(&self, key: &Key, now: SystemTime) -> Option<Vec<u8>> {
        let (value, until) = self.values.get(&key.to_string())?;
        (now < *until).then(|| value.clone())
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        self.values.remove(&key.to_string());
    }

    pub(crate) fn append(
        &mut self,
        key: &Key,
        record: &[u8],
        time: Duration,
        now: SystemTime,
    ) -> u64 {
        let all = self.logs.entry(key.to_string()).or_default();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
        let fresh = u64::try_from(since).unwrap();
        let (position, begins) = match all.last() {
            Some((last, _, end, _)) if now < *end => (last + 1, false),
            Some((last, ..)) => (fresh.max(last + 1), true),
            None => (fresh, true),
        };
        all.push((position, record.into(), now + time, begins));
        position
    }

    /// Returns the records, the next position, and whether some were missed.
    pub(crate) fn read(
        &self,
        key: &Key,
        records: usize,
        from: u64,
        now: SystemTime,
    ) -> (Vec<Vec<u8>>, u64, bool) {
        let empty = Vec::new();
        let all = self.logs.get(&key.to_string()).unwrap_or(&empty);
        let Some((last, ..)) = all.last().filter(|(_, _, end, _)| now < *end) else {
            return (Vec::new(), from, false);
        };
        let begin = all.iter().rposition(|(.., begins)| *begins).unwrap();
        let begin = begin.max(all.len().saturating_sub(records));
        let first = all[begin].0;
        let start = if from < first || from > last + 1 { first } else { from };
        let mut octets = 0;
        let page = all[begin..].iter().filter(|(position, ..)| *position >= start);
        let page: Vec<_> = page
            .take_while(|(_, record, ..)| {
                octets += record.len();
                octets <= 65_536
            })
            .take(1_024)
            .map(|(_, record, ..)| record.clone())
            .collect();
        let next = start + page.len() as u64;
        (page, next, from != 0 && start != from)
    }

    /// Decays each weight separately.
    pub(crate) fn weigh(
        &mut self,
        key: &Key,
        add: Balance,
        half_life: Duration,
        now: SystemTime,
    ) -> Balance {
        let all = self.weighings.entry(key.to_string()).or_default();
        if add != Balance::ZERO {
            all.push((now, add));
        }
        let (mut good, mut bad) = (0.0, 0.0);
        for (at, weight) in all {
            let age = now.duration_since(*at).unwrap().as_secs_f64() / half_life.as_secs_f64();
            good += weight.good * (-age).exp2();
            bad += weight.bad * (-age).exp2();
        }
        Balance::new(good, bad)
    }
}

fn refilled(level: u64, since: SystemTime, now: SystemTime, most: u64) -> u64 {
    let elapsed = now.duration_since(since).unwrap().as_micros();
    u64::try_from(u128::from(level) + elapsed).unwrap().min(most)
}

/// Rates are opaque to the model.
pub(crate) fn rate((tokens, time): (u32, Duration)) -> Rate {
    Rate::new(tokens, time).unwrap()
}
