//! When a failed operation is tried again (Argo CD, `retry` of the sync policy). Pure.
use std::time::Duration;

use serde_json::Value;

use crate::duration;

/// Argo CD's defaults: 5 s, doubled each time, 3 minutes at most.
const FIRST: Duration = Duration::from_secs(5);
const FACTOR: u32 = 2;
const MAX: Duration = Duration::from_secs(180);

/// How long to wait before the next try after `tries` retries; `None` when there is none. `retry` is
/// `{limit, backoff: {duration, factor, maxDuration}}`; a limit below zero means for ever.
pub fn backoff(retry: Option<&Value>, tries: i64) -> Option<Duration> {
    let retry = retry?;
    let limit = retry["limit"].as_i64().unwrap_or_default();
    if limit >= 0 && tries >= limit {
        return None;
    }
    let given = |field: &str| {
        let value = &retry["backoff"][field];
        value.as_str().and_then(duration::parse).or_else(|| value.as_u64().map(Duration::from_secs))
    };
    let factor = retry["backoff"]["factor"].as_u64().and_then(|factor| u32::try_from(factor).ok()).unwrap_or(FACTOR);
    let max = given("maxDuration").unwrap_or(MAX);
    let tries = u32::try_from(tries).unwrap_or(u32::MAX);
    let wait = factor.checked_pow(tries).and_then(|times| given("duration").unwrap_or(FIRST).checked_mul(times));
    Some(wait.unwrap_or(max).min(max))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn retries_grow_and_end() {
        let own = json!({"limit": 3, "backoff": {"duration": "1s", "factor": 3, "maxDuration": "5s"}});
        let cases = [
            (json!(null), 0, None),
            (json!({"limit": 0}), 0, None),
            (json!({"limit": 2}), 0, Some(5)),
            (json!({"limit": 2}), 1, Some(10)),
            (json!({"limit": 2}), 2, None),
            (json!({"limit": -1}), 1000, Some(180)),
            (own.clone(), 1, Some(3)),
            (own, 2, Some(5)),
        ];
        for (retry, tries, want) in cases {
            let given = (!retry.is_null()).then_some(&retry);
            assert_eq!(backoff(given, tries), want.map(Duration::from_secs), "{retry} {tries}");
        }
    }
}
