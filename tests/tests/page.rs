//! The live page in a real Chromium: web/ui/test/page.mjs drives the browser, this side changes the world under it.
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use tako_devcluster::sample;
use tako_tests::{NAMESPACE, World, config_map};

const REPO: &str = "sample.git";

fn act(world: &mut World, step: &str) -> anyhow::Result<()> {
    let deployment = |replicas: u8| sample::DEPLOYMENT.replace("replicas: 3", &format!("replicas: {replicas}"));
    match step {
        "second-application" => {
            world.push(REPO, &[("second/config.yaml", Some(&config_map("second", "1")))])?;
            world.apply(&world.application("second", REPO, "second", "second"))
        }
        "bad-yaml" => world
            .push(
                REPO,
                &[("second/config.yaml", Some("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n bad: [\n"))],
            )
            .map(drop),
        "four-replicas" => world.push(REPO, &[("guestbook/deployment.yaml", Some(&deployment(4)))]).map(drop),
        "drift" => world.cluster.kubectl(&["delete", "configmap", "guestbook", "-n", "guestbook"]).map(drop),
        "restart" => {
            world.tako.take().context("tako is not running")?.kill();
            world.start_tako()
        }
        "after-restart" => world.push(REPO, &[("guestbook/late.yaml", Some(&config_map("late", "1")))]).map(drop),
        "delete" => world.cluster.kubectl(&["delete", "application", "guestbook", "-n", NAMESPACE]).map(drop),
        "end" => Ok(()),
        other => anyhow::bail!("the script asks for {other}, which nobody knows"),
    }
}

#[test]
fn the_page_is_live() -> anyhow::Result<()> {
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    ensure!(Path::new(&chromium).exists(), "{chromium} is missing; run deploy/tools/install-debian.sh or set CHROMIUM");
    let mut world = World::start()?;
    sample::create_sample(&world.path("git").join(REPO))?;
    world.apply(&world.application("guestbook", REPO, "guestbook", "guestbook"))?;
    world.synced("guestbook", "")?;
    let secret = world.cluster.kubectl(&[
        "get",
        "secret",
        "argocd-initial-admin-secret",
        "-n",
        NAMESPACE,
        "-o",
        "go-template={{.data.password | base64decode}}",
    ])?;
    let shots = std::env::var("TAKO_SHOTS").map_or_else(|_| world.path("shots"), Into::into);
    std::fs::create_dir_all(&shots)?;
    let mut browser = Command::new("node")
        .arg("test/page.mjs")
        .args([world.url("/"), secret])
        .arg(&shots)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/ui"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("node is missing; install Node 20 or later")?;
    let mut last = String::new();
    for line in BufReader::new(browser.stdout.take().context("no output")?).lines() {
        let line = line?;
        if let Some(step) = line.strip_prefix("at ") {
            last = step.to_owned();
            act(&mut world, step).with_context(|| format!("at {step}"))?;
        }
    }
    ensure!(browser.wait()?.success() && last == "end", "the browser stopped at {last}");
    Ok(())
}
