//! How one object is written: applied by the client as kubectl does it, by the API server (`ServerSideApply=true`), or
//! put as a whole (`Replace=true`). What is to be sent is known before anything is sent.
use serde_json::{Value, json};
use tako_engine::apply::{self, PatchKind, Write};
use tako_engine::managed_fields::{self, MIGRATION_MANAGER};
use tako_engine::plan::Step;
use tako_engine::resource::Manifest;

use super::steps::Terms;
use crate::adapters::cluster::{ClusterError, FIELD_MANAGER};

/// What is to be sent for one object.
pub(super) enum Sending {
    /// Nothing: it is as it should be.
    Nothing(Value),
    /// This object is made.
    Create(Manifest),
    /// The live object is patched.
    Patch(PatchKind, Value),
    /// It is applied by the API server; first, if need be, what a client applied is handed over.
    Apply(Option<Handover>),
    /// It is put as a whole.
    Replace,
}

/// The live object and its `managedFields` after the handover.
pub(super) struct Handover {
    live: Manifest,
    fields: Vec<Value>,
}

/// Works it out; no IO.
pub(super) fn sending(
    step: &Step,
    wanted: &Manifest,
    before: Option<&Value>,
    terms: &Terms<'_>,
) -> Result<Sending, ClusterError> {
    let how = step.writing;
    if how.replace {
        return Ok(Sending::Replace);
    }
    if wanted.name().is_empty() {
        // Named when it is made: there is nothing to apply to (kubectl says the same).
        let stem = wanted.0["metadata"]["generateName"].as_str().unwrap_or_default();
        let kind = wanted.kind();
        return Err(ClusterError::Unwritable(format!(
            "cannot use generateName with apply; give {kind} {stem} a name, or the sync option Replace=true"
        )));
    }
    if how.server_side {
        let also = wanted.annotation(MIGRATION_MANAGER).or(terms.migration_manager.as_deref());
        let handover = before.filter(|_| how.migrates).and_then(|live| {
            let fields = managed_fields::handed_over(live, FIELD_MANAGER, also)?;
            Some(Handover { live: Manifest(live.clone()), fields })
        });
        return Ok(Sending::Apply(handover));
    }
    Ok(match apply::client_side(&wanted.0, before, &terms.schemas).map_err(ClusterError::Unwritable)? {
        Write::Create(object) => Sending::Create(Manifest(object)),
        Write::Patch { kind, body } => Sending::Patch(kind, body),
        Write::Unchanged => Sending::Nothing(before.cloned().unwrap_or_default()),
    })
}

/// Sends it; a dry run changes nothing. Answers the object as it is then.
pub(super) async fn send(
    sending: &Sending,
    step: &Step,
    wanted: &Manifest,
    terms: &Terms<'_>,
    dry_run: bool,
) -> Result<Value, ClusterError> {
    let (cluster, lenient) = (&terms.cluster, step.writing.lenient);
    match sending {
        Sending::Nothing(live) => Ok(live.clone()),
        Sending::Create(object) => cluster.create(object, lenient, dry_run).await,
        Sending::Patch(kind, body) => cluster.patch(wanted, *kind, body, lenient, dry_run).await,
        Sending::Apply(handover) => {
            if let Some(Handover { live, fields }) = handover.as_ref().filter(|_| !dry_run) {
                cluster.merge(live, json!({"metadata": {"managedFields": fields}}), None).await?;
            }
            cluster.apply_strictly(wanted, lenient, dry_run).await
        }
        Sending::Replace => cluster.replace(wanted, dry_run).await,
    }
}
