//! Webhooks of every provider on the real parts: who signs is heard, who does not is not, and nobody is woken for what
//! nobody follows.
use anyhow::ensure;
use hmac::{KeyInit as _, Mac as _};
use reqwest::blocking::RequestBuilder;
use serde_json::{Value, json};
use tako_devcluster::sample;
use tako_tests::{NAMESPACE, World, config_map};

const REPO: &str = "hooked.git";
const SECRET: &str = "open-sesame";
const GIT: [&str; 6] = ["github", "gogs", "gitlab", "bitbucket", "bitbucketserver", "azuredevops"];
const REGISTRIES: [&str; 3] = ["ghcr", "harbor", "dockerhub"];

fn sign(secret: &str, body: &str) -> anyhow::Result<String> {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(body.as_bytes());
    Ok(hex::encode(mac.finalize().into_bytes()))
}

/// What a provider sends for a push to a branch of the repository, or of `1.4.0` to its registry.
fn payload(world: &World, provider: &str, branch: &str) -> Value {
    let (clone, page) = (world.git.url(REPO), world.git.url(REPO.trim_end_matches(".git")));
    let reference = format!("refs/heads/{branch}");
    match provider {
        "github" | "gogs" => {
            json!({"ref": reference, "repository": {"html_url": page, "clone_url": clone, "default_branch": "main"}})
        }
        "gitlab" => {
            json!({"object_kind": "push", "ref": reference, "project": {"web_url": page, "git_http_url": clone, "default_branch": "main"}})
        }
        "bitbucket" => {
            let state = json!({"type": "branch", "name": branch});
            json!({"repository": {"links": {"html": {"href": page}}}, "push": {"changes": [{"new": state, "old": null}]}})
        }
        "bitbucketserver" => {
            json!({"repository": {"links": {"clone": [{"name": "http", "href": clone}]}}, "changes": [{"ref": {"id": reference}}]})
        }
        "azuredevops" => {
            let repository = json!({"remoteUrl": page, "defaultBranch": "refs/heads/main"});
            json!({"eventType": "git.push", "resource": {"refUpdates": [{"name": reference}], "repository": repository}})
        }
        "ghcr" => {
            let version = json!({"container_metadata": {"tag": {"name": "1.4.0"}}});
            json!({"action": "published", "package": {"name": "app", "package_type": "CONTAINER", "owner": {"login": "octo"}, "package_version": version}})
        }
        "harbor" => {
            let resource = json!({"tag": "1.4.0", "resource_url": "hub.example.org/infra/app:1.4.0"});
            json!({"type": "PUSH_ARTIFACT", "event_data": {"resources": [resource], "repository": {"repo_full_name": "infra/app"}}})
        }
        _ => json!({"repository": {"repo_name": "octo/app"}, "push_data": {"tag": "1.4.0"}}),
    }
}

/// The same on its way, shown to be the provider's by a secret.
fn delivery(world: &World, provider: &str, secret: &str, body: &str) -> anyhow::Result<RequestBuilder> {
    let post = world.http().post(world.url("/api/webhook")).body(body.to_owned());
    let prefixed = || sign(secret, body).map(|signature| format!("sha256={signature}"));
    Ok(match provider {
        "github" => post.header("X-GitHub-Event", "push").header("X-Hub-Signature-256", prefixed()?),
        "ghcr" => post.header("X-GitHub-Event", "package").header("X-Hub-Signature-256", prefixed()?),
        "gogs" => {
            let post = post.header("X-GitHub-Event", "push").header("X-Gogs-Event", "push");
            post.header("X-Gogs-Signature", sign(secret, body)?)
        }
        "gitlab" => post.header("X-Gitlab-Event", "Push Hook").header("X-Gitlab-Token", secret),
        "bitbucket" => post.header("X-Event-Key", "repo:push").header("X-Hook-UUID", secret),
        "bitbucketserver" => post.header("X-Event-Key", "repo:refs_changed").header("X-Hub-Signature", prefixed()?),
        "azuredevops" => post.header("X-Vss-Activityid", "a").basic_auth("ann", Some(secret)),
        "harbor" => post.header("Authorization", secret),
        _ => {
            let url = world.url(&format!("/api/webhook?type=dockerhub&secret={secret}"));
            world.http().post(url).body(body.to_owned())
        }
    })
}

/// Status and body of the answer.
fn send(request: RequestBuilder) -> anyhow::Result<(u16, Value)> {
    let answer = request.send()?;
    let status = answer.status().as_u16();
    Ok((status, answer.json().unwrap_or_default()))
}

fn push(world: &World, provider: &str, branch: &str) -> anyhow::Result<(u16, Value)> {
    send(delivery(world, provider, SECRET, &payload(world, provider, branch).to_string())?)
}

fn commit(world: &World, value: &str) -> anyhow::Result<String> {
    sample::commit(&world.path("git").join(REPO), &[("app/a.yaml", Some(&config_map("a", value)))], value)
}

fn settings(world: &World, data: Value) -> anyhow::Result<()> {
    world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": NAMESPACE}, "data": data}))
}

#[test]
fn webhooks_of_all_providers() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(REPO, &[("app/a.yaml", &config_map("a", "1"))])?;
    // Nothing but a webhook is to find a push.
    settings(&world, json!({"timeout.reconciliation": "0s"}))?;
    world.apply(&world.application("hooked", REPO, "app", "hooked"))?;
    world.synced("hooked", "")?;
    ensure!(send(world.http().post(world.url("/api/webhook")).body("{}"))?.0 == 400, "an unknown sender");
    ensure!(world.http().get(world.url("/api/webhook")).send()?.status() == 405);
    let harbor = payload(&world, "harbor", "").to_string();
    ensure!(send(delivery(&world, "harbor", SECRET, &harbor)?)?.0 == 400, "no secret is set: it could be anybody");
    secrets_are_set(&world)?;
    for provider in GIT {
        only_the_right_secret_is_heard(&world, provider)?;
    }
    a_tag_of_a_registry_wakes_who_follows_it(&world)?;
    a_delivery_counts_once(&world)?;
    what_is_no_push_is_answered(&world)?;
    large_payloads_have_a_limit(&world)
}

fn secrets_are_set(world: &World) -> anyhow::Result<()> {
    let mut data = json!({"webhook.azuredevops.username": "ann", "webhook.azuredevops.password": SECRET, "webhook.bitbucket.uuid": SECRET});
    for provider in ["github", "gogs", "gitlab", "bitbucketserver", "harbor", "dockerhub"] {
        data[format!("webhook.{provider}.secret")] = json!(SECRET);
    }
    let patch = json!({"stringData": data}).to_string();
    world.cluster.kubectl(&["patch", "secret", "argocd-secret", "-n", NAMESPACE, "-p", &patch])?;
    let body = payload(world, "github", "nobody's").to_string();
    world.until("the secrets count", |world| Ok(send(delivery(world, "github", "", &body)?)?.0 == 400))
}

fn only_the_right_secret_is_heard(world: &World, provider: &str) -> anyhow::Result<()> {
    let commit = commit(world, provider)?;
    let body = payload(world, provider, "main").to_string();
    let (status, answer) = send(delivery(world, provider, "close-sesame", &body)?)?;
    ensure!(status == 400 && !answer.to_string().contains(SECRET), "{provider}: {status} {answer}");
    let nobody = push(world, provider, "nobody's")?;
    ensure!(nobody == (200, json!({"repositories": 0})), "{provider}: {nobody:?}");
    std::thread::sleep(std::time::Duration::from_millis(500));
    ensure!(world.live_value("hooked", "a")? != provider, "{provider}: nobody was to look");
    let heard = push(world, provider, "main")?;
    ensure!(heard == (200, json!({"repositories": 1})), "{provider}: {heard:?}");
    world.synced("hooked", &commit)?;
    ensure!(world.live_value("hooked", "a")? == provider);
    Ok(())
}

fn a_tag_of_a_registry_wakes_who_follows_it(world: &World) -> anyhow::Result<()> {
    for (name, url, chart) in [
        ("ghcr", "oci://ghcr.io/Octo/app", None),
        ("harbor", "hub.example.org/infra", Some("app")),
        ("dockerhub", "oci://docker.io/octo/app", None),
    ] {
        let mut app = world.application(name, REPO, ".", "hooked");
        app["spec"]["source"] = json!({"repoURL": url, "targetRevision": "^1.2.0", "path": ".", "chart": chart});
        app["spec"]["syncPolicy"] = Value::Null;
        world.apply(&app)?;
    }
    for provider in REGISTRIES {
        let body = payload(world, provider, "").to_string();
        world.until(&format!("{provider}'s Application is known"), |world| {
            Ok(send(delivery(world, provider, SECRET, &body)?)? == (200, json!({"repositories": 1})))
        })?;
        let refused = if provider == "harbor" { 400 } else { 401 };
        let (status, answer) = send(delivery(world, provider, "close-sesame", &body)?)?;
        ensure!(status == refused, "{provider}: {status} {answer}");
        let other = body.replace("1.4.0", "2.0.0");
        let nobody = send(delivery(world, provider, SECRET, &other)?)?;
        ensure!(nobody == (200, json!({"repositories": 0})), "{provider}: {nobody:?}");
    }
    Ok(())
}

fn a_delivery_counts_once(world: &World) -> anyhow::Result<()> {
    let body = payload(world, "github", "main").to_string();
    let again = |id: &str, body: &str| send(delivery(world, "github", SECRET, body)?.header("X-GitHub-Delivery", id));
    ensure!(again("one", &body)? == (200, json!({"repositories": 1})));
    ensure!(again("one", &body)? == (200, json!({"duplicate": true})));
    ensure!(again("two", &body)? == (200, json!({"repositories": 1})));
    ensure!(
        again("one", &format!(" {body}"))? == (200, json!({"repositories": 1})),
        "another body is another delivery"
    );
    let mut azure = payload(world, "azuredevops", "main");
    azure["id"] = json!("three");
    let sent = || send(delivery(world, "azuredevops", SECRET, &azure.to_string())?);
    ensure!(sent()? == (200, json!({"repositories": 1})));
    ensure!(sent()? == (200, json!({"duplicate": true})), "its id is in the body");
    Ok(())
}

fn what_is_no_push_is_answered(world: &World) -> anyhow::Result<()> {
    let post = || world.http().post(world.url("/api/webhook"));
    let signature = format!("sha256={}", sign(SECRET, "{}")?);
    let github =
        |event: &str| post().header("X-GitHub-Event", event).header("X-Hub-Signature-256", &signature).body("{}");
    ensure!(send(github("ping"))?.0 == 200);
    ensure!(send(github("issues"))?.0 == 400);
    ensure!(send(github("push"))?.0 == 400, "nothing is in it");
    ensure!(send(post().header("X-Event-Key", "diagnostics:ping"))?.0 == 200, "this one is never signed");
    let deep = format!("{{\"ref\":{}", "[".repeat(1_000_000));
    ensure!(send(delivery(world, "github", SECRET, &deep)?)?.0 == 400);
    Ok(())
}

fn large_payloads_have_a_limit(world: &World) -> anyhow::Result<()> {
    let mut large = payload(world, "github", "main");
    large["commits"] = json!("x".repeat(3 * 1024 * 1024));
    let large = large.to_string();
    ensure!(
        send(delivery(world, "github", SECRET, &large)?)? == (200, json!({"repositories": 1})),
        "it goes in pieces"
    );
    ensure!(send(delivery(world, "github", "close-sesame", &large)?)?.0 == 400);
    settings(world, json!({"timeout.reconciliation": "0s", "webhook.maxPayloadSizeMB": "2"}))?;
    // Who is refused before all is sent may see the connection closed instead of the answer.
    world.until("the limit counts", |world| {
        Ok(match delivery(world, "github", SECRET, &large)?.send() {
            Ok(answer) => answer.status() == 413,
            Err(_) => true,
        })
    })?;
    ensure!(push(world, "github", "main")?.0 == 200);
    Ok(())
}
