//! Who an object's owners are: ownerReferences, and four links that Kubernetes and OLM only imply
//! (the rules of Argo CD's cluster cache). Pure.
use serde_json::Value;

use super::ResourceRef;
use crate::resource::ResourceKey;

/// How an object names an owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The very object.
    Uid(String),
    /// Whatever has this key.
    Named(ResourceKey),
    /// The StatefulSet of this namespace that has a volumeClaimTemplate of this stem (`<template>-<set>`), if there is one.
    Claim(String, String),
}

/// The owners of an object, from the object alone.
pub fn owners_of(live: &Value) -> Vec<Owner> {
    let mut owners: Vec<Owner> = references(live)
        .filter_map(|owner| owner["uid"].as_str().filter(|uid| !uid.is_empty()))
        .map(|uid| Owner::Uid(uid.to_owned()))
        .collect();
    owners.extend(implied(live).map(|parent| match parent.uid.is_empty() {
        true => Owner::Named(key_of(&parent)),
        false => Owner::Uid(parent.uid),
    }));
    owners.extend(claim(live));
    owners
}

/// The stems of the volume claims that belong to a StatefulSet.
pub fn claim_stems(live: &Value) -> Vec<String> {
    let set = live["kind"] == "StatefulSet" && matches!(group_of(live), "apps" | "extensions");
    let templates = live["spec"]["volumeClaimTemplates"].as_array().filter(|_| set);
    let stem = |template: &Value| Some(format!("{}-{}", template["metadata"]["name"].as_str()?, name_of(live)));
    templates.into_iter().flatten().filter_map(stem).collect()
}

/// The parents as a node shows them, but for those that the object alone does not tell.
pub(super) fn parents(live: &Value) -> Vec<ResourceRef> {
    let reference = |owner: &Value| {
        let text = |field: &str| owner[field].as_str().unwrap_or_default().to_owned();
        let api_version = text("apiVersion");
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        ResourceRef {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text("kind"),
            namespace: namespace_of(live).to_owned(),
            name: text("name"),
            uid: text("uid"),
        }
    };
    references(live).map(reference).chain(implied(live)).collect()
}

fn references(live: &Value) -> impl Iterator<Item = &Value> {
    live["metadata"]["ownerReferences"].as_array().into_iter().flatten()
}

fn group_of(live: &Value) -> &str {
    live["apiVersion"].as_str().and_then(|text| text.rsplit_once('/')).map_or("", |(group, _)| group)
}

fn name_of(live: &Value) -> &str {
    live["metadata"]["name"].as_str().unwrap_or_default()
}

fn namespace_of(live: &Value) -> &str {
    live["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn key_of(parent: &ResourceRef) -> ResourceKey {
    ResourceKey {
        group: parent.group.clone(),
        kind: parent.kind.clone(),
        namespace: parent.namespace.clone(),
        name: parent.name.clone(),
    }
}

fn implied(live: &Value) -> Option<ResourceRef> {
    let annotation = |name: &str| live["metadata"]["annotations"][name].as_str().filter(|text| !text.is_empty());
    let parent = |group: &str, version: &str, kind: &str, name: &str, uid: &str| ResourceRef {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace_of(live).to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
    };
    match (group_of(live), live["kind"].as_str()?) {
        ("", "Endpoints") if references(live).next().is_none() => Some(parent("", "v1", "Service", name_of(live), "")),
        ("", "Secret") if live["type"] == "kubernetes.io/service-account-token" => {
            let name = annotation("kubernetes.io/service-account.name")?;
            Some(parent("", "v1", "ServiceAccount", name, annotation("kubernetes.io/service-account.uid")?))
        }
        (group @ "operators.coreos.com", "ClusterServiceVersion") => {
            Some(parent(group, "v1", "OperatorGroup", annotation("olm.operatorGroup")?, ""))
        }
        _ => None,
    }
}

/// `<template>-<set>-<n>`: perhaps a claim of a StatefulSet.
fn claim(live: &Value) -> Option<Owner> {
    let may_be = live["kind"] == "PersistentVolumeClaim" && group_of(live).is_empty();
    let (stem, number) = name_of(live).rsplit_once('-').filter(|_| may_be)?;
    let numbered = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    numbered.then(|| Owner::Claim(namespace_of(live).to_owned(), stem.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(api_version: &str, kind: &str, name: &str, more: Value) -> Value {
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "n"}});
        for (field, value) in more.as_object().unwrap() {
            *object.pointer_mut("/metadata").unwrap().as_object_mut().unwrap().entry(field).or_insert(Value::Null) =
                value.clone();
        }
        object
    }

    fn named(group: &str, kind: &str, name: &str) -> Owner {
        let own = str::to_owned;
        Owner::Named(ResourceKey { group: own(group), kind: own(kind), namespace: own("n"), name: own(name) })
    }

    #[test]
    fn owners_are_named_or_implied() {
        let by = json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]});
        let token = json!({"annotations": {"kubernetes.io/service-account.name": "sa", "kubernetes.io/service-account.uid": "u"}});
        let group = json!({"annotations": {"olm.operatorGroup": "og"}});
        let mut secret = object("v1", "Secret", "t", token);
        let claim = |stem: &str| Owner::Claim("n".to_owned(), stem.to_owned());
        let uid = Owner::Uid("u".to_owned());
        let cases = [
            (object("v1", "ConfigMap", "c", by.clone()), vec![uid.clone()]),
            (object("v1", "ConfigMap", "c", json!({})), vec![]),
            (object("v1", "Endpoints", "e", json!({})), vec![named("", "Service", "e")]),
            (object("v1", "Endpoints", "e", by), vec![uid.clone()]),
            (secret.clone(), vec![]),
            (
                object("operators.coreos.com/v1alpha1", "ClusterServiceVersion", "c", group),
                vec![named("operators.coreos.com", "OperatorGroup", "og")],
            ),
            (object("v1", "PersistentVolumeClaim", "data-db-0", json!({})), vec![claim("data-db")]),
            (object("v1", "PersistentVolumeClaim", "data-db-x", json!({})), vec![]),
            (object("v1", "PersistentVolumeClaim", "data", json!({})), vec![]),
        ];
        for (live, want) in cases {
            assert_eq!(owners_of(&live), want, "{live}");
            let shown = want.iter().filter(|owner| !matches!(owner, Owner::Claim(..))).count();
            assert_eq!(parents(&live).len(), shown, "{live}");
        }
        secret["type"] = json!("kubernetes.io/service-account-token");
        assert_eq!(owners_of(&secret), [uid]);
        assert_eq!(parents(&secret)[0].kind, "ServiceAccount");
    }

    #[test]
    fn a_stateful_set_names_its_claims() {
        let mut set = object("apps/v1", "StatefulSet", "db", json!({}));
        set["spec"] = json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}}, {"metadata": {"name": "log"}}]});
        assert_eq!(claim_stems(&set), ["data-db", "log-db"]);
        set["kind"] = json!("Deployment");
        assert!(claim_stems(&set).is_empty());
    }
}
