//! How often an Application's tree is put on the bus: the first change at once, then the less often the longer it
//! goes on changing. Pure: the time is given.
use std::collections::HashMap;
use std::time::Duration;

/// Between two looks at what goes on changing, at first and at last. What is to be compared waits less: an operation
/// may wait for it.
const FIRST: Duration = Duration::from_millis(20);
const LAST: Duration = Duration::from_millis(320);
const LAST_TO_COMPARE: Duration = Duration::from_millis(80);
/// After this time without a change the next is a first one again.
const CALM: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Beat {
    at: Duration,
    pause: Duration,
}

/// When each Application had its turn.
#[derive(Debug, Default)]
pub(super) struct Pace {
    beats: HashMap<String, Beat>,
}

impl Pace {
    /// How long an Application that changed has still to wait; zero: it is its turn. `now` counts from any beginning.
    pub(super) fn wait(&self, instance: &str, compare: bool, now: Duration) -> Duration {
        let Some(beat) = self.beats.get(instance) else { return Duration::ZERO };
        let pause = if compare { beat.pause.min(LAST_TO_COMPARE) } else { beat.pause };
        (beat.at + pause).saturating_sub(now)
    }

    /// It had its turn.
    pub(super) fn had(&mut self, instance: &str, now: Duration) {
        let before = self.beats.get(instance).filter(|beat| now.saturating_sub(beat.at) < CALM);
        let pause = before.map_or(FIRST, |beat| (beat.pause * 2).min(LAST));
        self.beats.insert(instance.to_owned(), Beat { at: now, pause });
    }

    /// Forgets those that are calm.
    pub(super) fn forget(&mut self, now: Duration) {
        self.beats.retain(|_, beat| now.saturating_sub(beat.at) < CALM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns within ten seconds of an object that changes every `every` milliseconds, and when the first came.
    fn turns(every: u64, compare: bool) -> (usize, Duration) {
        let mut pace = Pace::default();
        let (mut turns, mut first, mut waiting) = (0, None, false);
        for now in (0..10_000).map(Duration::from_millis) {
            waiting |= now.as_millis() % u128::from(every) == 0;
            if waiting && pace.wait("app", compare, now).is_zero() {
                pace.had("app", now);
                waiting = false;
                turns += 1;
                first.get_or_insert(now);
            }
        }
        (turns, first.unwrap())
    }

    #[test]
    fn the_first_is_at_once_and_the_many_are_few() {
        let (fast, first) = turns(1, false);
        assert!(first.is_zero() && (30..=38).contains(&fast), "{fast}");
        assert!((30..=38).contains(&turns(100, false).0), "ten changes a second are three trees a second");
        assert_eq!(turns(2_000, false).0, 5, "calm changes all have their turn");
        assert!(turns(1, true).0 > 100, "what is to be compared waits less");
    }

    #[test]
    fn calm_is_forgotten() {
        let mut pace = Pace::default();
        pace.had("a", Duration::ZERO);
        pace.forget(Duration::from_secs(2));
        assert!(pace.beats.is_empty());
    }
}
