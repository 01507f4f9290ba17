//! When each repository is due. Pure: the moments are given, as time since some beginning.
use std::collections::HashMap;
use std::time::Duration;

use crate::sources::RepoId;

/// The last look at a repository, and how long the next may wait.
#[derive(Debug, Clone, Copy)]
struct Entry {
    last: Duration,
    wait: Duration,
    /// The setting from which the wait was drawn: another setting draws again.
    period: Duration,
}

/// The moments of all repositories.
#[derive(Debug, Default)]
pub(super) struct Timer {
    entries: HashMap<RepoId, Entry>,
}

impl Timer {
    /// The repositories due at `now`; those are given their next moment. `draw` adds the jitter to the period.
    pub(super) fn due(
        &mut self,
        repos: &[RepoId],
        now: Duration,
        period: Duration,
        draw: impl Fn() -> Duration,
    ) -> Vec<RepoId> {
        self.entries.retain(|repo, _| repos.contains(repo));
        let mut due = Vec::new();
        for repo in repos {
            let fresh = Entry { last: now, wait: draw(), period };
            let entry = self.entries.entry(repo.clone()).or_insert(fresh);
            if entry.period != period {
                (entry.wait, entry.period) = (fresh.wait, period);
            }
            if now >= entry.last + entry.wait {
                *entry = fresh;
                due.push(repo.clone());
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_setting_counts_at_once() {
        let mut timer = Timer::default();
        let repos = [RepoId { url: "r".to_owned(), scope: String::new() }];
        let mut due = |now: u64, period: u64| {
            timer
                .due(&repos, Duration::from_secs(now), Duration::from_secs(period), || Duration::from_secs(period))
                .len()
        };
        assert_eq!(due(0, 120), 0, "a repository just seen was just polled");
        assert_eq!(due(119, 120), 0);
        assert_eq!(due(120, 120), 1);
        assert_eq!(due(121, 120), 0);
        assert_eq!(due(122, 2), 1, "the setting became shorter");
        assert_eq!(due(123, 2), 0);
        assert_eq!(due(124, 2), 1);
    }
}
