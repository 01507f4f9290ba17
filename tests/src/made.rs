//! Objects that come and go too soon to be counted by a look: a watch keeps the uid of each that was ever there.
use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tako_devcluster::Tools;

use crate::World;

/// Every object of a kind ever made in the namespaces watched.
pub struct Made {
    watch: Child,
    file: PathBuf,
}

impl Made {
    /// Watches from now on; `namespace` may be empty for all.
    pub fn watch(world: &World, kind: &str, namespace: &str) -> anyhow::Result<Self> {
        let file = world.path(&format!("made-{kind}-{namespace}"));
        let format = r#"jsonpath={.object.metadata.namespace}{" "}{.object.metadata.uid}{"\n"}"#;
        let place = if namespace.is_empty() { vec!["--all-namespaces"] } else { vec!["-n", namespace] };
        let watch = Command::new(Tools::locate()?.program("kubectl")?)
            .arg("--kubeconfig")
            .arg(world.cluster.kubeconfig())
            .args(["get", kind, "--watch", "--output-watch-events", "-o", format])
            .args(place)
            .stdout(File::create(&file)?)
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { watch, file })
    }

    /// `namespace uid` of each.
    pub fn all(&self) -> anyhow::Result<BTreeSet<String>> {
        Ok(std::fs::read_to_string(&self.file)?.lines().map(str::to_owned).collect())
    }

    /// How many were made in a namespace.
    pub fn count(&self, namespace: &str) -> anyhow::Result<usize> {
        Ok(self.all()?.iter().filter(|line| line.split(' ').next() == Some(namespace)).count())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = self.watch.kill();
        let _ = self.watch.wait();
    }
}
