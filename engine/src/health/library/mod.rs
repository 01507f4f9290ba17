//! The bundled health of well-known custom resources: which operator's kind is judged by which rule.
//!
//! Users come from Argo CD: the verdict for an object is that of Argo CD's bundled check for its kind, and the message
//! carries what the object itself says. The rules are facts about the operators' APIs; the code is native, the words of
//! waiting are our own. One difference holds for all: where a check of Argo CD fails on an object without a status
//! (which shows there as Unknown), that object is under way here.
//!
//! One file for each family of operators, each with its tables of cases; must not know of user scripts, which come first.
use serde_json::Value;

use self::judge::Judge;
use super::Health;

mod argo;
mod certificates;
mod cloud;
mod cluster_api;
mod crossplane;
mod data_jobs;
mod databases;
mod delivery;
mod fleet;
mod flux;
mod judge;
mod kruise;
mod kubernetes;
mod messaging;
mod networking;
mod numaproj;
mod observability;
mod openshift;
mod promoter;
mod search;
mod security;
mod serverless;
mod storage;
mod threescale;
mod virtual_machines;

/// The kinds of one group and their judges.
type Kinds = &'static [(&'static str, Judge)];

/// Any kind of a group.
const ANY: &str = "*";

/// Groups and their kinds, sorted by group: this is asked for every live object.
static GROUPS: &[(&str, Kinds)] = &[
    ("acid.zalan.do", databases::ZALANDO),
    ("acme.cert-manager.io", certificates::CERT_MANAGER_ACME),
    ("addons.cluster.x-k8s.io", cluster_api::ADDONS),
    ("apiextensions.k8s.io", kubernetes::DEFINITIONS),
    ("apps.3scale.net", threescale::APPS),
    ("apps.kruise.io", kruise::APPS),
    ("apps.openshift.io", openshift::APPS),
    ("argoproj.io", argo::ARGO),
    ("astra.netapp.io", storage::ASTRA),
    ("autoscaling.k8s.io", kubernetes::AUTOSCALING),
    ("batch", kubernetes::BATCH),
    ("beat.k8s.elastic.co", search::BEAT),
    ("bitnami.com", security::BITNAMI),
    ("camel.apache.org", serverless::CAMEL),
    ("capabilities.3scale.net", threescale::CAPABILITIES),
    ("cassandra.rook.io", databases::CASSANDRA),
    ("cdi.kubevirt.io", virtual_machines::CDI),
    ("ceph.rook.io", storage::CEPH),
    ("cert-manager.io", certificates::CERT_MANAGER),
    ("certmanager.k8s.io", certificates::CERT_MANAGER_OLD),
    ("clickhouse-keeper.altinity.com", databases::CLICKHOUSE_KEEPER),
    ("clickhouse.altinity.com", databases::CLICKHOUSE),
    ("cloudfront.aws.crossplane.io", crossplane::CLOUDFRONT),
    ("cluster.x-k8s.io", cluster_api::CLUSTER),
    ("controlplane.cluster.x-k8s.io", cluster_api::CONTROL_PLANE),
    ("coralogix.com", observability::CORALOGIX),
    ("core.gardener.cloud", fleet::GARDENER),
    ("core.humio.com", observability::HUMIO),
    ("core.spinkube.dev", serverless::SPINKUBE),
    ("datadoghq.com", observability::DATADOG),
    ("db.atlasgo.io", databases::ATLAS),
    ("elasticsearch.k8s.elastic.co", search::ELASTICSEARCH),
    ("external-secrets.io", security::EXTERNAL_SECRETS),
    ("flagger.app", delivery::FLAGGER),
    ("flink.apache.org", data_jobs::FLINK),
    ("game.kruise.io", kruise::GAME),
    ("gateway.networking.k8s.io", networking::GATEWAY_API),
    ("gateway.solo.io", networking::GLOO_GATEWAY),
    ("gloo.solo.io", networking::GLOO),
    ("grafana-org-operator.kubitus-project.gitlab.io", observability::GRAFANA_ORG),
    ("grafana.integreatly.org", observability::GRAFANA),
    ("helm.toolkit.fluxcd.io", flux::HELM),
    ("iam.aws.crossplane.io", crossplane::IAM),
    ("iammanager.keikoproj.io", cloud::KEIKO),
    ("image.toolkit.fluxcd.io", flux::IMAGE),
    ("install.istio.io", networking::ISTIO),
    ("jaegertracing.io", observability::JAEGER),
    ("k8s.keycloak.org", security::KEYCLOAK),
    ("k8s.mariadb.com", databases::MARIADB),
    ("kafka.banzaicloud.io", messaging::BANZAI),
    ("kafka.strimzi.io", messaging::STRIMZI),
    ("karpenter.k8s.aws", cluster_api::KARPENTER_AWS),
    ("karpenter.sh", cluster_api::KARPENTER),
    ("keda.sh", serverless::KEDA),
    ("kiali.io", observability::KIALI),
    ("kubernetes-client.io", security::KUBERNETES_EXTERNAL_SECRETS),
    ("kubevirt.io", virtual_machines::KUBEVIRT),
    ("kustomize.toolkit.fluxcd.io", flux::KUSTOMIZE),
    ("kyverno.io", security::KYVERNO),
    ("lifecycle.keptn.sh", delivery::KEPTN),
    ("logstash.k8s.elastic.co", search::LOGSTASH),
    ("mariadb.mmontes.io", databases::MARIADB_OLD),
    ("metrics.keptn.sh", delivery::KEPTN_METRICS),
    ("microgateway.airlock.com", networking::AIRLOCK),
    ("minio.min.io", storage::MINIO),
    ("monitoring.coreos.com", observability::PROMETHEUS),
    ("networking.gke.io", certificates::GKE),
    ("nmstate.io", networking::NMSTATE),
    ("notification.toolkit.fluxcd.io", flux::NOTIFICATION),
    ("numaflow.numaproj.io", numaproj::FLOW),
    ("numaplane.numaproj.io", numaproj::PLANE),
    ("objectbucket.io", storage::OBJECT_BUCKET),
    ("ocs.openshift.io", openshift::STORAGE),
    ("onepassword.com", security::ONE_PASSWORD),
    ("openfaas.com", serverless::OPENFAAS),
    ("opentelemetry.io", observability::OPEN_TELEMETRY),
    ("operator.knative.dev", serverless::KNATIVE_OPERATOR),
    ("operator.openshift.io", openshift::OPERATOR),
    ("operator.victoriametrics.com", observability::VICTORIA_METRICS),
    ("operators.coreos.com", openshift::OLM),
    ("pkg.crossplane.io", crossplane::PACKAGES),
    ("platform.confluent.io", messaging::CONFLUENT),
    ("policy", kubernetes::POLICY),
    ("policy.open-cluster-management.io", fleet::OPEN_CLUSTER_MANAGEMENT),
    ("postgresql.cnpg.io", databases::CLOUD_NATIVE_PG),
    ("proclaim.dogmatiq.io", networking::PROCLAIM),
    ("projectcontour.io", networking::CONTOUR),
    ("promoter.argoproj.io", promoter::PROMOTER),
    ("psmdb.percona.com", databases::PERCONA_MONGODB),
    ("pulumi.com", cloud::PULUMI),
    ("pxc.percona.com", databases::PERCONA_XTRADB),
    ("rabbitmq.com", messaging::RABBITMQ),
    ("rds.aws.crossplane.io", crossplane::RDS),
    ("rollouts.kruise.io", kruise::ROLLOUTS),
    ("route.openshift.io", openshift::ROUTE),
    ("route53.aws.crossplane.io", crossplane::ROUTE53),
    ("s3.aws.crossplane.io", crossplane::S3),
    ("services.cloud.sap.com", cloud::SAP),
    ("serving.knative.dev", serverless::KNATIVE_SERVING),
    ("serving.kserve.io", serverless::KSERVE),
    ("snapshot.storage.k8s.io", storage::SNAPSHOT),
    ("solr.apache.org", search::SOLR),
    ("source.toolkit.fluxcd.io", flux::SOURCE),
    ("sparkoperator.k8s.io", data_jobs::SPARK),
    ("spot.io", argo::SPOT),
    ("stacks.crossplane.io", crossplane::STACKS),
    ("tower.ansible.com", delivery::ANSIBLE),
    ("trident.netapp.io", storage::TRIDENT),
    ("work.karmada.io", fleet::KARMADA),
    ("zookeeper.pravega.io", messaging::ZOOKEEPER),
];

/// Groups by their ending, for any kind that [`GROUPS`] does not name.
static ENDINGS: &[(&str, Judge)] = &[
    (".cnrm.cloud.google.com", cloud::CONFIG_CONNECTOR),
    (".crossplane.io", crossplane::ANY),
    (".services.k8s.aws", cloud::ACK),
    (".upbound.io", crossplane::UPBOUND),
];

/// The health of a live object of a known kind; `None` when the library does not have its kind.
pub(super) fn judge(live: &Value) -> Option<Health> {
    let (group, _) = live["apiVersion"].as_str()?.split_once('/')?;
    let kind = live["kind"].as_str()?;
    Some(lookup(group, kind)?.of(live))
}

fn lookup(group: &str, kind: &str) -> Option<&'static Judge> {
    let named = GROUPS
        .binary_search_by_key(&group, |(name, _)| name)
        .ok()
        .and_then(|at| GROUPS[at].1.iter().find(|(name, _)| *name == kind || *name == ANY).map(|(_, judge)| judge));
    named.or_else(|| ENDINGS.iter().find(|(ending, _)| group.ends_with(ending)).map(|(_, judge)| judge))
}

#[cfg(test)]
mod tests;
