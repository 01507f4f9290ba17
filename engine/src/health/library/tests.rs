//! What the tables of cases of all families share, and the lookup.
use serde_json::{Value, json};

use super::*;
use crate::app::HealthCode;

/// A status with conditions of (type, status, reason, message); empty words are left out.
pub(super) fn said(conditions: &[(&str, &str, &str, &str)]) -> Value {
    json!({"status": {"conditions": listed(conditions)}})
}

/// Conditions of (type, status, reason, message); empty words are left out.
pub(super) fn listed(conditions: &[(&str, &str, &str, &str)]) -> Value {
    conditions
        .iter()
        .map(|(kind, status, reason, message)| {
            let mut condition = json!({"type": kind, "status": status});
            for (key, words) in [("reason", reason), ("message", message)] {
                if !words.is_empty() {
                    condition[key] = json!(words);
                }
            }
            condition
        })
        .collect()
}

/// Judges each object (of generation 2 unless it says otherwise) and compares the verdict and a part of the message.
pub(super) fn check<const N: usize>(api_version: &str, kind: &str, cases: [(Value, HealthCode, &str); N]) {
    for (mut live, status, words) in cases {
        live["apiVersion"] = json!(api_version);
        live["kind"] = json!(kind);
        if live["metadata"]["generation"].is_null() {
            live["metadata"]["generation"] = json!(2);
        }
        let got = judge(&live).unwrap_or_else(|| panic!("{api_version} {kind} is not in the library"));
        assert_eq!(got.status, status, "{live}: {}", got.message);
        assert!(got.message.contains(words), "{live}: {:?} has no {words:?}", got.message);
        if words.is_empty() && status == HealthCode::Healthy {
            assert!(got.message.is_empty(), "{live}: {:?}", got.message);
        }
    }
}

#[test]
fn groups_are_sorted_and_kinds_are_named_once() {
    assert!(GROUPS.is_sorted_by(|(one, _), (other, _)| one < other));
    for (group, kinds) in GROUPS {
        for (at, (kind, _)) in kinds.iter().enumerate() {
            assert!(!kinds[..at].iter().any(|(other, _)| other == kind), "{group} names {kind} twice");
        }
    }
}

#[test]
fn kinds_are_found_by_name_by_any_and_by_ending() {
    let found = [
        ("cert-manager.io", "Certificate"),
        ("operator.victoriametrics.com", "VMAgent"),
        ("microgateway.airlock.com", "ContentSecurityPolicy"),
        ("sql.cnrm.cloud.google.com", "SQLInstance"),
        ("s3.services.k8s.aws", "Bucket"),
        ("ec2.aws.upbound.io", "VPC"),
        ("s3.aws.crossplane.io", "BucketPolicy"),
        ("pkg.crossplane.io", "Configuration"),
    ];
    for (group, kind) in found {
        assert!(lookup(group, kind).is_some(), "{group} {kind}");
    }
    let unknown = [
        ("cert-manager.io", "CertificateRequest"),
        ("argoproj.io", "Application"),
        ("argoproj.io", "Workflow"),
        ("batch", "Job"),
        ("apps", "Deployment"),
        ("crossplane.io", "Thing"),
        ("example.com", "Widget"),
    ];
    for (group, kind) in unknown {
        assert!(lookup(group, kind).is_none(), "{group} {kind}");
    }
    assert_eq!(judge(&json!({"apiVersion": "v1", "kind": "Pod"})), None);
    assert_eq!(judge(&json!({"kind": "Certificate"})), None);
}

/// The groups and kinds for which Argo CD bundles a health check; `any.` stands for a group wildcard, `*` for any kind.
const BUNDLED: &[(&str, &str)] = &[
    ("any.cnrm.cloud.google.com", "*"),
    ("any.crossplane.io", "*"),
    ("any.services.k8s.aws", "*"),
    ("any.upbound.io", "*"),
    ("acid.zalan.do", "postgresql"),
    ("addons.cluster.x-k8s.io", "ClusterResourceSet"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apps.3scale.net", "APIManager"),
    ("apps.kruise.io", "AdvancedCronJob BroadcastJob CloneSet DaemonSet StatefulSet"),
    ("apps.openshift.io", "DeploymentConfig"),
    ("argoproj.io", "AnalysisRun ApplicationSet CronWorkflow EventBus Experiment Rollout"),
    (
        "astra.netapp.io",
        "AppVault Application Backup ExecHook ExecHooksRun ResourceBackup ResticVolumeBackup Schedule Snapshot",
    ),
    ("batch", "CronJob"),
    ("beat.k8s.elastic.co", "Beat"),
    ("bitnami.com", "SealedSecret"),
    ("camel.apache.org", "Integration"),
    (
        "capabilities.3scale.net",
        "ActiveDoc Application ApplicationAuth Backend CustomPolicyDefinition DeveloperAccount DeveloperUser OpenAPI Product ProxyConfigPromote Tenant",
    ),
    ("cassandra.rook.io", "Cluster"),
    ("cdi.kubevirt.io", "DataVolume"),
    ("ceph.rook.io", "CephCluster CephObjectStore"),
    ("cert-manager.io", "Certificate ClusterIssuer Issuer"),
    ("certmanager.k8s.io", "Certificate Issuer"),
    ("clickhouse-keeper.altinity.com", "ClickHouseKeeperInstallation"),
    ("clickhouse.altinity.com", "ClickHouseInstallation"),
    ("cloudfront.aws.crossplane.io", "Distribution"),
    ("cluster.x-k8s.io", "Cluster Machine MachineDeployment MachineHealthCheck MachinePool"),
    ("controlplane.cluster.x-k8s.io", "AWSManagedControlPlane"),
    ("coralogix.com", "Alert RecordingRuleGroupSet"),
    ("core.gardener.cloud", "Shoot"),
    ("core.humio.com", "HumioAction HumioAlert HumioCluster HumioIngestToken HumioParser HumioRepository HumioView"),
    ("core.spinkube.dev", "SpinApp"),
    ("datadoghq.com", "DatadogMetric"),
    ("db.atlasgo.io", "AtlasMigration AtlasSchema"),
    ("elasticsearch.k8s.elastic.co", "Elasticsearch"),
    ("external-secrets.io", "ClusterExternalSecret ClusterSecretStore ExternalSecret PushSecret SecretStore"),
    ("flagger.app", "Canary"),
    ("flink.apache.org", "FlinkDeployment"),
    ("game.kruise.io", "GameServer GameServerSet"),
    ("gateway.networking.k8s.io", "BackendTLSPolicy GRPCRoute Gateway GatewayClass HTTPRoute"),
    ("gateway.solo.io", "Gateway MatchableHttpGateway RouteOption RouteTable VirtualHostOption VirtualService"),
    ("gloo.solo.io", "Proxy Settings Upstream UpstreamGroup"),
    ("grafana-org-operator.kubitus-project.gitlab.io", "*"),
    ("grafana.integreatly.org", "Grafana GrafanaDashboard GrafanaDatasource GrafanaFolder"),
    ("helm.toolkit.fluxcd.io", "HelmRelease"),
    ("iam.aws.crossplane.io", "Policy Role RolePolicyAttachment"),
    ("iammanager.keikoproj.io", "Iamrole"),
    ("image.toolkit.fluxcd.io", "ImagePolicy ImageRepository ImageUpdateAutomation"),
    ("install.istio.io", "IstioOperator"),
    ("jaegertracing.io", "Jaeger"),
    ("k8s.keycloak.org", "Keycloak"),
    ("k8s.mariadb.com", "Backup Database Grant MariaDB SqlJob User"),
    ("kafka.banzaicloud.io", "KafkaCluster"),
    ("kafka.strimzi.io", "Kafka KafkaBridge KafkaConnect KafkaConnector KafkaTopic KafkaUser"),
    ("karpenter.k8s.aws", "EC2NodeClass"),
    ("karpenter.sh", "NodeClaim NodePool"),
    ("keda.sh", "ScaledJob ScaledObject"),
    ("kiali.io", "Kiali"),
    ("kubernetes-client.io", "ExternalSecret"),
    ("kubevirt.io", "VirtualMachine VirtualMachineInstance"),
    ("kustomize.toolkit.fluxcd.io", "Kustomization"),
    ("kyverno.io", "Policy"),
    ("lifecycle.keptn.sh", "KeptnAppVersion KeptnEvaluation KeptnTask KeptnWorkloadInstance KeptnWorkloadVersion"),
    ("logstash.k8s.elastic.co", "Logstash"),
    ("mariadb.mmontes.io", "MariaDB"),
    ("metrics.keptn.sh", "Analysis KeptnMetric"),
    ("microgateway.airlock.com", "*"),
    ("minio.min.io", "Tenant"),
    ("monitoring.coreos.com", "Prometheus"),
    ("networking.gke.io", "ManagedCertificate"),
    ("nmstate.io", "NodeNetworkConfigurationPolicy"),
    ("notification.toolkit.fluxcd.io", "Receiver"),
    ("numaflow.numaproj.io", "InterStepBufferService MonoVertex Pipeline Vertex"),
    ("numaplane.numaproj.io", "ISBServiceRollout MonoVertexRollout NumaflowControllerRollout PipelineRollout"),
    ("objectbucket.io", "ObjectBucketClaim"),
    ("ocs.openshift.io", "StorageCluster"),
    ("onepassword.com", "OnePasswordItem"),
    ("openfaas.com", "Function"),
    ("opentelemetry.io", "OpenTelemetryCollector"),
    ("operator.knative.dev", "KnativeEventing KnativeServing"),
    ("operator.openshift.io", "IngressController"),
    ("operator.victoriametrics.com", "*"),
    ("operators.coreos.com", "Subscription"),
    ("pkg.crossplane.io", "Provider"),
    ("platform.confluent.io", "Connect Connector ControlCenter Kafka KsqlDB SchemaRegistry Zookeeper"),
    ("policy", "PodDisruptionBudget"),
    ("policy.open-cluster-management.io", "CertificatePolicy ConfigurationPolicy OperatorPolicy Policy"),
    ("postgresql.cnpg.io", "Cluster"),
    ("proclaim.dogmatiq.io", "DNSSDServiceInstance"),
    ("projectcontour.io", "ExtensionService HTTPProxy"),
    (
        "promoter.argoproj.io",
        "ArgoCDCommitStatus ChangeTransferPolicy ClusterScmProvider CommitStatus GitCommitStatus GitRepository PromotionStrategy PullRequest ScmProvider TimedCommitStatus WebRequestCommitStatus",
    ),
    ("psmdb.percona.com", "PerconaServerMongoDB"),
    ("pulumi.com", "Stack"),
    ("pxc.percona.com", "PerconaXtraDBCluster"),
    ("rabbitmq.com", "Binding Exchange Permission Policy Queue RabbitmqCluster Shovel User Vhost"),
    ("rds.aws.crossplane.io", "DBCluster DBInstance"),
    ("rollouts.kruise.io", "Rollout"),
    ("route.openshift.io", "Route"),
    ("route53.aws.crossplane.io", "ResourceRecordSet"),
    ("s3.aws.crossplane.io", "Bucket"),
    ("services.cloud.sap.com", "ServiceBinding ServiceInstance"),
    ("serving.knative.dev", "Service"),
    ("serving.kserve.io", "InferenceService"),
    ("snapshot.storage.k8s.io", "VolumeSnapshot VolumeSnapshotContent"),
    ("solr.apache.org", "SolrCloud"),
    ("source.toolkit.fluxcd.io", "Bucket GitRepository HelmChart HelmRepository OCIRepository"),
    ("sparkoperator.k8s.io", "SparkApplication"),
    ("spot.io", "SpotDeployment"),
    ("stacks.crossplane.io", "ClusterStackInstall"),
    ("tower.ansible.com", "AnsibleJob"),
    ("trident.netapp.io", "TridentBackendConfig TridentOrchestrator"),
    ("work.karmada.io", "ClusterResourceBinding ResourceBinding"),
    ("zookeeper.pravega.io", "ZookeeperCluster"),
];

#[test]
fn every_kind_that_argo_cd_judges_is_judged() {
    for (group, kinds) in BUNDLED {
        for kind in kinds.split(' ') {
            let kind = if kind == "*" { "Widget" } else { kind };
            assert!(lookup(group, kind).is_some(), "{group} {kind}");
        }
    }
}
