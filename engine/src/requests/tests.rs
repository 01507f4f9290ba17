//! The rules are those of Argo CD's API server, v3.6 (server/application, `Sync`, `Rollback`, `TerminateOperation`).
use super::*;

fn app(changes: Value) -> Application {
    let mut object = json!({
        "metadata": {"name": "a", "namespace": "argocd"},
        "spec": {
            "project": "p", "destination": {"namespace": "n"},
            "source": {"repoURL": "https://x/y", "path": ".", "targetRevision": "main"},
            "syncPolicy": {"syncOptions": ["Validate=false"], "retry": {"limit": 2}},
        },
    });
    merge(&mut object, &changes);
    serde_json::from_value(object).unwrap()
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(into.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

fn now() -> Timestamp {
    "2026-03-02T10:30:00Z".parse().unwrap()
}

fn asked(app: &Application, request: &Value, windows: &[SyncWindow]) -> Result<Value, Refusal> {
    let request: SyncRequest = serde_json::from_value(request.clone()).unwrap();
    check_sync(app, &request, "admin", windows, now()).map(|operation| serde_json::to_value(operation).unwrap())
}

#[test]
fn a_sync_is_built_as_argo_cd_builds_it() {
    let source = json!({"repoURL": "https://x/y", "path": ".", "targetRevision": "main"});
    let by = json!({"username": "admin"});
    let cases = [
        (
            json!({}),
            json!({"sync": {"source": source, "syncOptions": ["Validate=false"]}, "retry": {"limit": 2}, "initiatedBy": by}),
        ),
        // As the page of Argo CD sends it.
        (
            json!({"revision": "v1", "prune": true, "dryRun": false, "strategy": {"hook": {"force": true}}, "resources": null, "syncOptions": {"items": []}, "retryStrategy": null}),
            json!({"sync": {"source": source, "revision": "v1", "prune": true, "syncOptions": [], "syncStrategy": {"hook": {"force": true}}}, "retry": {"limit": 2}, "initiatedBy": by}),
        ),
        (
            json!({"syncOptions": {"items": ["Replace=true"]}, "retryStrategy": {"limit": 7}, "infos": [{"name": "why", "value": "because"}], "resources": [{"group": "apps", "kind": "Deployment", "name": "d", "namespace": "n"}, null]}),
            json!({"sync": {"source": source, "syncOptions": ["Replace=true"], "resources": [{"group": "apps", "kind": "Deployment", "name": "d", "namespace": "n"}]}, "retry": {"limit": 7}, "info": [{"name": "why", "value": "because"}], "initiatedBy": by}),
        ),
        (
            json!({"manifests": ["{}"], "revision": "main", "dryRun": true}),
            json!({"sync": {"source": source, "manifests": ["{}"], "dryRun": true, "syncOptions": ["Validate=false"]}, "retry": {"limit": 2}, "initiatedBy": by}),
        ),
    ];
    for (request, want) in cases {
        assert_eq!(asked(&app(json!({})), &request, &[]).unwrap(), want, "{request}");
    }
}

#[test]
fn revisions_of_several_sources_go_by_position() {
    let several = app(json!({"spec": {"source": null, "sources": [
        {"repoURL": "https://x/a", "targetRevision": "main"}, {"repoURL": "https://x/b"}]}}));
    let revisions =
        |request: Value| asked(&several, &request, &[]).map(|operation| operation["sync"]["revisions"].clone());
    assert_eq!(revisions(json!({})).unwrap(), Value::Null);
    assert_eq!(revisions(json!({"revisions": ["v2"], "sourcePositions": [2]})).unwrap(), json!(["main", "v2"]));
    for positions in [json!([0]), json!([3]), json!([-1])] {
        let problem = revisions(json!({"revisions": ["v2"], "sourcePositions": positions})).unwrap_err();
        assert_eq!(
            (problem.code, problem.message.as_str()),
            (Code::InvalidArgument, "source position is out of range")
        );
    }
    assert!(revisions(json!({"revisions": [], "sourcePositions": [1]})).is_err());
    let sync = asked(&several, &json!({}), &[]).unwrap()["sync"].clone();
    assert_eq!((sync["sources"].as_array().map(Vec::len), &sync["source"]), (Some(2), &Value::Null));
}

#[test]
fn a_sync_that_may_not_be_is_refused_in_argo_cds_words() {
    let automated = json!({"spec": {"syncPolicy": {"automated": {}}}});
    let deny = json!([{"kind": "deny", "schedule": "0 10 * * *", "duration": "1h", "applications": ["*"]}]);
    let by_hand = json!([{"kind": "deny", "schedule": "0 10 * * *", "duration": "1h", "applications": ["*"], "manualSync": true}]);
    let broken = json!([{"kind": "deny", "schedule": "x", "duration": "1h", "applications": ["*"]}]);
    let none = json!([]);
    use Code::{FailedPrecondition, PermissionDenied};
    let cases = [
        (json!({}), json!({}), &deny, Some((PermissionDenied, "cannot sync: blocked by sync window"))),
        (json!({}), json!({}), &by_hand, None),
        (
            json!({}),
            json!({}),
            &broken,
            Some((PermissionDenied, "cannot sync: invalid sync window: cannot parse schedule 'x'")),
        ),
        (
            json!({"operation": {"sync": {}}}),
            json!({}),
            &none,
            Some((FailedPrecondition, "another operation is already in progress")),
        ),
        (
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            json!({}),
            &none,
            Some((FailedPrecondition, "application is deleting")),
        ),
        (automated.clone(), json!({}), &none, None),
        (automated.clone(), json!({"revision": "main"}), &none, None),
        (automated.clone(), json!({"revision": "v1", "dryRun": true}), &none, None),
        (
            automated.clone(),
            json!({"revision": "v1"}),
            &none,
            Some((FailedPrecondition, "Cannot sync to v1: auto-sync currently set to main")),
        ),
        (json!({"spec": {"syncPolicy": {"automated": {"enabled": false}}}}), json!({"revision": "v1"}), &none, None),
        (
            automated.clone(),
            json!({"manifests": ["{}"]}),
            &none,
            Some((
                FailedPrecondition,
                "cannot use local sync when Automatic Sync Policy is enabled unless for dry run",
            )),
        ),
        (automated.clone(), json!({"manifests": ["{}"], "dryRun": true}), &none, None),
        (
            json!({"spec": {"syncPolicy": {"automated": {}}, "source": null, "sources": [{"repoURL": "https://x/a", "targetRevision": "main"}]}}),
            json!({"revisions": ["v1"], "sourcePositions": [1]}),
            &none,
            Some((FailedPrecondition, "Cannot sync source https://x/a to v1: auto-sync currently set to main")),
        ),
    ];
    for (changes, request, windows, want) in cases {
        let windows: Vec<SyncWindow> = serde_json::from_value(windows.clone()).unwrap();
        let got = asked(&app(changes.clone()), &request, &windows);
        match want {
            None => assert!(got.is_ok(), "{changes} {request}: {got:?}"),
            Some((code, words)) => {
                let problem = got.unwrap_err();
                assert!(problem.code == code && problem.message.starts_with(words), "{problem:?} / {words}");
            }
        }
    }
}

#[test]
fn a_rollback_takes_the_recorded_source_and_runs_no_hooks() {
    let history = json!([
        {"id": 3, "revision": "c3", "source": {"repoURL": "https://x/y", "path": "old"}},
        {"id": 4, "revisions": ["c4", "d4"], "sources": [{"repoURL": "https://x/a"}, {"repoURL": "https://x/b"}]},
        {"id": 5, "revision": "c5"},
    ]);
    let with = |changes: Value| {
        let mut object = json!({"status": {"history": history}});
        merge(&mut object, &changes);
        app(object)
    };
    let roll = |app: &Application, id: i64| {
        let request = RollbackRequest { id, prune: Some(true), dry_run: None };
        check_rollback(app, request, "admin").map(|operation| serde_json::to_value(operation).unwrap())
    };
    assert_eq!(
        roll(&with(json!({})), 3).unwrap(),
        json!({"initiatedBy": {"username": "admin"}, "sync": {"revision": "c3", "prune": true, "syncOptions": ["Validate=false"], "syncStrategy": {"apply": {}}, "source": {"repoURL": "https://x/y", "path": "old"}}})
    );
    let several = roll(&with(json!({})), 4).unwrap()["sync"].clone();
    assert_eq!((&several["revisions"], several["sources"].as_array().map(Vec::len)), (&json!(["c4", "d4"]), Some(2)));
    let cases = [
        (json!({}), 9, Code::InvalidArgument, "application argocd/a does not have deployment with id 9"),
        (json!({}), 5, Code::FailedPrecondition, "cannot rollback to revision deployed with Argo CD v0.11 or lower"),
        (
            json!({"spec": {"syncPolicy": {"automated": {}}}}),
            3,
            Code::FailedPrecondition,
            "rollback cannot be initiated when auto-sync is enabled",
        ),
        (json!({"operation": {"sync": {}}}), 3, Code::FailedPrecondition, "another operation is already in progress"),
        (json!({"metadata": {"deletionTimestamp": "x"}}), 3, Code::FailedPrecondition, "application is deleting"),
    ];
    for (changes, id, code, words) in cases {
        let problem = roll(&with(changes), id).unwrap_err();
        assert!(problem.code == code && problem.message.starts_with(words), "{problem:?} / {words}");
    }
}

#[test]
fn only_what_runs_is_terminated() {
    let state = json!({"operationState": {"operation": {}, "phase": "Running"}});
    for (changes, want) in [
        (json!({}), false),
        (json!({"status": state}), false),
        (json!({"operation": {"sync": {}}}), false),
        (
            json!({"operation": {"sync": {}}, "status": {"operationState": {"operation": {}, "phase": "Succeeded"}}}),
            false,
        ),
        (json!({"operation": {"sync": {}}, "status": state}), true),
    ] {
        let got = check_terminate(&app(changes.clone()));
        assert_eq!(got.is_ok(), want, "{changes}");
        if let Err(problem) = got {
            assert_eq!(problem.message, "Unable to terminate operation. No operation is in progress");
        }
    }
}

#[test]
fn windows_are_shown_as_argo_cd_shows_them() {
    let windows: Vec<SyncWindow> = serde_json::from_value(json!([
        {"kind": "deny", "schedule": "0 10 * * *", "duration": "1h", "applications": ["*"], "timeZone": "UTC"},
        {"kind": "allow", "schedule": "0 12 * * *", "duration": "1h", "namespaces": ["n"], "manualSync": true},
        {"kind": "allow", "schedule": "0 10 * * *", "duration": "1h", "clusters": ["other"]},
    ]))
    .unwrap();
    let deny = json!({"kind": "deny", "schedule": "0 10 * * *", "duration": "1h", "manualSync": false});
    let allow = json!({"kind": "allow", "schedule": "0 12 * * *", "duration": "1h", "manualSync": true});
    assert_eq!(
        sync_windows(&app(json!({})), &windows, now()).unwrap(),
        json!({"activeWindows": [deny], "assignedWindows": [deny, allow], "canSync": false})
    );
    assert_eq!(sync_windows(&app(json!({})), &[], now()).unwrap(), json!({"canSync": true}));
}
