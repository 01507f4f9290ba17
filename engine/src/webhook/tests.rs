use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn recognised(headers: &[(&str, &str)], query: &[(&str, &str)]) -> Option<Delivery> {
    let header =
        |name: &str| headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
    recognise(header, |name| query.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn a_delivery_is_recognised_by_its_headers_in_argo_cds_order() {
    let hmac = |text: &str| Proof::Hmac(Some(text.to_owned()));
    let secret = |text: &str| Proof::Secret(Some(text.to_owned()));
    for (headers, provider, event, id, proof) in [
        (
            &[("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "72d3"), ("X-Hub-Signature-256", "sha256=ab")][..],
            Provider::GitHub,
            "push",
            Some("72d3"),
            hmac("ab"),
        ),
        (&[("X-GitHub-Event", "package")], Provider::Ghcr, "package", None, Proof::Hmac(None)),
        (
            &[
                ("X-GitHub-Event", "push"),
                ("X-GitHub-Delivery", "f6"),
                ("X-Gogs-Event", "push"),
                ("X-Gogs-Delivery", "f6"),
                ("X-Hub-Signature-256", "sha256=ab"),
                ("X-Gogs-Signature", "cd"),
            ],
            Provider::Gogs,
            "push",
            Some("f6"),
            hmac("cd"),
        ),
        (
            &[("X-Forgejo-Event", "push"), ("X-Forgejo-Signature", "cd"), ("X-Forgejo-Delivery", "9")],
            Provider::Gogs,
            "push",
            Some("9"),
            hmac("cd"),
        ),
        (
            &[("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", "t"), ("X-Gitlab-Event-UUID", "13")],
            Provider::GitLab,
            "Push Hook",
            Some("13"),
            secret("t"),
        ),
        (
            &[("X-Hook-UUID", "u"), ("X-Event-Key", "repo:push"), ("X-Request-UUID", "r")],
            Provider::BitbucketCloud,
            "repo:push",
            Some("r"),
            secret("u"),
        ),
        (
            &[("X-Event-Key", "repo:refs_changed"), ("X-Request-Id", "r"), ("X-Hub-Signature", "sha256=ab")],
            Provider::BitbucketServer,
            "repo:refs_changed",
            Some("r"),
            hmac("ab"),
        ),
        (&[("X-Event-Key", "diagnostics:ping")], Provider::BitbucketServer, "diagnostics:ping", None, Proof::Needless),
        (
            &[("X-Vss-Activityid", "a"), ("Authorization", "Basic dTpwOnc=")],
            Provider::AzureDevOps,
            "",
            None,
            Proof::Basic(Some(("u".into(), "p:w".into()))),
        ),
        (
            &[("X-Vss-Activityid", "a"), ("Authorization", "Basic !")],
            Provider::AzureDevOps,
            "",
            None,
            Proof::Basic(None),
        ),
        (&[("Authorization", "shh")], Provider::Harbor, "", None, secret("shh")),
    ] {
        let want = Delivery { provider, event: event.to_owned(), id: id.map(str::to_owned), proof };
        assert!(recognised(headers, &[]) == Some(want.clone()), "{headers:?}: {want:?}");
    }
    assert!(recognised(&[], &[]).is_none());
    assert!(recognised(&[("X-GitHub-Event", "")], &[]).is_none());
    let hub = [("type", "dockerhub"), ("secret", "q")];
    assert!(recognised(&[], &hub).unwrap().proof == secret("q"));
    assert!(recognised(&[("Authorization", "h")], &hub).unwrap().proof == secret("h"), "the header counts alone");
}

#[test]
fn what_is_shared_is_never_printed() {
    let proofs = [
        Proof::Secret(Some("hunter2".into())),
        Proof::Hmac(Some("hunter2".into())),
        Proof::Basic(Some(("hunter2".into(), "hunter2".into()))),
    ];
    assert!(!format!("{proofs:?}").contains("hunter2"));
}

fn github(reference: &str) -> Value {
    json!({
        "ref": reference, "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246", "after": "0000000000000000000000000000000000000000",
        "base_ref": null, "created": false, "deleted": false, "forced": false,
        "repository": {
            "id": 186853002, "name": "deploy", "full_name": "octo/deploy", "private": true,
            "owner": {"login": "octo", "id": 21031067}, "html_url": "https://github.com/octo/deploy",
            "url": "https://github.com/octo/deploy", "git_url": "git://github.com/octo/deploy.git",
            "ssh_url": "git@github.com:octo/deploy.git", "clone_url": "https://github.com/octo/deploy.git",
            "default_branch": "main", "master_branch": "main", "pushed_at": 1_557_933_657,
        },
        "pusher": {"name": "octo", "email": "octo@example.org"},
        "commits": [{"id": "6113", "added": ["a.yaml"], "removed": [], "modified": ["b.yaml"]}], "head_commit": null,
    })
}

fn gogs() -> Value {
    json!({
        "ref": "refs/heads/main", "before": "28e1879d029cb852e4844d9c718537df08844e03", "commits": [{"id": "bffe", "added": null}],
        "repository": {
            "id": 140, "name": "deploy", "full_name": "team/deploy", "private": false,
            "html_url": "https://git.example.org/team/deploy", "ssh_url": "ssh://git@git.example.org:2222/team/deploy.git",
            "clone_url": "https://git.example.org/team/deploy.git", "default_branch": "main",
        },
        "pusher": {"id": 1, "login": "ann", "full_name": ""},
    })
}

fn gitlab(kind: &str, reference: &str) -> Value {
    json!({
        "object_kind": kind, "event_name": kind, "before": "95790bf8", "after": "da156088", "ref": reference,
        "checkout_sha": null, "user_id": 4, "user_email": null, "project_id": 15,
        "project": {
            "id": 15, "name": "Deploy", "web_url": "https://gitlab.example.org/infra/sub/deploy", "avatar_url": null,
            "git_ssh_url": "git@gitlab.example.org:infra/sub/deploy.git",
            "git_http_url": "https://gitlab.example.org/infra/sub/deploy.git",
            "path_with_namespace": "infra/sub/deploy", "default_branch": "main", "visibility_level": 0,
        },
        "commits": [{"id": "b6568db1", "added": ["CHANGELOG"], "modified": [], "removed": []}], "total_commits_count": 1,
    })
}

fn bitbucket_cloud() -> Value {
    let state =
        |kind: &str, name: &str| json!({"type": kind, "name": name, "target": {"type": "commit", "hash": "709d658d"}});
    json!({
        "actor": {"display_name": "Ann", "uuid": "{a54f16da}"},
        "repository": {
            "name": "deploy", "full_name": "team/deploy", "uuid": "{673a6070}", "scm": "git", "is_private": true,
            "links": {"self": {"href": "https://api.bitbucket.org/2.0/repositories/team/deploy"}, "html": {"href": "https://bitbucket.org/team/deploy"}},
        },
        "push": {"changes": [
            {"new": state("branch", "main"), "old": state("branch", "main"), "created": false, "forced": false, "closed": false},
            {"new": state("tag", "v1"), "old": null, "created": true, "closed": false},
            {"new": null, "old": state("branch", "gone"), "closed": true},
        ]},
    })
}

fn bitbucket_server() -> Value {
    let change = |id: &str, kind: &str| json!({"ref": {"id": id, "displayId": "x", "type": kind}, "refId": id, "fromHash": "ecddabb6", "toHash": "178864a7", "type": "UPDATE"});
    json!({
        "eventKey": "repo:refs_changed", "date": "2024-09-19T09:58:11+1000", "actor": {"name": "admin", "id": 1},
        "repository": {
            "slug": "deploy", "id": 84, "name": "deploy", "scmId": "git", "state": "AVAILABLE",
            "project": {"key": "INFRA", "id": 84, "name": "Infra"},
            "links": {
                "clone": [{"href": "ssh://git@bb.example.org:7999/infra/deploy.git", "name": "ssh"}, {"href": "https://bb.example.org/scm/infra/deploy.git", "name": "http"}],
                "self": [{"href": "https://bb.example.org/projects/INFRA/repos/deploy/browse"}],
            },
        },
        "changes": [change("refs/heads/main", "BRANCH"), change("refs/tags/v1", "TAG")],
    })
}

fn azure() -> Value {
    json!({
        "subscriptionId": "8fd412f1", "notificationId": 2, "id": "09b0b950-47fa", "eventType": "git.push", "publisherId": "tfs",
        "resource": {
            "commits": [{"commitId": "298a79aa", "comment": "draft"}],
            "refUpdates": [{"name": "refs/heads/main", "oldObjectId": "fa51eeb1", "newObjectId": "298a79aa"}],
            "repository": {
                "id": "ba2967cc", "name": "deploy", "url": "https://dev.azure.com/org/_apis/git/repositories/ba2967cc",
                "project": {"name": "infra"}, "defaultBranch": "refs/heads/main", "remoteUrl": "https://dev.azure.com/org/infra/_git/deploy",
            },
            "pushId": 5,
        },
        "resourceVersion": "1.0", "createdDate": "2024-08-09T00:45:55Z",
    })
}

fn ghcr(action: &str, kind: &str, tag: &str) -> Value {
    json!({
        "action": action,
        "package": {
            "id": 1, "name": "app", "namespace": "octo", "package_type": kind, "owner": {"login": "Octo"},
            "package_version": {"id": 2, "version": "sha256:ab", "container_metadata": {"tag": {"name": tag, "digest": "sha256:ab"}, "labels": {}}},
        },
    })
}

fn harbor(kind: &str) -> Value {
    json!({
        "type": kind, "occur_at": 1_582_640_688, "operator": "ann",
        "event_data": {
            "resources": [
                {"digest": "sha256:ab", "tag": "1.0.0", "resource_url": "hub.example.org/infra/app:1.0.0"},
                {"digest": "sha256:cd", "tag": "", "resource_url": "hub.example.org/infra/app@sha256:cd"},
            ],
            "repository": {"date_created": 1_582_634_337, "name": "app", "namespace": "infra", "repo_full_name": "infra/app", "repo_type": "private"},
        },
    })
}

fn docker_hub(repository: &Value) -> Value {
    json!({"callback_url": "https://registry.hub.docker.com/u/x", "push_data": {"pushed_at": 1, "pusher": "ann", "tag": "1.0.0"}, "repository": repository})
}

/// What a body tells, in one line: `place reference [of head]`.
fn told(provider: Provider, event: &str, body: &Value) -> Result<Vec<String>, Problem> {
    let line = |push: Push| match &push {
        Push::Git { default_branch, .. } => format!("{push} of {}", default_branch.as_deref().unwrap_or("?")),
        Push::Oci { .. } => push.to_string(),
    };
    read(provider, event, body.to_string().as_bytes()).map(|told| told.pushes.into_iter().map(line).collect())
}

#[test]
fn a_payload_tells_what_was_pushed() {
    use Provider::*;
    let quiet: &[&str] = &[];
    for (provider, event, body, want) in [
        (GitHub, "push", github("refs/heads/main"), &["branch main of main"][..]),
        (GitHub, "push", github("refs/heads/feature/a"), &["branch feature/a of main"]),
        (GitHub, "push", github("refs/tags/v1"), &["tag v1 of main"]),
        (GitHub, "ping", json!({"zen": "Keep it logically awesome.", "hook_id": 1}), quiet),
        (Gogs, "push", gogs(), &["branch main of main"]),
        (GitLab, "Push Hook", gitlab("push", "refs/heads/main"), &["branch main of main"]),
        (GitLab, "Tag Push Hook", gitlab("tag_push", "refs/tags/v1"), &["tag v1 of main"]),
        (GitLab, "System Hook", gitlab("push", "refs/heads/main"), &["branch main of main"]),
        (GitLab, "System Hook", json!({"event_name": "user_create", "email": "a@b"}), quiet),
        (BitbucketCloud, "repo:push", bitbucket_cloud(), &["branch main of ?", "tag v1 of ?", "branch gone of ?"]),
        (BitbucketServer, "repo:refs_changed", bitbucket_server(), &["branch main of ?", "tag v1 of ?"]),
        (BitbucketServer, "diagnostics:ping", json!({"test": true}), quiet),
        (AzureDevOps, "", azure(), &["branch main of main"]),
        (AzureDevOps, "", json!({"eventType": "git.pullrequest.created", "resource": 1}), quiet),
        (Ghcr, "package", ghcr("published", "CONTAINER", "1.0.0"), &["ghcr.io/octo/app:1.0.0"]),
        (Ghcr, "package", ghcr("updated", "CONTAINER", "1.0.0"), quiet),
        (Ghcr, "package", ghcr("published", "npm", "1.0.0"), quiet),
        (Ghcr, "package", ghcr("published", "CONTAINER", ""), quiet),
        (Harbor, "", harbor("PUSH_ARTIFACT"), &["hub.example.org/infra/app:1.0.0"]),
        (Harbor, "", harbor("DELETE_ARTIFACT"), quiet),
        (DockerHub, "", docker_hub(&json!({"repo_name": "octo/app"})), &["docker.io/octo/app:1.0.0"]),
        (DockerHub, "", docker_hub(&json!({"name": "nginx", "namespace": ""})), &["docker.io/library/nginx:1.0.0"]),
        (DockerHub, "", docker_hub(&json!({"name": "app", "namespace": "octo"})), &["docker.io/octo/app:1.0.0"]),
        (DockerHub, "", docker_hub(&Value::Null), quiet),
    ] {
        assert_eq!(told(provider, event, &body).as_deref(), Ok(want.map_strings().as_slice()), "{provider} {body}");
    }
    let id = read(AzureDevOps, "", azure().to_string().as_bytes()).unwrap().id;
    assert_eq!(id.as_deref(), Some("09b0b950-47fa"));
}

trait MapStrings {
    fn map_strings(&self) -> Vec<String>;
}

impl MapStrings for [&str] {
    fn map_strings(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[test]
fn a_repository_is_found_by_any_of_its_urls() {
    for (provider, event, body, urls) in [
        (
            Provider::GitHub,
            "push",
            github("refs/heads/main"),
            ["https://github.com/octo/deploy", "git@github.com:Octo/deploy.git"],
        ),
        (
            Provider::Gogs,
            "push",
            gogs(),
            ["https://git.example.org/team/deploy", "ssh://git@git.example.org:2222/team/deploy"],
        ),
        (
            Provider::GitLab,
            "Push Hook",
            gitlab("push", "refs/heads/main"),
            ["https://gitlab.example.org/infra/sub/deploy.git", "git@gitlab.example.org:infra/sub/deploy"],
        ),
        (
            Provider::BitbucketCloud,
            "repo:push",
            bitbucket_cloud(),
            ["https://ann@bitbucket.org/team/deploy.git", "git@bitbucket.org:team/deploy.git"],
        ),
        (
            Provider::BitbucketServer,
            "repo:refs_changed",
            bitbucket_server(),
            ["https://bb.example.org/scm/infra/deploy", "ssh://git@bb.example.org:7999/infra/deploy.git"],
        ),
        (
            Provider::AzureDevOps,
            "",
            azure(),
            ["https://org@dev.azure.com/org/infra/_git/deploy", "git@ssh.dev.azure.com:v3/org/infra/deploy"],
        ),
    ] {
        let told = read(provider, event, body.to_string().as_bytes()).unwrap();
        let Some(Push::Git { places, .. }) = told.pushes.first() else { panic!("{told:?}") };
        for url in urls {
            assert!(places.iter().any(|place| place.holds(url)), "{provider} {url} {places:?}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_in_words() {
    use Provider::*;
    let missing = |name| Problem::Missing(name);
    let with = |mut body: Value, pointer: &str, value: Value| {
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let main = || github("refs/heads/main");
    for (provider, event, body, want) in [
        (GitHub, "push", json!({}), Some(missing("repository.clone_url"))),
        (GitHub, "push", with(main(), "/ref", Value::Null), Some(missing("ref"))),
        (GitHub, "push", with(main(), "/repository/html_url", json!([])), None),
        (GitHub, "issues", json!({}), Some(Problem::Event("issues".into()))),
        (Gogs, "create", gogs(), Some(Problem::Event("create".into()))),
        (GitLab, "Note Hook", json!({}), Some(Problem::Event("Note Hook".into()))),
        (BitbucketCloud, "repo:fork", json!({}), Some(Problem::Event("repo:fork".into()))),
        (
            BitbucketCloud,
            "repo:push",
            with(bitbucket_cloud(), "/push/changes", json!([])),
            Some(missing("push.changes")),
        ),
        (BitbucketServer, "pr:opened", json!({}), Some(Problem::Event("pr:opened".into()))),
        (AzureDevOps, "", json!({"eventType": "workitem.created"}), Some(Problem::Event("workitem.created".into()))),
        (
            Ghcr,
            "package",
            with(ghcr("published", "CONTAINER", "1"), "/package/owner", Value::Null),
            Some(missing("package.owner.login")),
        ),
        (Harbor, "", json!({"type": "PUSH_ARTIFACT"}), Some(missing("event_data.repository.repo_full_name"))),
        // CVE-2025-59531, CVE-2025-59537 and CVE-2025-59538: each ended Argo CD's process.
        (BitbucketServer, "repo:refs_changed", with(bitbucket_server(), "/repository/links/clone", json!("x")), None),
        (
            BitbucketServer,
            "repo:refs_changed",
            with(bitbucket_server(), "/repository/links", json!({"clone": {}})),
            None,
        ),
        (
            BitbucketServer,
            "repo:refs_changed",
            with(bitbucket_server(), "/repository/links", Value::Null),
            Some(missing("repository.links.clone")),
        ),
        (
            Gogs,
            "push",
            json!({"ref": "refs/heads/main", "commits": [{"repo": null}, null], "repository": null}),
            Some(missing("repository.clone_url")),
        ),
        (AzureDevOps, "", with(azure(), "/resource/refUpdates", json!([])), Some(missing("resource.refUpdates"))),
    ] {
        let found = read(provider, event, body.to_string().as_bytes()).unwrap_err();
        match want {
            Some(want) => assert_eq!(found, want, "{body}"),
            None => assert!(matches!(found, Problem::Payload(_)), "{found} {body}"),
        }
    }
    let deep = format!("{{\"ref\":{}", "[".repeat(1_000_000));
    for provider in PROVIDERS {
        for body in [deep.as_bytes(), b"", b"null", b"payload=%7B%7D", b"\xff\xfe"] {
            assert!(read(provider, event_of(provider), body).is_err(), "{provider}");
        }
    }
}

#[test]
fn the_limit_is_a_number_of_mebibytes() {
    let limit = |text: Option<&str>| {
        payload_limit(&text.map(|text| (PAYLOAD_LIMIT.to_owned(), text.to_owned())).into_iter().collect())
    };
    let mib = 1024 * 1024;
    assert_eq!([None, Some("1"), Some("1Mi"), Some(""), Some("-3")].map(limit), [50 * mib, mib, 50 * mib, 50 * mib, 0]);
}

const PROVIDERS: [Provider; 9] = [
    Provider::AzureDevOps,
    Provider::Gogs,
    Provider::GitHub,
    Provider::GitLab,
    Provider::BitbucketCloud,
    Provider::BitbucketServer,
    Provider::Harbor,
    Provider::Ghcr,
    Provider::DockerHub,
];

fn event_of(provider: Provider) -> &'static str {
    match provider {
        Provider::GitLab => "System Hook",
        Provider::BitbucketCloud => "repo:push",
        Provider::BitbucketServer => "repo:refs_changed",
        _ => "push",
    }
}

/// A good payload of each, for the fuzz to spoil.
fn sample(provider: Provider) -> Value {
    match provider {
        Provider::AzureDevOps => azure(),
        Provider::Gogs => gogs(),
        Provider::GitHub => github("refs/heads/main"),
        Provider::GitLab => gitlab("push", "refs/heads/main"),
        Provider::BitbucketCloud => bitbucket_cloud(),
        Provider::BitbucketServer => bitbucket_server(),
        Provider::Harbor => harbor("PUSH_ARTIFACT"),
        Provider::Ghcr => ghcr("published", "CONTAINER", "1.0.0"),
        Provider::DockerHub => docker_hub(&json!({"repo_name": "octo/app"})),
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop_oneof![Just("refs/"), Just("refs/heads/"), Just("https://"), Just("git@x:"), Just("x:1:"), Just("[::")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{0,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// Every place in a payload, as JSON pointers (RFC 6901).
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// S-19: whatever comes, there is an answer, and what is taken names where it is.
    #[test]
    fn no_payload_does_harm(
        provider in prop::sample::select(PROVIDERS.to_vec()),
        spoilt in prop::collection::vec((any::<prop::sample::Index>(), anything()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut body = sample(provider);
        for (at, value) in spoilt {
            let mut found = Vec::new();
            pointers(&body, "", &mut found);
            let pointer: &String = at.get(&found);
            if let Some(place) = body.pointer_mut(pointer) {
                *place = value;
            }
        }
        let mut bytes = body.to_string().into_bytes();
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        for event in [event_of(provider), "Push Hook", "ping"] {
            match read(provider, event, &bytes) {
                Ok(told) => for push in told.pushes {
                    match push {
                        Push::Git { places, .. } => prop_assert!(!places.is_empty()),
                        Push::Oci { repository, tag } => prop_assert!(!repository.is_empty() && !tag.is_empty()),
                    }
                },
                Err(problem) => prop_assert!(!problem.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn no_url_does_harm(page in "\\PC{0,12}", clone in "(https?://|ssh://|)([a-z@:0-9./\\[\\]%]|\\PC){0,16}") {
        if let Some(place) = Place::of(&page) {
            prop_assert!(place.holds(&page), "{place:?}");
        }
        if let Some(place) = Place::of(&clone) {
            prop_assert!(place.holds(&clone), "{place:?}");
        }
        crate::repo_url::oci(&clone);
    }
}
