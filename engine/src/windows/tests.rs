use serde_json::{Value, json};

use super::*;

fn app() -> Application {
    serde_json::from_value(json!({"metadata": {"name": "web-1", "namespace": "argocd"}, "spec": {"project": "p", "destination": {"server": "https://1.2.3.4", "namespace": "prod"}}})).unwrap()
}

fn windows(given: Value) -> Vec<SyncWindow> {
    let mut windows: Vec<SyncWindow> = serde_json::from_value(given).unwrap();
    for window in &mut windows {
        if [&window.applications, &window.namespaces, &window.clusters].iter().all(|list| list.is_empty()) {
            window.applications = vec!["*".to_owned()];
        }
    }
    windows
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Argo CD, user guide, "Sync Windows": which Applications a window concerns.
#[test]
fn windows_concern_whom_their_globs_name() {
    for (window, want) in [
        (json!({}), false),
        (json!({"andOperator": true}), false),
        (json!({"applications": ["web-*"]}), true),
        (json!({"applications": ["api-*", "web-1"]}), true),
        (json!({"applications": ["api-*"]}), false),
        (json!({"applications": ["!web-1"]}), false),
        (json!({"namespaces": ["prod"]}), true),
        (json!({"clusters": ["https://*"]}), true),
        (json!({"clusters": ["in-cluster"]}), false),
        (json!({"applications": ["api-*"], "namespaces": ["prod"]}), true),
        (json!({"applications": ["api-*"], "namespaces": ["prod"], "andOperator": true}), false),
        (json!({"applications": ["web-*"], "clusters": ["https://1*"], "andOperator": true}), true),
        (json!({"applications": ["web-*"], "namespaces": ["dev"], "andOperator": true}), false),
    ] {
        let read: SyncWindow = serde_json::from_value(window.clone()).unwrap();
        assert_eq!(read.concerns(&app()), want, "{window}");
    }
}

/// Argo CD, user guide, "Sync Windows", the rules of the list "The windows work in the following way".
#[test]
fn windows_decide_as_argo_cd_documents() {
    let allow = json!({"kind": "allow", "schedule": "0 10 * * *", "duration": "1h"});
    let deny = json!({"kind": "deny", "schedule": "0 10 * * *", "duration": "1h"});
    let with = |window: &Value, field: &str| {
        let mut window = window.clone();
        window[field] = json!(true);
        window
    };
    let later = json!({"kind": "allow", "schedule": "0 12 * * *", "duration": "1h"});
    let (inside, outside) = ("2026-03-02T10:30:00Z", "2026-03-02T11:00:00Z");
    // Windows, time, whether an automated and a manual sync may begin, and when to look again.
    let cases = [
        (json!([]), inside, true, true, None),
        (json!([allow]), inside, true, true, None),
        (json!([allow]), "2026-03-02T10:00:00Z", true, true, None),
        (json!([allow]), outside, false, false, Some("2026-03-03T10:00:00Z")),
        (json!([with(&allow, "manualSync")]), outside, false, true, Some("2026-03-03T10:00:00Z")),
        (json!([allow, later]), outside, false, false, Some("2026-03-02T12:00:00Z")),
        (json!([with(&allow, "manualSync"), later]), outside, false, false, Some("2026-03-02T12:00:00Z")),
        (json!([allow, later]), inside, true, true, None),
        (json!([deny]), inside, false, false, Some("2026-03-02T11:00:00Z")),
        (json!([deny]), outside, true, true, None),
        (json!([with(&deny, "manualSync")]), inside, false, true, Some("2026-03-02T11:00:00Z")),
        (json!([with(&deny, "manualSync"), deny]), inside, false, false, Some("2026-03-02T11:00:00Z")),
        (json!([allow, deny]), inside, false, false, Some("2026-03-03T11:00:00Z")),
    ];
    for (given, now, automated, manual, until) in cases {
        let windows = windows(given.clone());
        let verdict = |manual| can_sync(&windows, &app(), manual, at(now));
        assert_eq!((verdict(false).allowed, verdict(true).allowed), (automated, manual), "{given} {now}");
        // Both windows cover the same hour for ever: a look every so often is all there is to say.
        if given != json!([allow, deny]) {
            assert_eq!(verdict(false).until, until.map(at), "{given} {now}");
        }
    }
}

/// The same document, "Transition Scenarios".
#[test]
fn an_operation_runs_over_as_argo_cd_documents() {
    let window = |kind: &str, hour: u8, overrun: bool| json!({"kind": kind, "schedule": format!("0 {hour} * * *"), "duration": "1h", "syncOverrun": overrun});
    let cases = [
        // No window, then deny.
        (json!([window("deny", 11, true)]), true),
        (json!([window("deny", 11, false)]), false),
        // Allow, then deny.
        (json!([window("allow", 10, true), window("deny", 11, true)]), true),
        (json!([window("allow", 10, true), window("deny", 11, false)]), false),
        (json!([window("allow", 10, false), window("deny", 11, true)]), true),
        (json!([window("allow", 10, false), window("deny", 11, false)]), false),
        // Allow ends.
        (json!([window("allow", 10, true)]), true),
        (json!([window("allow", 10, false)]), false),
        (json!([window("allow", 10, true), window("allow", 9, true)]), true),
        (json!([window("allow", 10, true), window("allow", 9, false)]), false),
        // It was not allowed when it began.
        (json!([window("allow", 9, true)]), false),
    ];
    for (given, want) in cases {
        let state: OperationState = serde_json::from_value(
            json!({"operation": {"initiatedBy": {"automated": true}}, "phase": "Running", "startedAt": "2026-03-02T10:30:00Z"}),
        )
        .unwrap();
        let verdict = may_continue(&windows(given.clone()), &app(), &state, at("2026-03-02T11:30:00Z"));
        assert_eq!(verdict.allowed, want, "{given}: {}", verdict.reason);
    }
}

/// Wall clock times, as Argo CD's: it adds the zone's offset of now and reckons as if in UTC.
#[test]
fn windows_follow_the_wall_clock_over_clock_changes() {
    // New York: 2026-03-08 02:00 becomes 03:00 (07:00Z); 2026-11-01 02:00 becomes 01:00 (06:00Z).
    let cases = [
        ("0 1 * * *", "4h", "2026-03-08T05:59:59Z", false),  // 00:59:59
        ("0 1 * * *", "4h", "2026-03-08T06:00:00Z", true),   // 01:00
        ("0 1 * * *", "4h", "2026-03-08T08:59:59Z", true),   // 04:59:59
        ("0 1 * * *", "4h", "2026-03-08T09:00:00Z", false),  // 05:00
        ("30 2 * * *", "1h", "2026-03-08T06:59:59Z", false), // 01:59:59
        ("30 2 * * *", "1h", "2026-03-08T07:00:00Z", true),  // 03:00, the half of it that is there
        ("30 2 * * *", "1h", "2026-03-08T07:30:00Z", false), // 03:30
        ("30 1 * * *", "1h", "2026-11-01T05:45:00Z", true),  // 01:45
        ("30 1 * * *", "1h", "2026-11-01T06:15:00Z", false), // 01:15 again
        ("30 1 * * *", "1h", "2026-11-01T06:45:00Z", true),  // 01:45 again
        ("30 1 * * *", "1h", "2026-11-01T07:30:00Z", false), // 02:30
    ];
    for (schedule, duration, now, want) in cases {
        let given = windows(
            json!([{"kind": "allow", "schedule": schedule, "duration": duration, "timeZone": "America/New_York"}]),
        );
        let verdict = can_sync(&given, &app(), false, at(now));
        assert_eq!(verdict.allowed, want, "{schedule} {duration} {now}");
    }
    let opens = |schedule: &str, now: &str| {
        let given =
            windows(json!([{"kind": "allow", "schedule": schedule, "duration": "1h", "timeZone": "America/New_York"}]));
        can_sync(&given, &app(), false, at(now)).until.unwrap().to_string()
    };
    // The day before the change the offset is another: 13:00 in New York is 18:00Z, then 17:00Z.
    assert_eq!(opens("0 13 * * *", "2026-03-07T12:00:00Z"), "2026-03-07T18:00:00Z");
    assert_eq!(opens("0 13 * * *", "2026-03-07T20:00:00Z"), "2026-03-08T17:00:00Z");
    assert_eq!(opens("30 2 * * *", "2026-03-08T06:00:00Z"), "2026-03-08T07:00:00Z", "in the gap: at its end");
    assert_eq!(opens("30 1 * * *", "2026-11-01T06:10:00Z"), "2026-11-01T06:30:00Z", "shown twice: it opens twice");
}

#[test]
fn zones_come_from_the_window_or_its_schedule_and_are_utc_when_unknown() {
    for (window, want) in [
        (json!({"schedule": "0 9 * * *", "timeZone": "Asia/Tokyo"}), true),
        (json!({"schedule": "CRON_TZ=Asia/Tokyo 0 9 * * *"}), true),
        (json!({"schedule": "0 0 * * *", "timeZone": "No/Where"}), true),
        (json!({"schedule": "0 0 * * *"}), true),
        (json!({"schedule": "0 9 * * *"}), false),
    ] {
        let mut window = window;
        window["kind"] = json!("allow");
        window["duration"] = json!("30m");
        let verdict = can_sync(&windows(json!([window])), &app(), false, at("2026-06-01T00:10:00Z"));
        assert_eq!(verdict.allowed, want, "{window}");
    }
}

/// Argo CD: an error in one of its windows stops the syncs of an Application.
#[test]
fn a_window_that_cannot_be_read_stops_syncs_of_those_it_concerns() {
    for (window, words) in [
        (json!({"kind": "allow", "schedule": "@daily", "duration": "1h"}), "cannot parse schedule '@daily'"),
        (json!({"kind": "deny", "schedule": "0 0 * * *", "duration": "1d"}), "cannot parse duration '1d'"),
        (json!({"kind": "deny", "schedule": "CRON_TZ=No/Where 0 0 * * *", "duration": "1h"}), "bad location No/Where"),
    ] {
        let verdict = can_sync(&windows(json!([window])), &app(), true, at("2026-06-01T12:00:00Z"));
        assert!(!verdict.allowed && verdict.reason.contains(words), "{window}: {verdict:?}");
    }
    let others = windows(json!([{"kind": "deny", "schedule": "x", "duration": "1h", "applications": ["other"]}]));
    assert!(can_sync(&others, &app(), true, at("2026-06-01T12:00:00Z")).allowed);
}
