//! What live state would be after an apply from the client: three-way merge of last applied, target and live, defaults
//! filled in on both sides (gitops-engine, `ThreeWayDiff`). Pure.
use serde_json::Value;

use super::{defaults, normalize};
use crate::merge::{self, json, strategic};
use crate::schema::{At, Schemas};
use crate::typed;

/// Live state and its prediction.
pub(super) struct Sides {
    pub(super) live: Value,
    pub(super) predicted: Value,
}

pub(super) fn predict(applied: &Value, target: &Value, live: &Value, schemas: &Schemas) -> Result<Sides, String> {
    let (applied, target) = (normalize::without_namespace(applied), normalize::without_namespace(target));
    let (original, wanted, current) = (merge::object(&applied)?, merge::object(&target)?, merge::object(live)?);
    let Some(at) = schemas.known(&applied) else {
        let known = json::only_known(original, current);
        let patch = json::three_way(original, wanted, &known);
        return Ok(Sides { live: live.clone(), predicted: json::apply(current.clone(), &patch).into() });
    };
    let patch = match without_claim_defaults(&applied, live) {
        Some(known) => strategic::three_way(original, wanted, merge::object(&known)?, at)?,
        None => strategic::three_way(original, wanted, current, at)?,
    };
    let predicted = strategic::apply(current.clone(), patch, at)?;
    Ok(Sides { live: with_defaults(live.clone(), at)?, predicted: with_defaults(predicted.into(), at)? })
}

/// The claim templates of a StatefulSet are filled in by the API server in ways that no client can know: of the live
/// ones, only what was applied counts.
fn without_claim_defaults(applied: &Value, live: &Value) -> Option<Value> {
    const TEMPLATES: &str = "/spec/volumeClaimTemplates";
    let group = applied["apiVersion"].as_str()?.split_once('/')?.0;
    if applied["kind"] != "StatefulSet" || !matches!(group, "apps" | "extensions") {
        return None;
    }
    let known = json::only_known_items(applied.pointer(TEMPLATES)?.as_array()?, live.pointer(TEMPLATES)?.as_array()?);
    let mut live = live.clone();
    *live.pointer_mut(TEMPLATES)? = known.into();
    Some(live)
}

/// Fills in the defaults by way of a patch between the typed object and itself with defaults, so that fields that the
/// type does not know stay. An object that its type cannot hold gets none.
fn with_defaults(object: Value, at: At<'_>) -> Result<Value, String> {
    let Some(before) = typed::whole(&object, at) else { return Ok(object) };
    let mut after = before.clone();
    defaults::fill(&mut after, at);
    let patch = strategic::two_way(merge::object(&before)?, merge::object(&after)?, at)?;
    Ok(strategic::apply(merge::object(&object)?.clone(), patch, at)?.into())
}
