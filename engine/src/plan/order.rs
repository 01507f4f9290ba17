//! The order of kinds within a wave. Pure.

/// Kinds in the order they are applied; others come after (Argo CD, gitops-engine's list).
const KIND_ORDER: [&str; 34] = [
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
];

/// The place of a kind; APIServices after all known kinds, unknown kinds last.
pub(super) fn kind_rank(group: &str, kind: &str) -> usize {
    if kind == "APIService" && group == "apiregistration.k8s.io" {
        return KIND_ORDER.len();
    }
    KIND_ORDER.iter().position(|known| *known == kind).unwrap_or(KIND_ORDER.len() + 1)
}
