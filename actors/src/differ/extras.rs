//! Live objects that git no longer has.
use std::collections::{BTreeSet, HashSet};

use serde_json::Value;
use tako_bus::{Bucket, Bus, BusError};
use tako_engine::app::{Application, ResourceStatus};
use tako_engine::resource::{Manifest, ResourceKey};
use tako_engine::tree::{ResourceNode, ResourceTree};

use super::PARALLEL;
use crate::adapters::cluster::{Cluster, ClusterError};
use crate::settings::Compiled;
use crate::{gather, targets};

/// The live objects that carry the Application's mark but are not among `manifests`, read afresh from the cluster.
///
/// The observer's tree and the last comparison only propose; an object counts when the API server shows it with our mark
/// and without an owner. So absence of data is never a deletion, and nothing of somebody else is taken.
/// Those on their way out are among them.
pub(crate) async fn tracked_extras(
    bus: &Bus,
    cluster: &Cluster,
    app: &Application,
    manifests: &[Manifest],
    (control_namespace, settings): (&str, &Compiled),
) -> Result<Vec<(ResourceKey, Value)>, ExtrasError> {
    let tree = bus.kv(Bucket::Trees).get::<ResourceTree>(&app.key().token()).await?.unwrap_or_default();
    Ok(tracked_extras_in(&tree, cluster, app, manifests, (control_namespace, settings)).await?)
}

/// The same where the tree was read already.
pub(super) async fn tracked_extras_in(
    tree: &ResourceTree,
    cluster: &Cluster,
    app: &Application,
    manifests: &[Manifest],
    (control_namespace, settings): (&str, &Compiled),
) -> Result<Vec<(ResourceKey, Value)>, ClusterError> {
    let instance = targets::instance_name(&app.key(), control_namespace);
    let wanted: HashSet<ResourceKey> = manifests.iter().map(Manifest::key).collect();
    let roots = tree.nodes.iter().filter(|node| node.parent_refs.is_empty()).map(ResourceNode::key);
    let recorded = app.status.iter().flat_map(|status| &status.resources).map(ResourceStatus::key);
    // What the settings exclude is nobody's to prune, whatever was recorded before they did.
    let excluded = |key: &ResourceKey| settings.scope.excludes(&key.group, &key.kind, cluster.url());
    let candidates: BTreeSet<ResourceKey> =
        roots.chain(recorded).filter(|key| !wanted.contains(key) && !excluded(key)).collect();
    let reads: Vec<_> = candidates.iter().map(|key| cluster.get_key(key)).collect();
    let reads = gather(reads, PARALLEL).await;
    let mut extras = Vec::new();
    for (key, read) in candidates.into_iter().zip(reads) {
        let live = match read {
            Ok(live) => live,
            // A kind that is gone took its objects along; one that is out of reach did not.
            Err(ClusterError::UnknownKind { .. }) if !cluster.aggregated(&key.group).await? => None,
            Err(error) => return Err(error),
        };
        let Some(live) = live else { continue };
        let ours = settings.tracking.owner_of(&live).is_some_and(|owner| owner == instance);
        let owned = live["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty());
        if ours && !owned {
            extras.push((key, live));
        }
    }
    Ok(extras)
}

/// Why extras could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExtrasError {
    /// The tree.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The objects.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}
