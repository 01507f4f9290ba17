//! The rules of health under the settings of now. Shared by observer, differ and syncer, so that an object is as healthy
//! for one as for the other.
use std::sync::Arc;

use tako_engine::health::HealthRules;

use crate::derived::Derived;
use crate::settings::Settings;
use crate::since_1970;

/// The memory; cheap to clone.
#[derive(Clone)]
pub(crate) struct Healths(Derived<HealthRules>);

impl Healths {
    /// The rules of these settings.
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Derived::new(settings, decides_health, |parts| HealthRules::compile(parts, since_1970)))
    }

    /// The rules of now.
    pub(crate) fn now(&self) -> Arc<HealthRules> {
        self.0.now().1
    }
}

fn decides_health(key: &str) -> bool {
    const WHOLE: &str = "resource.customizations";
    let part =
        key.strip_prefix(WHOLE).is_some_and(|rest| rest.starts_with(".health.") || rest.starts_with(".useOpenLibs."));
    key == WHOLE || part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_hangs_on_its_own_settings() {
        for (key, counts) in [
            ("resource.customizations", true),
            ("resource.customizations.health.x_Y", true),
            ("resource.customizations.useOpenLibs.x_Y", true),
            ("resource.customizations.actions.x_Y", false),
            ("resource.customizationsx", false),
            ("timeout.reconciliation", false),
        ] {
            assert_eq!(decides_health(key), counts, "{key}");
        }
    }
}
