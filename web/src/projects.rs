//! What a request needs to know of an AppProject, read from the bus when it is asked for.
use std::collections::BTreeMap;

use serde::Deserialize;
use tako_bus::{Bucket, Bus, BusError};
use tako_engine::app::AppKey;
use tako_engine::project::{self, AppProject};
use tako_engine::windows::SyncWindow;

/// The part of the settings' record that is read here.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Settings {
    data: BTreeMap<String, String>,
}

/// The sync windows of a project and of the global projects that it inherits from; none without a project.
pub(crate) async fn sync_windows(bus: &Bus, namespace: &str, name: &str) -> Result<Vec<SyncWindow>, BusError> {
    let name = if name.is_empty() { project::DEFAULT } else { name };
    let key = AppKey { namespace: namespace.to_owned(), name: name.to_owned() };
    let projects = bus.kv(Bucket::Projects);
    let Some(own) = projects.get::<AppProject>(&key.token()).await? else { return Ok(Vec::new()) };
    let settings = bus.kv(Bucket::Settings).get::<Settings>("argocd-cm").await?.unwrap_or_default();
    let globals = settings.data.get("globalProjects").map(|text| project::global_projects(text).unwrap_or_default());
    let globals = globals.unwrap_or_default();
    if globals.is_empty() {
        return Ok(own.spec.sync_windows);
    }
    let all: Vec<AppProject> = projects.entries().await?.into_iter().map(|(_, project)| project).collect();
    Ok(project::inherit(&own, (&globals, &all), &[], &[]).spec.sync_windows)
}
