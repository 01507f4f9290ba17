//! What is worked out from `argocd-cm` once for each state of it, and not anew while the settings that count for it stay
//! as they are: health rules and actions are scripts, and compiling them takes time. Knows nothing of what it holds.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::settings::Settings;

type Data = BTreeMap<String, String>;

struct Held<T> {
    /// The settings' number at the last look.
    number: u64,
    /// The settings that it was made of.
    parts: Data,
    value: Arc<T>,
}

/// The holder; cheap to clone, and all clones share what is held.
pub(crate) struct Derived<T> {
    settings: Settings,
    /// The name of a setting that counts.
    counts: fn(&str) -> bool,
    make: fn(&Data) -> T,
    held: Arc<Mutex<Option<Held<T>>>>,
}

impl<T> Clone for Derived<T> {
    fn clone(&self) -> Self {
        Self { settings: self.settings.clone(), held: self.held.clone(), ..*self }
    }
}

impl<T> Derived<T> {
    /// Of these settings, as far as they count.
    pub(crate) fn new(settings: Settings, counts: fn(&str) -> bool, make: fn(&Data) -> T) -> Self {
        Self { settings, counts, make, held: Arc::default() }
    }

    /// What holds now, and the number that tells this state of the settings from others.
    pub(crate) fn now(&self) -> (u64, Arc<T>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked for every object: the settings are copied only when they are others.
        if let Some(held) = held.as_ref().filter(|held| held.number == self.settings.number()) {
            return (held.number, held.value.clone());
        }
        let (number, mut parts) = self.settings.snapshot();
        parts.retain(|key, _| (self.counts)(key));
        let value = match held.take() {
            Some(known) if known.parts == parts => known.value,
            _ => Arc::new((self.make)(&parts)),
        };
        *held = Some(Held { number, parts, value: value.clone() });
        (number, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_anew_only_for_what_counts() {
        let settings = Settings::default();
        let derived = Derived::new(settings.clone(), |key| key.starts_with("a"), Data::len);
        let twin = derived.clone();
        let (first, nothing) = derived.now();
        assert_eq!(*nothing, 0);
        assert!(Arc::ptr_eq(&nothing, &twin.now().1), "clones share it");
        settings.put(&[("b", "1")]);
        let (second, same) = derived.now();
        assert!(second != first && Arc::ptr_eq(&nothing, &same));
        settings.put(&[("b", "1"), ("a", "1")]);
        assert_eq!(*derived.now().1, 1);
        assert_eq!(*twin.now().1, 1);
    }
}
