//! Networking: Gateway API, Istio, Contour, Gloo, Airlock Microgateway, nmstate, Proclaim.
//!
//! Sources: Gateway API reference (conditions Accepted, ResolvedRefs, Programmed, Conflicted; observedGeneration, GEP-1364),
//! Istio operator status, Contour "Status reporting", Gloo "Resource status", nmstate API, Argo CD's bundled checks.
use serde_json::Value;

use super::super::Health;
use super::judge::{Judge, condition, conditions, exists, field, find, items, or, said, stale, text, waiting, when};
use super::{ANY, Kinds};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended, Unknown};

pub(super) const GATEWAY_API: Kinds = &[
    ("BackendTLSPolicy", Judge::Own(backend_tls_policy)),
    ("GRPCRoute", Judge::Own(route)),
    ("Gateway", Judge::Own(gateway)),
    ("GatewayClass", Judge::Own(gateway_class)),
    ("HTTPRoute", Judge::Own(route)),
    ("ListenerSet", Judge::Own(listener_set)),
    ("TLSRoute", Judge::Own(tls_route)),
];
pub(super) const AIRLOCK: Kinds = &[(ANY, Judge::Own(airlock))];
pub(super) const ISTIO: Kinds = &[("IstioOperator", Judge::Own(istio))];
pub(super) const CONTOUR: Kinds = &[
    ("ExtensionService", Judge::Own(extension_service)),
    (
        "HTTPProxy",
        field("/status/currentStatus", &[("valid", Healthy), ("invalid", Degraded)])
            .message("/status/description")
            .judge(),
    ),
];

const GLOO_KIND: Judge = Judge::Own(gloo);

pub(super) const GLOO: Kinds =
    &[("Proxy", GLOO_KIND), ("Settings", GLOO_KIND), ("Upstream", GLOO_KIND), ("UpstreamGroup", GLOO_KIND)];
pub(super) const GLOO_GATEWAY: Kinds = &[
    ("Gateway", GLOO_KIND),
    ("MatchableHttpGateway", GLOO_KIND),
    ("RouteOption", GLOO_KIND),
    ("RouteTable", GLOO_KIND),
    ("VirtualHostOption", GLOO_KIND),
    ("VirtualService", GLOO_KIND),
];
pub(super) const NMSTATE: Kinds = &[(
    "NodeNetworkConfigurationPolicy",
    conditions(&[&[
        when("Available", "True", Healthy),
        when("Degraded", "True", Degraded),
        when("Progressing", "True", Progressing),
        when("Ignored", "True", Suspended),
    ]]),
)];
pub(super) const PROCLAIM: Kinds = &[("DNSSDServiceInstance", Judge::Own(proclaim))];

/// What one parent or listener makes of it: refused, not programmed yet, or `None`.
fn attachment(listed: &[Value], name: &str) -> Option<Health> {
    let prefix = if name.is_empty() { String::new() } else { format!("{name}: ") };
    for kind in ["ResolvedRefs", "Accepted"] {
        if let Some(found) = listed.iter().find(|found| found["type"] == kind && found["status"] == "False") {
            return Some(Health::new(Degraded, format!("{prefix}{}", said(found))));
        }
    }
    let pending = listed.iter().find(|found| found["type"] == "Programmed" && found["status"] != "True")?;
    Some(Health::new(Progressing, format!("{prefix}{}", said(pending))))
}

/// Whether some condition tells of another generation than the object's.
fn outdated(live: &Value, listed: &[Value]) -> bool {
    listed.iter().any(|found| stale(live, &found["observedGeneration"]))
}

fn parent(entry: &Value) -> String {
    format!("Parent {}", text(entry, "/parentRef/name"))
}

/// Parents that have not seen this generation are passed over.
fn route(live: &Value) -> Health {
    let current: Vec<(&Value, &[Value])> = items(live, "/status/parents")
        .iter()
        .map(|entry| (entry, items(entry, "/conditions")))
        .filter(|(_, listed)| !listed.is_empty() && !outdated(live, listed))
        .collect();
    if let Some(health) = current.iter().find_map(|(entry, listed)| attachment(listed, &parent(entry))) {
        return health;
    }
    if current.is_empty() { waiting(live) } else { Health::new(Healthy, "") }
}

/// Stricter than the other routes: a parent must have said yes to both questions.
fn tls_route(live: &Value) -> Health {
    let (mut pending, mut silent, mut good) = (None, None, false);
    for entry in items(live, "/status/parents") {
        let listed = items(entry, "/conditions");
        if listed.is_empty() || outdated(live, listed) {
            continue;
        }
        let yes = |kind: &str| find(listed, kind).is_some_and(|found| found["status"] == "True");
        match attachment(listed, &parent(entry)) {
            Some(health) if health.status == Degraded => return health,
            Some(health) => pending = pending.or(Some(health)),
            None if yes("Accepted") && yes("ResolvedRefs") => good = true,
            None => {
                silent = silent.or_else(|| Some(Health::new(Progressing, format!("{}: no answer yet", parent(entry)))))
            }
        }
    }
    let healthy = good.then(|| Health::new(Healthy, ""));
    pending.or(healthy).or(silent).unwrap_or_else(|| waiting(live))
}

fn gateway(live: &Value) -> Health {
    if let Some(health) = attachment(items(live, "/status/conditions"), "") {
        return health;
    }
    let listeners = items(live, "/status/listeners");
    let listener = |entry: &Value| {
        attachment(items(entry, "/conditions"), format!("Listener {}", text(entry, "/name")).trim_end())
    };
    if let Some(health) = listeners.iter().find_map(listener) {
        return health;
    }
    match exists(live, "/status/conditions") || !listeners.is_empty() {
        true => Health::new(Healthy, ""),
        false => waiting(live),
    }
}

fn gateway_class(live: &Value) -> Health {
    let accepted = items(live, "/status/conditions")
        .iter()
        .find(|found| found["type"] == "Accepted" && !stale(live, &found["observedGeneration"]));
    match accepted.map(|found| (found, text(found, "/status"))) {
        None => waiting(live),
        Some((found, "True")) => Health::new(Healthy, text(found, "/message")),
        Some((found, "False")) => Health::new(Degraded, said(found)),
        Some((found, _)) => Health::new(Progressing, said(found)),
    }
}

fn listener_set(live: &Value) -> Health {
    let own = items(live, "/status/conditions");
    if !exists(live, "/status") || outdated(live, own) {
        return waiting(live);
    }
    let refused = |listed: &[Value]| {
        let kinds: [(&str, &str); 3] = [("ResolvedRefs", "False"), ("Conflicted", "True"), ("Accepted", "False")];
        listed
            .iter()
            .find(|found| kinds.iter().any(|(kind, status)| found["type"] == *kind && found["status"] == *status))
            .map(said)
    };
    if let Some(found) = own.iter().find(|found| found["type"] == "Accepted" && found["status"] == "False") {
        return Health::new(Degraded, said(found));
    }
    let pending = |listed: &[Value]| {
        listed.iter().rfind(|found| found["type"] == "Programmed" && found["status"] != "True").map(said)
    };
    if let Some(words) = pending(own) {
        return Health::new(Progressing, words);
    }
    let listeners = items(live, "/status/listeners");
    for entry in listeners {
        let (listed, name) = (items(entry, "/conditions"), text(entry, "/name"));
        if let Some(words) = refused(listed) {
            return Health::new(Degraded, format!("Listener {name}: {words}"));
        }
        if let Some(words) = pending(listed) {
            return Health::new(Progressing, format!("Listener {name}: {words}"));
        }
    }
    if listeners.is_empty() { waiting(live) } else { Health::new(Healthy, "") }
}

fn ancestor(entry: &Value) -> String {
    format!("Ancestor {}", text(entry, "/ancestorRef/name"))
}

/// The first condition by which an ancestor refuses a policy.
fn refusal(entry: &Value) -> Option<Health> {
    let found = items(entry, "/conditions")
        .iter()
        .find(|found| matches!(text(found, "/type"), "Accepted" | "ResolvedRefs") && found["status"] != "True")?;
    Some(Health::new(Degraded, format!("{}: {}", ancestor(entry), said(found))))
}

/// Every controller in the cluster writes an entry; one that does not know the target (TargetNotFound) has no say.
fn backend_tls_policy(live: &Value) -> Health {
    let entries = items(live, "/status/ancestors");
    if let Some(entry) = entries.iter().find(|entry| outdated(live, items(entry, "/conditions"))) {
        return Health::new(Progressing, format!("{} has not seen the latest spec yet", ancestor(entry)));
    }
    let mut health = waiting(live);
    for entry in entries {
        let accepted = find(items(entry, "/conditions"), "Accepted");
        if accepted.is_some_and(|found| found["status"] != "True" && found["reason"] == "TargetNotFound") {
            continue;
        }
        if let Some(refused) = refusal(entry) {
            return refused;
        }
        if accepted.is_some() {
            health = Health::new(Healthy, "");
        }
    }
    health
}

/// Its policies are judged like those of the Gateway API, its other kinds have no status.
fn airlock(live: &Value) -> Health {
    if !text(live, "/kind").ends_with("Policy") {
        return Health::new(Healthy, "");
    }
    let entries = items(live, "/status/ancestors");
    let wanted = &live["metadata"]["generation"];
    let unseen = entries.iter().find(|entry| {
        !wanted.is_null() && items(entry, "/conditions").iter().any(|found| found["observedGeneration"] != *wanted)
    });
    if let Some(entry) = unseen {
        return Health::new(Progressing, format!("{} has not seen the latest spec yet", ancestor(entry)));
    }
    let mut health = waiting(live);
    for entry in entries {
        if let Some(refused) = refusal(entry) {
            return refused;
        }
        health = match find(items(entry, "/conditions"), "Accepted") {
            Some(_) => Health::new(Healthy, ""),
            None => Health::new(Degraded, format!("{} has not accepted it", ancestor(entry))),
        };
    }
    health
}

/// The status is a word, or the number of that word in old releases.
fn istio(live: &Value) -> Health {
    let status = &live["status"]["status"];
    let words = ["NONE", "UPDATING", "RECONCILING", "HEALTHY", "ERROR"];
    let word =
        status.as_str().or_else(|| words.get(usize::try_from(status.as_u64()?).ok()?).copied()).unwrap_or_default();
    match word {
        "NONE" => Health::new(Unknown, word),
        "UPDATING" | "RECONCILING" => Health::new(Progressing, word),
        "HEALTHY" => Health::new(Healthy, word),
        "ERROR" => Health::new(Degraded, or(text(live, "/status/message"), word)),
        _ => waiting(live),
    }
}

fn extension_service(live: &Value) -> Health {
    let valid = items(live, "/status/conditions").iter().find(|found| {
        found["type"] == "Valid"
            && matches!(text(found, "/status"), "True" | "False")
            && found["observedGeneration"] == live["metadata"]["generation"]
    });
    match valid {
        Some(found) if found["status"] == "True" => Health::new(Healthy, text(found, "/message")),
        Some(found) => Health::new(Degraded, said(found)),
        None => waiting(live),
    }
}

/// Gloo writes one status for each of its namespaces; older releases one for all. The state is a word or its number.
fn gloo(live: &Value) -> Health {
    let judge = |status: &Value| {
        let states = ["Pending", "Accepted", "Rejected", "Warning"];
        let state = &status["state"];
        let word = state.as_str().map(|word| match word.parse::<usize>() {
            Ok(number) => states.get(number).copied().unwrap_or_default(),
            Err(_) => word,
        });
        let word = word.or_else(|| states.get(usize::try_from(state.as_u64()?).ok()?).copied()).unwrap_or_default();
        match word {
            "Accepted" => Some(Health::new(Healthy, word)),
            "Warning" | "Rejected" => Some(Health::new(Degraded, or(text(status, "/reason"), word))),
            "Pending" => Some(Health::new(Suspended, word)),
            _ => None,
        }
    };
    let named = live.pointer("/status/statuses").and_then(Value::as_object);
    named
        .and_then(|named| named.values().find_map(judge))
        .or_else(|| judge(&live["status"]))
        .unwrap_or_else(|| waiting(live))
}

fn proclaim(live: &Value) -> Health {
    let (adopted, advertised, discovered) =
        (condition(live, "Adopted"), condition(live, "Advertised"), condition(live, "Discoverable"));
    let reason = |found: Option<&Value>| found.map(|found| text(found, "/reason").to_owned()).unwrap_or_default();
    let words = |found: Option<&Value>| found.map(said).unwrap_or_default();
    if adopted.is_some_and(|found| found["status"] == "False") {
        return Health::new(Degraded, words(adopted));
    }
    if matches!(reason(advertised).as_str(), "AdvertiseError" | "UnadvertiseError") {
        return Health::new(Degraded, words(advertised));
    }
    if reason(discovered) == "DiscoveryError" {
        return Health::new(Unknown, words(discovered));
    }
    match discovered {
        Some(found) if found["status"] == "True" => Health::new(Healthy, text(found, "/message")),
        Some(found) => Health::new(Progressing, said(found)),
        None => waiting(live),
    }
}

#[cfg(test)]
#[path = "networking_tests.rs"]
mod tests;
