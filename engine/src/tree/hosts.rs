//! The machines on which an Application's Pods run, and what is requested of them. Pure.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Resources that are shown.
const SHOWN: [&str; 3] = ["cpu", "memory", "storage"];

/// One resource of a host, in thousandths of its unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostResourceInfo {
    /// Which.
    pub resource_name: String,
    /// By Pods of the Application.
    pub requested_by_app: i64,
    /// By all others on it.
    pub requested_by_neighbors: i64,
    /// What there is.
    pub capacity: i64,
}

/// A Node with Pods of the Application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostInfo {
    /// The Node.
    pub name: String,
    /// Its resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources_info: Vec<HostResourceInfo>,
    /// `status.nodeInfo`.
    pub system_info: Value,
    /// Its labels, as far as `application.allowedNodeLabels` names them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What is kept of a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    name: String,
    capacity: BTreeMap<String, i64>,
    system_info: Value,
    labels: BTreeMap<String, String>,
}

/// What is kept of a Pod that runs somewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guest {
    /// The Node.
    pub node: String,
    requests: BTreeMap<String, i64>,
}

impl Machine {
    /// Of a Node.
    pub fn of(live: &Value) -> Option<Self> {
        if live["kind"] != "Node" || live["apiVersion"] != "v1" {
            return None;
        }
        let texts = |map: &Value| -> BTreeMap<String, String> {
            let entry = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
            map.as_object().into_iter().flatten().filter_map(entry).collect()
        };
        Some(Self {
            name: live["metadata"]["name"].as_str()?.to_owned(),
            capacity: amounts(&live["status"]["capacity"]),
            system_info: live["status"]["nodeInfo"].clone(),
            labels: texts(&live["metadata"]["labels"]),
        })
    }

    /// The host as an Application's tree shows it.
    pub fn shown(&self, own: &[&Guest], others: &[&Guest], labels: &[String]) -> HostInfo {
        let sum = |guests: &[&Guest], name: &str| guests.iter().filter_map(|guest| guest.requests.get(name)).sum();
        let resource = |(name, capacity): (&String, &i64)| HostResourceInfo {
            resource_name: name.clone(),
            requested_by_app: sum(own, name),
            requested_by_neighbors: sum(others, name),
            capacity: *capacity,
        };
        HostInfo {
            name: self.name.clone(),
            resources_info: self.capacity.iter().map(resource).collect(),
            system_info: self.system_info.clone(),
            labels: self
                .labels
                .iter()
                .filter(|(name, _)| labels.contains(name))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect(),
        }
    }
}

impl Guest {
    /// Of a Pod; `None` while it has no Node and after it has ended.
    pub fn of(live: &Value) -> Option<Self> {
        let pod = live["kind"] == "Pod" && live["apiVersion"] == "v1";
        let ended = matches!(live["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let node = live["spec"]["nodeName"].as_str().filter(|node| pod && !ended && !node.is_empty())?;
        Some(Self { node: node.to_owned(), requests: requests_of(live) })
    }
}

fn amounts(map: &Value) -> BTreeMap<String, i64> {
    let amount = |name: &str| Some((name.to_owned(), milli(&map[name])?));
    SHOWN.into_iter().filter_map(amount).collect()
}

/// What a Pod requests as a whole: its containers and sidecars together, or what its largest init container needs
/// beside the sidecars before it, whichever is more; and its overhead (Kubernetes, "Sidecar Containers").
pub(super) fn requests_of(live: &Value) -> BTreeMap<String, i64> {
    let containers = |list: &str| live["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |container: &Value, name: &str| milli(&container["resources"]["requests"][name]).unwrap_or_default();
    let total = |name: &str| {
        let main: i64 = containers("containers").iter().map(|container| of(container, name)).sum();
        let (mut sidecars, mut starting) = (0_i64, 0_i64);
        for container in containers("initContainers") {
            if container["restartPolicy"] == "Always" {
                sidecars = sidecars.saturating_add(of(container, name));
                starting = starting.max(sidecars);
            } else {
                starting = starting.max(sidecars.saturating_add(of(container, name)));
            }
        }
        let overhead = milli(&live["spec"]["overhead"][name]).unwrap_or_default();
        main.saturating_add(sidecars).max(starting).saturating_add(overhead)
    };
    SHOWN.map(|name| (name.to_owned(), total(name))).into_iter().filter(|(_, amount)| *amount != 0).collect()
}

/// A quantity in thousandths, rounded up (Kubernetes, "Quantity").
fn milli(quantity: &Value) -> Option<i64> {
    let text = match quantity {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    let place = |all: &[&str]| all.iter().position(|one| *one == suffix).and_then(|at| u32::try_from(at).ok());
    // (multiplier, divisor) to thousandths.
    let (times, by) = if let Some(at) = place(&DECIMAL) {
        if at >= 2 { (1000_i128.pow(at - 2), 1) } else { (1, 1000_i128.pow(2 - at)) }
    } else if let Some(at) = place(&BINARY) {
        (1000 * 1024_i128.pow(at), 1)
    } else {
        let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|e: &i32| e.abs() <= 18)?;
        let power = 10_i128.pow(exponent.unsigned_abs());
        if exponent >= 0 { (1000 * power, 1) } else { (1000, power) }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.get(..fraction.len().min(9))?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let by = by * 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let scaled = digits.checked_mul(times)?;
    i64::try_from(scaled.div_euclid(by) + i128::from(scaled.rem_euclid(by) != 0)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_in_thousandths() {
        let cases = [
            (json!("100m"), Some(100)),
            (json!("1"), Some(1000)),
            (json!(2), Some(2000)),
            (json!("1.5"), Some(1500)),
            (json!("0.5Gi"), Some(536_870_912_000)),
            (json!("1Ki"), Some(1_024_000)),
            (json!("1k"), Some(1_000_000)),
            (json!("2e3"), Some(2_000_000)),
            (json!("1E"), Some(1_000_000_000_000_000_000_000_i128)),
            (json!("1n"), Some(1)),
            (json!("2500u"), Some(3)),
            (json!("x"), None),
            (Value::Null, None),
        ];
        for (quantity, want) in cases {
            let want = want.and_then(|want: i128| i64::try_from(want).ok());
            assert_eq!(milli(&quantity), want, "{quantity}");
        }
    }

    #[test]
    fn a_host_shows_who_asks_for_what() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu, "memory": "1Ki"}}});
        let pod = |cpu: &str| json!({"apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "node", "containers": [container(cpu)]}});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node", "labels": {"zone": "z", "x": "y"}},
            "status": {"capacity": {"cpu": "4", "memory": "8Ki", "pods": "110"}, "nodeInfo": {"architecture": "amd64"}}});
        let (own, other) = (Guest::of(&pod("250m")).unwrap(), Guest::of(&pod("1")).unwrap());
        let shown = Machine::of(&node).unwrap().shown(&[&own, &own], &[&other], &["zone".to_owned()]);
        let want = json!({"name": "node", "labels": {"zone": "z"}, "systemInfo": {"architecture": "amd64"}, "resourcesInfo": [
            {"resourceName": "cpu", "requestedByApp": 500, "requestedByNeighbors": 1000, "capacity": 4000},
            {"resourceName": "memory", "requestedByApp": 2_048_000, "requestedByNeighbors": 1_024_000, "capacity": 8_192_000}]});
        assert_eq!(serde_json::to_value(shown).unwrap(), want);
        let mut ended = pod("1");
        ended["status"] = json!({"phase": "Succeeded"});
        assert_eq!(Guest::of(&ended), None);
    }

    #[test]
    fn init_containers_count_while_they_are_larger() {
        let container = |cpu: &str, stays: bool| {
            let mut container = json!({"resources": {"requests": {"cpu": cpu}}});
            if stays {
                container["restartPolicy"] = json!("Always");
            }
            container
        };
        let cases = [
            (json!([]), 1000),
            (json!([container("3", false)]), 3000),
            (json!([container("500m", true)]), 1500),
            (json!([container("500m", true), container("3", false)]), 3500),
            (json!([container("3", false), container("500m", true)]), 3000),
        ];
        for (init, want) in cases {
            let pod = json!({"spec": {"containers": [container("1", false)], "initContainers": init}});
            assert_eq!(requests_of(&pod)["cpu"], want, "{init}");
        }
    }
}
