//! The dev cluster itself: workloads become ready, the API server comes back on its port, nothing is left behind.
use std::time::Duration;

use tako_devcluster::process::wait_for;
use tako_devcluster::{DevCluster, Lifetime};

#[test]
fn a_cluster_runs_workloads_survives_its_api_server_and_leaves_nothing() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cluster = DevCluster::start(directory.path(), Lifetime::Attached, &mut |_| {})?;
    cluster.kubectl(&["create", "deployment", "web", "--image=none", "--replicas=3"])?;
    cluster.kubectl(&["wait", "--for=condition=Available", "deployment/web", "--timeout=60s"])?;
    cluster.stop_apiserver()?;
    assert!(cluster.kubectl(&["get", "--raw", "/readyz"]).is_err());
    let started = cluster.start_apiserver();
    if started.is_err() {
        let log = std::fs::read_to_string(directory.path().join("logs/kube-apiserver.log"))?;
        std::fs::write("/tmp/apiserver.log", &log)?;
        let ready = cluster.kubectl(&["get", "--raw", "/readyz?verbose"]);
        panic!("{started:?} {ready:?}");
    }
    wait_for("the deployment is still there", Duration::from_secs(20), || {
        cluster.kubectl(&["get", "deployment", "web"]).is_ok()
    })?;
    let root = directory.path().canonicalize()?;
    drop(cluster);
    assert!(DevCluster::status(&root).iter().all(|(_, runs)| !runs));
    Ok(())
}
