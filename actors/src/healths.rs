//! The rules of health, compiled once for each state of the settings that they come from. Shared by observer, differ
//! and syncer, so that an object is as healthy for one as for the other.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tako_engine::health::HealthRules;

use crate::settings::Settings;

struct Held {
    /// The settings' number at the last look.
    settings: u64,
    /// What the rules were made of.
    parts: BTreeMap<String, String>,
    rules: Arc<HealthRules>,
}

/// The memory; cheap to clone.
#[derive(Clone)]
pub(crate) struct Healths {
    settings: Settings,
    held: Arc<Mutex<Option<Held>>>,
}

impl Healths {
    /// The rules of these settings.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, held: Arc::default() }
    }

    /// The rules of now.
    pub(crate) fn now(&self) -> Arc<HealthRules> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked for every object: the data is copied only when it is another.
        if let Some(held) = held.as_ref().filter(|held| held.settings == self.settings.number()) {
            return held.rules.clone();
        }
        let (number, data) = self.settings.snapshot();
        let parts = parts(data);
        let known = held.take();
        let rules = match known {
            Some(known) if known.parts == parts => known.rules,
            _ => Arc::new(HealthRules::compile(&parts, since_1970)),
        };
        *held = Some(Held { settings: number, parts, rules: rules.clone() });
        rules
    }
}

/// What decides health.
fn parts(data: BTreeMap<String, String>) -> BTreeMap<String, String> {
    const WHOLE: &str = "resource.customizations";
    let of_health = |key: &str| {
        key == WHOLE
            || key
                .strip_prefix(WHOLE)
                .is_some_and(|rest| rest.starts_with(".health.") || rest.starts_with(".useOpenLibs."))
    };
    data.into_iter().filter(|(key, _)| of_health(key)).collect()
}

/// The clock that the engine has not.
pub(crate) fn since_1970() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_hangs_on_its_own_settings() {
        let data = [
            ("resource.customizations", true),
            ("resource.customizations.health.x_Y", true),
            ("resource.customizations.useOpenLibs.x_Y", true),
            ("resource.customizations.actions.x_Y", false),
            ("resource.customizationsx", false),
            ("timeout.reconciliation", false),
        ];
        for (key, counts) in data {
            let found = parts(BTreeMap::from([(key.to_owned(), String::new())]));
            assert_eq!(found.len(), usize::from(counts), "{key}");
        }
    }
}
