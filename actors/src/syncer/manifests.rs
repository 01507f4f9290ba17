//! The manifests of an operation: those that a user brought, the target state if that is what is asked for, or what its
//! source renders to at its revision.
use serde_json::Value;
use tako_bus::{Bucket, TargetRecord};
use tako_engine::app::{Application, Operation, Source};
use tako_engine::integrity::Demand;
use tako_engine::parse::parse_manifests;
use tako_engine::source::{joined, split};
use tako_sources::render::render;
use tako_sources::request::RenderError;
use tako_sources::store::{self, Surroundings};

use super::{Syncer, SyncerError, record};
use crate::sources::{Demands, Sources};
use crate::targets;

const NO_SOURCE: &str = "spec.source: missing; set repoURL and path";

/// The revisions (joined, of several sources) and the manifests there, or what stands in the way.
pub(super) type Found = Result<(String, Vec<Value>), String>;

impl Syncer {
    /// The manifests at the operation's revision.
    pub(super) async fn manifests(&self, app: &Application, operation: &Operation) -> Result<Found, SyncerError> {
        let target = self.bus.kv(Bucket::Targets).get::<TargetRecord>(&app.key().token()).await?.unwrap_or_default();
        let sync = operation.sync.clone().unwrap_or_default();
        // What has begun goes on with the commit that it began with.
        let pinned = record::pinned(app);
        let asked = if sync.revisions.is_empty() {
            sync.revision.clone().unwrap_or_default()
        } else {
            joined(sync.revisions.iter().map(String::as_str))
        };
        let wanted = if pinned.is_empty() { asked } else { pinned };
        if !sync.manifests.is_empty() {
            let signed = |demands: Demands| demands.iter().any(Option::is_some);
            // What is not known yet counts as demanded.
            let unsigned =
                self.sources.demands(app, app.sources()).is_ok_and(|all| all.is_some_and(|all| !signed(all)));
            if !unsigned {
                return Ok(Err("Cannot use local sync when signature keys are required.".to_owned()));
            }
            let revision = if wanted.is_empty() { target.revision } else { wanted };
            return Ok(brought(&sync.manifests).map(|raw| (revision, raw)));
        }
        let sources = record::sources_of(app, operation);
        if sources.is_empty() {
            return Ok(Err(NO_SOURCE.to_owned()));
        }
        let named = joined(sources.iter().map(|source| source.target_revision.as_deref().unwrap_or_default()));
        let own = sources == app.sources() && targets::is_of(&target, app.sources());
        let names_target = own && (wanted.is_empty() || wanted == target.revision || named == wanted);
        // Who asks now means what is in the repository now; automated sync names the commit that it was decided for.
        let automated = operation.initiated_by.as_ref().is_some_and(|by| by.automated);
        if !automated && (wanted.is_empty() || wanted == named) {
            return Ok(self.render(app, sources, named).await);
        }
        if names_target {
            // An operation that has begun is not concerned by what came to be wrong later.
            if let Some(error) = target.error.clone().filter(|_| record::pinned(app).is_empty()) {
                return Ok(Err(format!("ComparisonError: {error}")));
            }
            if let Some(opened) = self.load_target(app, &target).await? {
                return Ok(opened.map(|opened| (target.revision, opened.manifests)));
            }
        }
        let revision = match wanted {
            _ if names_target && !target.revision.is_empty() => target.revision,
            wanted if wanted.is_empty() => named,
            wanted => wanted,
        };
        Ok(self.render(app, sources, revision).await)
    }

    async fn render(&self, app: &Application, list: Vec<Source>, wanted: String) -> Found {
        let around = self.sources.surroundings(app).await?;
        let demands = match self.sources.demands(app, &list) {
            Ok(Some(demands)) => demands,
            Ok(None) => return Err("the projects are not read yet; try again".to_owned()),
            Err(problem) => return Err(problem),
        };
        let _turn = self.sources.turn().await;
        let sources = self.sources.clone();
        let rendered =
            tokio::task::spawn_blocking(move || rendered(&sources, (&list, &demands), &around, &wanted)).await;
        match rendered {
            Ok(Ok((revision, raw))) => {
                let opened = targets::open(raw, self.sources.secrets.keys_of(app)?.as_deref())?;
                Ok((revision, opened.manifests))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the render ended unexpectedly; see the log of tako".to_owned()),
        }
    }
}

/// The manifests of all sources at the revisions that are wanted (joined; a source beyond them is at its own). Blocks.
fn rendered(
    sources: &Sources,
    (list, demands): (&[Source], &[Option<Demand>]),
    around: &Surroundings,
    wanted: &str,
) -> Result<(String, Vec<Value>), RenderError> {
    let wanted = split(wanted);
    let found = list
        .iter()
        .enumerate()
        .map(|(index, source)| {
            let own = source.target_revision.as_deref().unwrap_or_default();
            sources.store.resolve(source, around, wanted.get(index).map_or(own, String::as_str))
        })
        .collect::<Result<Vec<store::Found>, _>>()?;
    sources.verify(list, &found, around, demands)?;
    let revisions: Vec<String> = found.into_iter().map(|found| found.revision).collect();
    let mut all = Vec::new();
    for request in sources.requests(list, &revisions, around)?.into_iter().flatten() {
        all.extend(render(&request)?.manifests);
    }
    Ok((joined(revisions.iter().map(String::as_str)), all))
}

/// The manifests that came with the operation (`argocd app sync --local`).
fn brought(manifests: &[String]) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    for (index, text) in manifests.iter().enumerate() {
        let file = format!("operation.sync.manifests[{index}]");
        all.extend(parse_manifests(&file, text).map_err(|problem| problem.to_string())?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_that_were_brought_are_read_and_refused_by_place() {
        let good = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#.to_owned();
        assert_eq!(brought(&[good.clone(), good.clone()]).unwrap().len(), 2);
        let refused = brought(&[good, "kind: [".to_owned()]).unwrap_err();
        assert!(refused.starts_with("operation.sync.manifests[1]:"), "{refused}");
    }
}
