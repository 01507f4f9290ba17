//! One unit of work a key at a time: idle, running, or running with one more look owed.
//!
//! JetStream may hand out a newer message of a subject while the older one is still held
//! (research/bus.md 1.3, limit-removal), so the exclusion is ours. Pure: no actor, no bus, no clock.
use std::collections::HashMap;
use std::hash::Hash;

/// Work held back, by key. `T` is what travels with the work (a delivery that must be acked).
#[derive(Debug)]
pub(crate) struct KeyedQueue<K, T> {
    running: HashMap<K, Option<T>>,
}

/// What the owner must do with an offered piece of work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered<T> {
    /// Nothing runs for this key: start it now.
    Start(T),
    /// It waits for the run in progress. `replaced` is the older one that waited; it has nothing left to say.
    Held {
        /// The superseded piece of work, to be acked.
        replaced: Option<T>,
    },
}

impl<K: Hash + Eq + Clone, T> KeyedQueue<K, T> {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        Self { running: HashMap::new() }
    }

    /// Offers work for `key`. Of two pieces that wait the newer is kept, unless the older `outranks` it.
    pub(crate) fn offer(&mut self, key: K, work: T, outranks: impl FnOnce(&T, &T) -> bool) -> Offered<T> {
        match self.running.get_mut(&key) {
            None => {
                self.running.insert(key, None);
                Offered::Start(work)
            }
            Some(Some(held)) if outranks(held, &work) => Offered::Held { replaced: Some(work) },
            Some(held) => Offered::Held { replaced: held.replace(work) },
        }
    }

    /// The run of `key` ended. Work that waited is returned and must be started at once.
    pub(crate) fn finished(&mut self, key: &K) -> Option<T> {
        let held = self.running.get_mut(key)?.take();
        if held.is_none() {
            self.running.remove(key);
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_look_waits_and_only_the_newest_is_kept() {
        let mut queue = KeyedQueue::new();
        let offer = |queue: &mut KeyedQueue<_, _>, key, work| queue.offer(key, work, |_, _| false);
        assert_eq!(offer(&mut queue, "a", 1), Offered::Start(1));
        assert_eq!(offer(&mut queue, "a", 2), Offered::Held { replaced: None });
        assert_eq!(offer(&mut queue, "a", 3), Offered::Held { replaced: Some(2) });
        assert_eq!(offer(&mut queue, "b", 4), Offered::Start(4));
        assert_eq!(queue.finished(&"a"), Some(3));
        assert_eq!(queue.finished(&"a"), None);
        assert_eq!(offer(&mut queue, "a", 5), Offered::Start(5));
    }

    #[test]
    fn what_outranks_the_newer_goes_on_waiting() {
        let mut queue = KeyedQueue::new();
        let mut offer = |work| queue.offer("a", work, |held: &i32, new| held > new);
        assert_eq!(offer(1), Offered::Start(1));
        assert_eq!(offer(9), Offered::Held { replaced: None });
        assert_eq!(offer(2), Offered::Held { replaced: Some(2) });
        assert_eq!(queue.finished(&"a"), Some(9));
    }
}
