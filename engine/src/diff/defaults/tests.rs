use serde_json::json;

use super::*;
use crate::schema::Schemas;
use crate::typed;

fn filled(type_name: &str, value: Value) -> Value {
    let schemas = Schemas::builtin();
    let at = schemas.named(type_name).unwrap();
    let mut value = typed::whole(&value, at).unwrap();
    fill(&mut value, at);
    value
}

#[test]
fn what_is_not_said_is_filled_in() {
    let cases = [
        (
            "core/v1/Container",
            json!({"name": "a", "image": "i:1", "ports": [{"containerPort": 1}], "livenessProbe": {"httpGet": {"port": 1}}}),
            json!({
            "name": "a", "image": "i:1", "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "resources": {},
            "ports": [{"containerPort": 1, "protocol": "TCP"}],
            "livenessProbe": {"httpGet": {"port": 1, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}}),
        ),
        ("core/v1/Volume", json!({"name": "v"}), json!({"name": "v", "emptyDir": {}})),
        (
            "core/v1/Volume",
            json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}),
            json!({"name": "v", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}]}}),
        ),
        (
            "networking/v1/NetworkPolicySpec",
            json!({"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]}),
            json!({"podSelector": {}, "egress": [{"ports": [{"port": 53, "protocol": "TCP"}]}]}),
        ),
        (
            "rbac/v1/RoleBinding",
            json!({"subjects": [{"kind": "Group", "name": "g"}, {"kind": "ServiceAccount", "name": "s"}], "roleRef": {"kind": "Role", "name": "r"}}),
            json!({
            "metadata": {}, "subjects": [{"kind": "Group", "name": "g", "apiGroup": "rbac.authorization.k8s.io"}, {"kind": "ServiceAccount", "name": "s"}],
            "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}}),
        ),
    ];
    for (name, value, want) in cases {
        assert_eq!(filled(name, value), want, "{name}");
    }
}
