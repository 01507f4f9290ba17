//! The cases of the networking kinds.
use serde_json::json;

use super::super::tests::{check, listed, said};
use super::*;

type Said<'a> = &'a [(&'a str, &'a str, &'a str, &'a str)];

const GATEWAY: &str = "gateway.networking.k8s.io/v1";

/// Conditions that have seen this generation.
fn seen(generation: i64, conditions: Said) -> Value {
    let mut list = listed(conditions);
    for condition in list.as_array_mut().into_iter().flatten() {
        condition["observedGeneration"] = json!(generation);
    }
    list
}

fn parents(entries: &[(i64, Said)]) -> Value {
    let parents: Vec<Value> = entries
        .iter()
        .map(|(generation, said)| json!({"parentRef": {"name": "edge"}, "conditions": seen(*generation, said)}))
        .collect();
    json!({"status": {"parents": parents}})
}

fn ancestors(entries: &[(i64, Said)]) -> Value {
    let ancestors: Vec<Value> = entries
        .iter()
        .map(|(generation, said)| json!({"ancestorRef": {"name": "edge"}, "conditions": seen(*generation, said)}))
        .collect();
    json!({"status": {"ancestors": ancestors}})
}

const GOOD: Said = &[("Accepted", "True", "Accepted", ""), ("ResolvedRefs", "True", "ResolvedRefs", "")];
const NO_REFS: Said = &[("Accepted", "True", "", ""), ("ResolvedRefs", "False", "BackendNotFound", "no such backend")];
const REFUSED: Said = &[("Accepted", "False", "NotAllowedByListeners", "not allowed")];
const PENDING: Said =
    &[("Accepted", "True", "", ""), ("ResolvedRefs", "True", "", ""), ("Programmed", "Unknown", "Pending", "")];

#[test]
fn routes() {
    for kind in ["HTTPRoute", "GRPCRoute", "TLSRoute"] {
        check(
            GATEWAY,
            kind,
            [
                (json!({}), Progressing, kind),
                (parents(&[]), Progressing, kind),
                (parents(&[(2, GOOD)]), Healthy, ""),
                (parents(&[(2, GOOD), (2, NO_REFS)]), Degraded, "Parent edge: no such backend"),
                (parents(&[(2, REFUSED)]), Degraded, "Parent edge: not allowed"),
                (parents(&[(2, PENDING)]), Progressing, "Parent edge: Pending"),
                (parents(&[(1, REFUSED), (2, GOOD)]), Healthy, ""),
                (parents(&[(1, GOOD)]), Progressing, "not reported"),
            ],
        );
    }
    check(GATEWAY, "HTTPRoute", [(parents(&[(2, &[("Accepted", "True", "", "")])]), Healthy, "")]);
    check(
        GATEWAY,
        "TLSRoute",
        [
            (parents(&[(2, &[("Accepted", "True", "", "")])]), Progressing, "no answer"),
            (parents(&[(2, &[("Accepted", "True", "", "")]), (2, GOOD)]), Healthy, ""),
            (parents(&[(2, PENDING), (2, GOOD)]), Progressing, "Pending"),
        ],
    );
}

#[test]
fn gateways() {
    let listener = |conditions: Said| json!({"status": {"conditions": listed(GOOD), "listeners": [{"name": "https", "conditions": listed(conditions)}]}});
    check(
        GATEWAY,
        "Gateway",
        [
            (json!({}), Progressing, "not reported"),
            (said(GOOD), Healthy, ""),
            (said(REFUSED), Degraded, "not allowed"),
            (said(NO_REFS), Degraded, "no such backend"),
            (said(PENDING), Progressing, "Pending"),
            (listener(GOOD), Healthy, ""),
            (listener(REFUSED), Degraded, "Listener https: not allowed"),
            (listener(NO_REFS), Degraded, "Listener https: no such backend"),
            (listener(PENDING), Progressing, "Listener https: Pending"),
            (json!({"status": {"listeners": [{"name": "https", "conditions": []}]}}), Healthy, ""),
        ],
    );
    let class = |generation: i64, status: &str| json!({"status": {"conditions": seen(generation, &[("Accepted", status, "Why", "words")])}});
    check(
        GATEWAY,
        "GatewayClass",
        [
            (json!({}), Progressing, "not reported"),
            (class(2, "True"), Healthy, "words"),
            (class(2, "False"), Degraded, "words"),
            (class(2, "Unknown"), Progressing, "words"),
            (class(1, "True"), Progressing, "not reported"),
        ],
    );
    check(
        GATEWAY,
        "ListenerSet",
        [
            (json!({}), Progressing, "not reported"),
            (json!({"status": {"conditions": seen(1, REFUSED)}}), Progressing, "not reported"),
            (said(REFUSED), Degraded, "not allowed"),
            (said(PENDING), Progressing, "Pending"),
            (said(GOOD), Progressing, "not reported"),
            (listener(GOOD), Healthy, ""),
            (listener(NO_REFS), Degraded, "Listener https: no such backend"),
            (listener(REFUSED), Degraded, "Listener https: not allowed"),
            (listener(&[("Conflicted", "True", "HostnameConflict", "")]), Degraded, "HostnameConflict"),
            (listener(PENDING), Progressing, "Listener https: Pending"),
        ],
    );
}

#[test]
fn policies() {
    const ELSEWHERE: Said = &[("Accepted", "False", "TargetNotFound", "no such service")];
    check(
        GATEWAY,
        "BackendTLSPolicy",
        [
            (json!({}), Progressing, "not reported"),
            (ancestors(&[(1, GOOD)]), Progressing, "Ancestor edge"),
            (ancestors(&[(2, GOOD)]), Healthy, ""),
            (ancestors(&[(2, ELSEWHERE), (2, GOOD)]), Healthy, ""),
            (ancestors(&[(2, ELSEWHERE)]), Progressing, "not reported"),
            (ancestors(&[(2, REFUSED)]), Degraded, "Ancestor edge: not allowed"),
            (ancestors(&[(2, NO_REFS)]), Degraded, "Ancestor edge: no such backend"),
            (ancestors(&[(2, &[])]), Progressing, ""),
        ],
    );
    check(
        "microgateway.airlock.com/v1alpha1",
        "ContentSecurityPolicy",
        [
            (json!({}), Progressing, "not reported"),
            (ancestors(&[(1, GOOD)]), Progressing, "Ancestor edge"),
            (
                json!({"status": {"ancestors": [{"ancestorRef": {"name": "edge"}, "conditions": listed(GOOD)}]}}),
                Progressing,
                "Ancestor edge",
            ),
            (ancestors(&[(2, GOOD)]), Healthy, ""),
            (ancestors(&[(2, REFUSED)]), Degraded, "not allowed"),
            (ancestors(&[(2, NO_REFS)]), Degraded, "no such backend"),
            (ancestors(&[(2, &[("ResolvedRefs", "True", "", "")])]), Degraded, "not accepted"),
        ],
    );
    check("microgateway.airlock.com/v1alpha1", "DenyRules", [(json!({}), Healthy, "")]);
}

#[test]
fn istio_and_contour() {
    let status = |status: Value| json!({"status": {"status": status}});
    check(
        "install.istio.io/v1alpha1",
        "IstioOperator",
        [
            (json!({}), Progressing, "not reported"),
            (status(json!("NONE")), Unknown, "NONE"),
            (status(json!(0)), Unknown, "NONE"),
            (status(json!("UPDATING")), Progressing, "UPDATING"),
            (status(json!(2)), Progressing, "RECONCILING"),
            (status(json!("HEALTHY")), Healthy, "HEALTHY"),
            (status(json!(3)), Healthy, "HEALTHY"),
            (status(json!("ERROR")), Degraded, "ERROR"),
            (status(json!(9)), Progressing, ""),
        ],
    );
    check(
        "projectcontour.io/v1",
        "HTTPProxy",
        [
            (json!({}), Progressing, "not reported"),
            (
                json!({"status": {"currentStatus": "valid", "description": "Valid HTTPProxy"}}),
                Healthy,
                "Valid HTTPProxy",
            ),
            (
                json!({"status": {"currentStatus": "invalid", "description": "At least one error present"}}),
                Degraded,
                "one error",
            ),
            (json!({"status": {"currentStatus": "orphaned"}}), Progressing, "orphaned"),
        ],
    );
    let valid = |generation: i64, status: &str| json!({"status": {"conditions": seen(generation, &[("Valid", status, "", "words")])}});
    check(
        "projectcontour.io/v1alpha1",
        "ExtensionService",
        [
            (json!({}), Progressing, "not reported"),
            (valid(1, "True"), Progressing, "not reported"),
            (valid(2, "True"), Healthy, "words"),
            (valid(2, "False"), Degraded, "words"),
        ],
    );
}

#[test]
fn gloo_resources() {
    let kinds = [
        ("gloo.solo.io/v1", "Upstream"),
        ("gloo.solo.io/v1", "Proxy"),
        ("gloo.solo.io/v1", "Settings"),
        ("gloo.solo.io/v1", "UpstreamGroup"),
    ];
    let gateways =
        ["Gateway", "MatchableHttpGateway", "RouteOption", "RouteTable", "VirtualHostOption", "VirtualService"];
    let named = |state: Value| json!({"status": {"statuses": {"gloo-system": {"state": state, "reason": "why"}}}});
    for (api, kind) in kinds.into_iter().chain(gateways.map(|kind| ("gateway.solo.io/v1", kind))) {
        check(
            api,
            kind,
            [
                (json!({}), Progressing, "not reported"),
                (named(json!("Accepted")), Healthy, "Accepted"),
                (named(json!(1)), Healthy, "Accepted"),
                (named(json!("Warning")), Degraded, "why"),
                (named(json!("Rejected")), Degraded, "why"),
                (named(json!("2")), Degraded, "why"),
                (named(json!("Pending")), Suspended, "Pending"),
                (json!({"status": {"state": 0}}), Suspended, "Pending"),
                (json!({"status": {"state": "Accepted"}}), Healthy, "Accepted"),
                (json!({"status": {"state": 3, "reason": "why"}}), Degraded, "why"),
            ],
        );
    }
}

#[test]
fn nodes_and_names() {
    check(
        "nmstate.io/v1",
        "NodeNetworkConfigurationPolicy",
        [
            (json!({}), Progressing, "not reported"),
            (
                said(&[("Available", "True", "SuccessfullyConfigured", "1/1 nodes successfully configured")]),
                Healthy,
                "1/1",
            ),
            (
                said(&[("Available", "False", "", ""), ("Degraded", "True", "FailedToConfigure", "1/1 nodes failed")]),
                Degraded,
                "failed",
            ),
            (said(&[("Progressing", "True", "ConfigurationProgressing", "")]), Progressing, "ConfigurationProgressing"),
            (said(&[("Ignored", "True", "NoMatchingNode", "")]), Suspended, "NoMatchingNode"),
        ],
    );
    check(
        "proclaim.dogmatiq.io/v1",
        "DNSSDServiceInstance",
        [
            (json!({}), Progressing, "not reported"),
            (said(&[("Adopted", "False", "InstanceIgnored", "no provider")]), Degraded, "no provider"),
            (
                said(&[("Adopted", "True", "", ""), ("Advertised", "False", "AdvertiseError", "denied")]),
                Degraded,
                "denied",
            ),
            (said(&[("Advertised", "Unknown", "UnadvertiseError", "denied")]), Degraded, "denied"),
            (said(&[("Discoverable", "Unknown", "DiscoveryError", "no route")]), Unknown, "no route"),
            (said(&[("Advertised", "True", "", ""), ("Discoverable", "True", "Discovered", "")]), Healthy, ""),
            (said(&[("Discoverable", "False", "NegativeBrowseResult", "not yet")]), Progressing, "not yet"),
        ],
    );
}
