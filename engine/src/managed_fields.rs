//! `metadata.managedFields` handed from client-side managers to server-side apply, so that what leaves git is removed
//! from the cluster, too (Kubernetes, "Server-Side Apply", upgrading from client-side apply; Argo CD, sync option
//! `ClientSideApplyMigration`). Pure.
use serde_json::{Map, Value, json};

/// The managers that `kubectl apply` leaves.
const KUBECTL: [&str; 2] = ["kubectl-client-side-apply", "before-first-apply"];
/// Whoever owns this has applied from a client, whatever its name (Argo CD and we among them).
const LAST_APPLIED_FIELD: &str = "f:kubectl.kubernetes.io/last-applied-configuration";
/// Names another one, on an object or its Application.
pub const MIGRATION_MANAGER: &str = "argocd.argoproj.io/client-side-apply-migration-manager";

/// The managedFields in which `to` owns by `Apply` what kubectl, or the manager `also`, owned by `Update`; `None` when
/// they own nothing.
pub fn handed_over(live: &Value, to: &str, also: Option<&str>) -> Option<Vec<Value>> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let whole = |entry: &Value| entry["subresource"].as_str().unwrap_or_default().is_empty();
    let theirs = |entry: &&Value| {
        let manager = entry["manager"].as_str().unwrap_or_default();
        let applied = entry["fieldsV1"]["f:metadata"]["f:annotations"].get(LAST_APPLIED_FIELD).is_some();
        entry["operation"] == "Update"
            && whole(entry)
            && (KUBECTL.contains(&manager) || Some(manager) == also || applied)
    };
    let ours = |entry: &&Value| entry["operation"] == "Apply" && entry["manager"] == to && whole(entry);
    let first = entries.iter().find(theirs)?;
    let mut fields = Map::new();
    for entry in entries.iter().filter(|entry| theirs(entry) || ours(entry)) {
        unite(&mut fields, entry["fieldsV1"].as_object());
    }
    let mut kept: Vec<Value> = entries.iter().filter(|entry| !theirs(entry) && !ours(entry)).cloned().collect();
    let mut entry = json!({"manager": to, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields});
    // Of entries in several versions the one of server-side apply counts: it is the one that is applied next.
    let model = entries.iter().find(ours).unwrap_or(first);
    for field in ["apiVersion", "time"] {
        if let Some(value) = model.get(field) {
            entry[field] = value.clone();
        }
    }
    kept.insert(0, entry);
    Some(kept)
}

fn unite(into: &mut Map<String, Value>, more: Option<&Map<String, Value>>) {
    for (field, below) in more.into_iter().flatten() {
        let known = into.entry(field.clone()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(known) = known {
            unite(known, below.as_object());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsV1": fields})
    }

    #[test]
    fn what_kubectl_owned_is_ours_by_apply() {
        let mut status = entry("kubectl-client-side-apply", "Update", json!({"f:status": {}}));
        status["subresource"] = json!("status");
        let live = json!({"metadata": {"managedFields": [
            entry("kubectl-client-side-apply", "Update", json!({"f:data": {".": {}, "f:a": {}}})),
            entry("argocd-controller", "Apply", json!({"f:data": {"f:b": {}}})),
            entry("other", "Update", json!({"f:data": {"f:c": {}}})),
            status,
        ]}});
        let found = handed_over(&live, "argocd-controller", None).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0]["fieldsV1"], json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}}));
        assert_eq!((&found[0]["manager"], &found[0]["operation"]), (&json!("argocd-controller"), &json!("Apply")));
        assert_eq!(found[1]["manager"], "other");
        assert_eq!(found[2]["subresource"], "status");
        let again = json!({"metadata": {"managedFields": found}});
        assert_eq!(handed_over(&again, "argocd-controller", None), None, "once is enough");
        assert!(handed_over(&again, "argocd-controller", Some("other")).is_some(), "a named manager hands over, too");
        assert_eq!(handed_over(&json!({}), "argocd-controller", None), None);
        let annotations = json!({"f:metadata": {"f:annotations": {LAST_APPLIED_FIELD: {}}}, "f:data": {"f:x": {}}});
        let live = json!({"metadata": {"managedFields": [entry("argocd-controller", "Update", annotations)]}});
        let found = handed_over(&live, "argocd-controller", None).unwrap();
        assert_eq!((found.len(), &found[0]["fieldsV1"]["f:data"]), (1, &json!({"f:x": {}})));
    }
}
