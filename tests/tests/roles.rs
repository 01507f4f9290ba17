//! One control plane in three processes with nothing in common but a NATS, which is then killed with all it holds.
use tako_devcluster::process;
use tako_tests::{World, config_map, start_nats};

const REPO: &str = "roles.git";

#[test]
fn roles_meet_on_the_bus_and_a_wiped_bus_is_rebuilt() -> anyhow::Result<()> {
    let world = World::without_tako()?;
    let (nats, port) = (world.path("nats"), process::free_port()?);
    start_nats(&nats, port)?;
    let url = format!("nats://127.0.0.1:{port}");
    let roles = |name: &str, roles: &str| world.spawn_tako(name, &["--nats-url", &url, "--roles", roles]);
    let _sources = roles("one", "registry,watcher")?;
    let _renderer = roles("two", "renderer,authz")?;
    let _cluster = roles("three", "observer,differ")?;
    let syncer = roles("four", "syncer")?;
    let _web = roles("five", "web")?;
    world.until("the web is ready", World::ready)?;
    world.repository(REPO, &[("app/a.yaml", &config_map("a", "1"))])?;
    world.apply(&world.application("roles", REPO, "app", "roles"))?;
    world.synced("roles", "")?;
    let commit = world.push(REPO, &[("app/a.yaml", Some(&config_map("a", "2")))])?;
    world.synced("roles", &commit)?;

    // A second syncer may come and the first may go: nothing waits for the one that went.
    let _second = roles("six", "syncer")?;
    syncer.kill();
    let commit = world.push(REPO, &[("app/a.yaml", Some(&config_map("a", "3")))])?;
    world.synced("roles", &commit)?;

    // All that the bus held is gone: everything comes back from git and the cluster.
    process::kill(&nats, "nats-server")?;
    std::fs::remove_dir_all(nats.join("store"))?;
    start_nats(&nats, port)?;
    world.until("the web knows the Applications again", |world| {
        let token = world.token()?;
        let list: serde_json::Value =
            world.http().get(world.url("/api/v1/applications")).bearer_auth(token).send()?.json()?;
        Ok(list["items"][0]["metadata"]["name"] == "roles")
    })?;
    world.until("the tree is there again", |world| {
        let token = world.token()?;
        let tree: serde_json::Value = world
            .http()
            .get(world.url("/api/v1/applications/roles/resource-tree"))
            .bearer_auth(token)
            .send()?
            .json()?;
        Ok(tree["nodes"][0]["name"] == "a")
    })?;
    let commit = world.push(REPO, &[("app/a.yaml", Some(&config_map("a", "4")))])?;
    world.synced("roles", &commit)?;
    assert_eq!(world.config("roles", "a", "value"), "4");
    Ok(())
}
