//! How an object takes part in networking: whom it leads to and under which addresses it can be reached. Pure.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ResourceRef;

pub(super) const LINK: &str = "link.argocd.argoproj.io/";
const IGNORE_DEFAULT_LINKS: &str = "argocd.argoproj.io/ignore-default-links";

/// An address of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadBalancerIngress {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Its number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
}

/// `networkingInfo` of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkingInfo {
    /// It leads to objects with these labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub target_labels: BTreeMap<String, String>,
    /// It leads to these objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<ResourceRef>,
    /// Its labels, for those that lead here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Addresses of its load balancer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<LoadBalancerIngress>,
    /// Links for people: URLs, or `title|URL`.
    #[serde(rename = "externalURLs", skip_serializing_if = "Vec::is_empty")]
    pub external_urls: Vec<String>,
}

fn texts(map: &Value) -> BTreeMap<String, String> {
    let entry = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    map.as_object().into_iter().flatten().filter_map(entry).collect()
}

fn array(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What an object says of it; `None` when it has no part in networking and no link.
pub(super) fn networking(live: &Value) -> Option<NetworkingInfo> {
    let api_version = live["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let links = links(live);
    let mut found = match (group, live["kind"].as_str().unwrap_or_default()) {
        ("", "Pod") => NetworkingInfo { labels: texts(&live["metadata"]["labels"]), ..NetworkingInfo::default() },
        ("", "Service") => NetworkingInfo {
            target_labels: texts(&live["spec"]["selector"]),
            ingress: if live["spec"]["type"] == "LoadBalancer" { balancers(live) } else { Vec::new() },
            ..NetworkingInfo::default()
        },
        ("extensions" | "networking.k8s.io", "Ingress") => ingress(live),
        ("networking.istio.io", "VirtualService") => virtual_service(live),
        ("networking.istio.io", "ServiceEntry") if live["spec"]["workloadSelector"]["labels"].is_object() => {
            NetworkingInfo {
                target_labels: texts(&live["spec"]["workloadSelector"]["labels"]),
                target_refs: vec![ResourceRef { kind: "Pod".to_owned(), ..ResourceRef::default() }],
                ..NetworkingInfo::default()
            }
        }
        _ if links.is_empty() => return None,
        _ => NetworkingInfo::default(),
    };
    found.external_urls.splice(0..0, links);
    Some(found)
}

/// Links by annotation. Only http and https: what is shown as a link must not run a script.
fn links(live: &Value) -> Vec<String> {
    let link = |(name, value): (&String, &Value)| {
        let text = value.as_str().filter(|_| name.starts_with(LINK))?;
        let url = text.split_once('|').map_or(text, |(_, url)| url).trim();
        let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase())?;
        matches!(scheme.as_str(), "http" | "https").then(|| text.to_owned())
    };
    live["metadata"]["annotations"].as_object().into_iter().flatten().filter_map(link).collect()
}

fn balancers(live: &Value) -> Vec<LoadBalancerIngress> {
    let one = |item: &Value| {
        let text = |field: &str| item[field].as_str().unwrap_or_default().to_owned();
        match (text("hostname"), text("ip")) {
            (hostname, ip) if hostname.is_empty() && ip.is_empty() => None,
            (hostname, ip) if hostname.is_empty() => Some(LoadBalancerIngress { hostname, ip }),
            (hostname, _) => Some(LoadBalancerIngress { hostname, ip: String::new() }),
        }
    };
    array(&live["status"]["loadBalancer"]["ingress"]).iter().filter_map(one).collect()
}

fn service(live: &Value, name: &str, namespace: Option<&str>) -> ResourceRef {
    let own = live["metadata"]["namespace"].as_str().unwrap_or_default();
    ResourceRef {
        kind: "Service".to_owned(),
        namespace: namespace.unwrap_or(own).to_owned(),
        name: name.to_owned(),
        ..ResourceRef::default()
    }
}

fn ingress(live: &Value) -> NetworkingInfo {
    let addresses = balancers(live);
    let leads = |backend: &Value| {
        let name = backend["service"]["name"].as_str().or_else(|| backend["serviceName"].as_str())?;
        Some(service(live, name, None))
    };
    let spec = &live["spec"];
    let rules = || array(&spec["rules"]).iter();
    let paths = || rules().flat_map(|rule| array(&rule["http"]["paths"]).iter().map(move |path| (rule, path)));
    let backends =
        [&spec["backend"], &spec["defaultBackend"]].into_iter().chain(paths().map(|(_, path)| &path["backend"]));
    let mut targets: Vec<ResourceRef> = backends.filter_map(leads).collect();
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    targets.dedup();
    let address = addresses.iter().map(|one| if one.hostname.is_empty() { &one.ip } else { &one.hostname }).next();
    let url = |(rule, path): (&Value, &Value)| {
        let host = rule["host"].as_str().filter(|host| !host.is_empty()).or(address.map(String::as_str))?;
        let scheme = if secured(spec, host) { "https" } else { "http" };
        Some(format!("{scheme}://{host}{}", path["path"].as_str().unwrap_or_default().trim_end_matches('*')))
    };
    let given = live["metadata"]["annotations"][IGNORE_DEFAULT_LINKS] != "true";
    let urls: BTreeSet<String> = if given { paths().filter_map(url).collect() } else { BTreeSet::new() };
    NetworkingInfo {
        target_refs: targets,
        ingress: addresses,
        external_urls: urls.into_iter().collect(),
        ..NetworkingInfo::default()
    }
}

/// Any certificate, or one that names the host.
fn secured(spec: &Value, host: &str) -> bool {
    array(&spec["tls"])
        .iter()
        .any(|tls| !tls["secretName"].is_null() || array(&tls["hosts"]).iter().any(|one| one == host))
}

fn virtual_service(live: &Value) -> NetworkingInfo {
    let routes = array(&live["spec"]["http"]).iter().flat_map(|rule| array(&rule["route"]));
    let target = |route: &Value| {
        let mut parts = route["destination"]["host"].as_str()?.split('.');
        Some(service(live, parts.next()?, parts.next()))
    };
    let mut targets: Vec<ResourceRef> = routes.filter_map(target).collect();
    targets.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    targets.dedup();
    NetworkingInfo { target_refs: targets, ..NetworkingInfo::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(api_version: &str, kind: &str, more: Value) -> Value {
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": "n"}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::to_value(networking(&object)).unwrap()
    }

    fn leads(names: &[(&str, &str)]) -> Value {
        names.iter().map(|(namespace, name)| json!({"kind": "Service", "namespace": namespace, "name": name})).collect()
    }

    #[test]
    fn who_leads_where() {
        let balancer = json!({"loadBalancer": {"ingress": [{"hostname": "h"}, {"ip": "1.2.3.4"}]}});
        let addresses = json!([{"hostname": "h"}, {"ip": "1.2.3.4"}]);
        let routes = json!([{"route": [{"destination": {"host": "a"}}, {"destination": {"host": "b.other.svc"}}]}]);
        let cases = [
            (of("v1", "Pod", json!({"metadata": {"labels": {"a": "b"}}})), json!({"labels": {"a": "b"}})),
            (
                of("v1", "Service", json!({"spec": {"selector": {"a": "b"}}, "status": balancer})),
                json!({"targetLabels": {"a": "b"}}),
            ),
            (
                of("v1", "Service", json!({"spec": {"type": "LoadBalancer"}, "status": balancer})),
                json!({"ingress": addresses}),
            ),
            (
                of("networking.istio.io/v1", "VirtualService", json!({"spec": {"http": routes}})),
                json!({"targetRefs": leads(&[("n", "a"), ("other", "b")])}),
            ),
            (
                of(
                    "networking.istio.io/v1",
                    "ServiceEntry",
                    json!({"spec": {"workloadSelector": {"labels": {"a": "b"}}}}),
                ),
                json!({"targetLabels": {"a": "b"}, "targetRefs": [{"kind": "Pod", "name": ""}]}),
            ),
            (of("networking.istio.io/v1", "ServiceEntry", json!({"spec": {}})), Value::Null),
            (of("v1", "ConfigMap", json!({})), Value::Null),
        ];
        for (found, want) in cases {
            assert_eq!(found, want);
        }
    }

    #[test]
    fn an_ingress_can_be_reached() {
        let path = |path: &str, service: &str| json!({"path": path, "backend": {"service": {"name": service}}});
        let rule = |host: &str| json!({"host": host, "http": {"paths": [path("/x*", "a"), path("/y", "b")]}});
        let ingress = |spec: Value| {
            of(
                "networking.k8s.io/v1",
                "Ingress",
                json!({"spec": spec, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}),
            )
        };
        let urls = |spec: Value| ingress(spec)["externalURLs"].clone();
        assert_eq!(urls(json!({"rules": [rule("h")]})), json!(["http://h/x", "http://h/y"]));
        assert_eq!(urls(json!({"rules": [rule("")]})), json!(["http://1.2.3.4/x", "http://1.2.3.4/y"]));
        assert_eq!(urls(json!({"rules": [rule("h")], "tls": [{"hosts": ["h"]}]}))[0], "https://h/x");
        assert_eq!(urls(json!({"rules": [rule("h")], "tls": [{"hosts": ["o"]}]}))[0], "http://h/x");
        assert_eq!(urls(json!({"rules": [rule("h")], "tls": [{"secretName": "s"}]}))[0], "https://h/x");
        let found = ingress(json!({"rules": [rule("h")], "defaultBackend": {"service": {"name": "c"}}}));
        assert_eq!(found["targetRefs"], leads(&[("n", "a"), ("n", "b"), ("n", "c")]));
        let old = json!({"spec": {"backend": {"serviceName": "old"}}});
        assert_eq!(of("extensions/v1beta1", "Ingress", old)["targetRefs"], leads(&[("n", "old")]));
    }

    #[test]
    fn links_are_http_and_can_stand_alone() {
        let metadata = |name: &str, value: &str| json!({"metadata": {"annotations": {name: value}}});
        let urls = |name: &str, value: &str| of("v1", "ConfigMap", metadata(name, value))["externalURLs"].clone();
        assert_eq!(urls("link.argocd.argoproj.io/a", "https://a"), json!(["https://a"]));
        assert_eq!(urls("link.argocd.argoproj.io/a", "Title|https://a"), json!(["Title|https://a"]));
        assert_eq!(urls("link.argocd.argoproj.io/a", "Title|javascript:x"), Value::Null);
        assert_eq!(urls("other/a", "https://a"), Value::Null);
        let spec = json!({"rules": [{"host": "h", "http": {"paths": [{"path": "/"}]}}]});
        let quiet = json!({"spec": spec, "metadata": {"annotations": {IGNORE_DEFAULT_LINKS: "true", "link.argocd.argoproj.io/a": "http://a"}}});
        assert_eq!(of("networking.k8s.io/v1", "Ingress", quiet)["externalURLs"], json!(["http://a"]));
    }
}
