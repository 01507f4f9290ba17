//! The actions that Argo CD brings along, as edits instead of scripts (operator manual, "Built-in Actions"). Each kind
//! says what is on offer for an object in its present state, and what taking the offer would edit.
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{ActionInfo, ActionParam};
use crate::resource::Manifest;

const PAUSE: &str = "fa fa-fw fa-pause";
const PLAY: &str = "fa fa-fw fa-play";
const PLUS: &str = "fa fa-fw fa-plus";
const STOP: &str = "fa fa-fw fa-stop";

/// Of what object and with what it is asked.
pub(super) struct Ask<'a> {
    pub(super) object: &'a Manifest,
    pub(super) params: &'a BTreeMap<String, String>,
    pub(super) now: Duration,
}

/// One edit of the object, or a new one.
pub(super) enum Edit {
    Put(Vec<&'static str>, Value),
    Drop(Vec<&'static str>),
    Create(Value),
}

/// An action and what it would do.
pub(super) struct Offer {
    pub(super) info: ActionInfo,
    pub(super) edits: Result<Vec<Edit>, String>,
}

fn offer(name: &str, edits: Vec<Edit>) -> Offer {
    Offer { info: ActionInfo { name: name.to_owned(), ..ActionInfo::default() }, edits: Ok(edits) }
}

impl Offer {
    fn disabled_if(mut self, disabled: bool) -> Self {
        self.info.disabled = disabled;
        self
    }

    fn icon(mut self, class: &str) -> Self {
        class.clone_into(&mut self.info.icon_class);
        self
    }

    fn shown_as(mut self, name: &str) -> Self {
        name.clone_into(&mut self.info.display_name);
        self
    }

    fn asks_for(mut self, name: &str, default: String) -> Self {
        self.info.params.push(ActionParam { name: name.to_owned(), default, ..ActionParam::default() });
        self
    }
}

impl Ask<'_> {
    fn at(&self, pointer: &str) -> Option<&Value> {
        self.object.0.pointer(pointer).filter(|value| !value.is_null())
    }

    fn text(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn is_true(&self, pointer: &str) -> bool {
        self.at(pointer) == Some(&Value::Bool(true))
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.object.0.get("metadata")?.get("labels")?.get(name)?.as_str()
    }

    fn format(&self, format: &str) -> String {
        let seconds = i64::try_from(self.now.as_secs()).unwrap_or_default();
        let now = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        now.strftime(format).to_string()
    }

    /// As Kubernetes writes times.
    fn now(&self) -> Value {
        json!(self.format("%Y-%m-%dT%H:%M:%SZ"))
    }

    /// A number of replicas that the user gives.
    fn replicas(&self) -> Result<u32, String> {
        let given = self.params.get("replicas").ok_or("replicas parameter is required")?;
        given.trim().parse().map_err(|_| format!("invalid number: {given} (must be >= 0)"))
    }

    fn owner(&self) -> Value {
        json!([{"apiVersion": self.object.api_version(), "kind": self.object.kind(), "name": self.object.name(), "uid": self.text("/metadata/uid")}])
    }

    /// `<name>-<yyyymmddhhmm>`, short enough to be a label, which the name of a Job becomes.
    fn stamped_name(&self) -> String {
        const BASE_MAX: usize = 50;
        let name = self.object.name();
        let mut end = name.len().min(BASE_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}-{}", name[..end].trim_end_matches(['-', '.']), self.format("%Y%m%d%H%M"))
    }
}

fn annotate(name: &'static str, value: Value) -> Edit {
    Edit::Put(vec!["metadata", "annotations", name], value)
}

fn label(name: &'static str, value: &str) -> Edit {
    Edit::Put(vec!["metadata", "labels", name], json!(value))
}

fn set(path: &[&'static str], value: impl Into<Value>) -> Edit {
    Edit::Put(path.to_vec(), value.into())
}

/// What is on offer for the object.
pub(super) fn offers(ask: &Ask<'_>) -> Vec<Offer> {
    match (ask.object.group(), ask.object.kind()) {
        ("apps", "Deployment") => {
            let paused = ask.is_true("/spec/paused");
            vec![
                restart(ask),
                offer("pause", vec![set(&["spec", "paused"], true)]).disabled_if(paused),
                offer("resume", vec![set(&["spec", "paused"], false)]).disabled_if(!paused),
                scale(ask),
            ]
        }
        ("apps", "StatefulSet") => vec![restart(ask), scale(ask)],
        ("apps", "DaemonSet") => vec![restart(ask)],
        ("batch", "CronJob") => vec![create_job(ask), suspend_or_resume(ask)],
        ("batch", "Job") => job(ask),
        ("argoproj.io", "Rollout") => rollout(ask),
        ("argoproj.io", "AnalysisRun") => {
            let ended = matches!(ask.text("/status/phase"), "Successful" | "Failed" | "Error" | "Inconclusive");
            let terminate = offer("terminate", vec![set(&["spec", "terminate"], true)]);
            vec![terminate.disabled_if(ended || ask.is_true("/spec/terminate"))]
        }
        ("argoproj.io", "Application") => vec![toggle_auto_sync(ask)],
        ("argoproj.io", "CronWorkflow") => vec![workflow_of_cron(ask)],
        ("argoproj.io", "WorkflowTemplate") => vec![workflow_of_template(ask)],
        ("core.strimzi.io", "StrimziPodSet") => {
            const ROLLING: &str = "strimzi.io/manual-rolling-update";
            let rolling = ask.object.annotation(ROLLING) == Some("true");
            vec![offer("rolling-update", vec![annotate(ROLLING, json!("true"))]).disabled_if(rolling)]
        }
        ("external-secrets.io", "ExternalSecret") => vec![force_sync(ask, "refresh")],
        ("external-secrets.io", "PushSecret") => vec![force_sync(ask, "push")],
        ("helm.toolkit.fluxcd.io", "HelmRelease")
        | ("kustomize.toolkit.fluxcd.io", "Kustomization")
        | ("image.toolkit.fluxcd.io", "ImageRepository" | "ImageUpdateAutomation")
        | ("notification.toolkit.fluxcd.io", "Receiver")
        | ("source.toolkit.fluxcd.io", "Bucket" | "GitRepository" | "HelmChart" | "HelmRepository" | "OCIRepository") => {
            flux(ask, true)
        }
        ("notification.toolkit.fluxcd.io", "Alert" | "Provider") | ("k8s.mariadb.com", "MariaDB") => flux(ask, false),
        ("keda.sh", "ScaledObject") => scaled(ask, true),
        ("keda.sh", "ScaledJob") => scaled(ask, false),
        ("postgresql.cnpg.io", "Cluster") => postgres(ask),
        ("psmdb.percona.com", "PerconaServerMongoDB") => {
            let paused = ask.is_true("/spec/pause");
            vec![
                offer("pause", vec![set(&["spec", "pause"], true)]).disabled_if(paused),
                offer("unpause", vec![set(&["spec", "pause"], false)]).disabled_if(!paused),
            ]
        }
        ("promoter.argoproj.io", "PullRequest") => vec![offer("merge", vec![set(&["spec", "state"], "merged")])],
        ("numaflow.numaproj.io", _) => numaflow(ask),
        ("numaplane.numaproj.io", _) => numaplane(ask),
        _ => Vec::new(),
    }
}

fn restart(ask: &Ask<'_>) -> Offer {
    const PATH: [&str; 5] = ["spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"];
    offer("restart", vec![set(&PATH, ask.now())])
}

fn scale(ask: &Ask<'_>) -> Offer {
    let now = ask.at("/spec/replicas").map_or_else(|| "1".to_owned(), Value::to_string);
    let mut scale = offer("scale", Vec::new()).asks_for("replicas", now);
    scale.edits = ask.replicas().map(|replicas| vec![set(&["spec", "replicas"], replicas)]);
    scale
}

fn suspend_or_resume(ask: &Ask<'_>) -> Offer {
    match ask.is_true("/spec/suspend") {
        true => offer("resume", vec![set(&["spec", "suspend"], false)]).icon(PLAY),
        false => offer("suspend", vec![set(&["spec", "suspend"], true)]).icon(PAUSE),
    }
}

/// As `kubectl create job --from` does.
fn create_job(ask: &Ask<'_>) -> Offer {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": {}});
    for field in ["labels", "annotations"] {
        if let Some(given) = ask.at(&format!("/spec/jobTemplate/metadata/{field}")).filter(|given| given.is_object()) {
            job["metadata"][field] = given.clone();
        }
    }
    job["metadata"]["name"] = json!(ask.stamped_name());
    job["metadata"]["ownerReferences"] = ask.owner();
    job["spec"] = ask.at("/spec/jobTemplate/spec").cloned().unwrap_or_default();
    offer("create-job", vec![Edit::Create(job)]).icon(PLUS).shown_as("Create Job")
}

fn job(ask: &Ask<'_>) -> Vec<Offer> {
    const ENDS: [&str; 4] = ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"];
    let conditions = ask.at("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let ended = conditions
        .iter()
        .any(|found| found["status"] == "True" && found["type"].as_str().is_some_and(|kind| ENDS.contains(&kind)));
    if ended {
        return Vec::new();
    }
    let mut offers = vec![suspend_or_resume(ask)];
    if ask.at("/status").is_some() {
        let mut conditions = conditions;
        conditions.push(json!({
            "type": "FailureTarget", "status": "True", "reason": "ManuallyTerminated",
            "message": "Job was terminated by a resource action", "lastTransitionTime": ask.now(),
        }));
        offers.push(offer("terminate", vec![set(&["status", "conditions"], conditions)]).icon(STOP));
    }
    offers
}

fn rollout(ask: &Ask<'_>) -> Vec<Offer> {
    let waits = ask.at("/status/pauseConditions").and_then(Value::as_array).map(|all| !all.is_empty());
    let paused = waits.unwrap_or_else(|| ask.is_true("/spec/paused"));
    let promoted = ask.at("/status/currentPodHash") == ask.at("/status/stableRS");
    let aborted = ask.is_true("/status/abort");
    let steps = ask.at("/spec/strategy/canary/steps").and_then(Value::as_array).map(Vec::len);
    let step = ask.at("/status/currentStepIndex").and_then(Value::as_u64).unwrap_or_default();
    let next = steps.filter(|steps| usize::try_from(step).is_ok_and(|step| step < *steps));
    let mut skip = vec![set(&["status", "currentStepIndex"], step + 1)];
    if waits == Some(true) {
        skip.push(Edit::Drop(vec!["status", "pauseConditions"]));
    }
    // Before 0.10 the observed generation was a hash, and the full promotion of a canary a jump to its last step.
    let observed = ask.at("/status/observedGeneration").and_then(|at| at.as_str()?.parse::<i64>().ok());
    let generation = ask.at("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
    let old = observed.is_none_or(|observed| observed > generation);
    let promote = match (old, steps) {
        (false, _) => vec![set(&["status", "promoteFull"], true)],
        (true, Some(steps)) => {
            vec![Edit::Drop(vec!["status", "abort"]), set(&["status", "currentStepIndex"], steps)]
        }
        (true, None) => vec![Edit::Drop(vec!["status", "abort"])],
    };
    let impossible = old && ask.at("/spec/strategy/blueGreen").is_some();
    vec![
        offer("restart", vec![set(&["spec", "restartAt"], ask.now())]),
        offer("pause", vec![set(&["spec", "paused"], true)]).disabled_if(promoted || ask.is_true("/spec/paused")),
        offer("resume", vec![set(&["spec", "paused"], false), Edit::Drop(vec!["status", "pauseConditions"])])
            .disabled_if(!paused),
        offer("abort", vec![set(&["status", "abort"], true)]).disabled_if(promoted || aborted),
        offer("retry", vec![set(&["status", "abort"], false)]).disabled_if(promoted || !aborted),
        offer("promote-full", promote).disabled_if(promoted || impossible),
        offer("skip-current-step", if next.is_some() { skip } else { Vec::new() }).disabled_if(next.is_none()),
    ]
}

fn toggle_auto_sync(ask: &Ask<'_>) -> Offer {
    let on = ask.at("/spec/syncPolicy/automated").is_some_and(|automated| automated["enabled"] != false);
    let toggle = offer("toggle-auto-sync", vec![set(&["spec", "syncPolicy", "automated", "enabled"], !on)]);
    toggle.shown_as(if on { "Disable Auto-Sync" } else { "Enable Auto-Sync" })
}

fn workflow_of_cron(ask: &Ask<'_>) -> Offer {
    const INSTANCE: &str = "workflows.argoproj.io/controller-instanceid";
    let mut workflow = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {}});
    for field in ["labels", "annotations", "finalizers"] {
        let given = ask.at(&format!("/spec/workflowMetadata/{field}"));
        if let Some(given) = given.filter(|given| given.is_object() != (field == "finalizers")) {
            workflow["metadata"][field] = given.clone();
        }
    }
    let metadata = &mut workflow["metadata"];
    metadata["name"] = json!(ask.stamped_name());
    metadata["labels"]["workflows.argoproj.io/cron-workflow"] = json!(ask.object.name());
    if let Some(instance) = ask.label(INSTANCE) {
        metadata["labels"][INSTANCE] = json!(instance);
    }
    metadata["annotations"]["workflows.argoproj.io/scheduled-time"] = ask.now();
    metadata["ownerReferences"] = ask.owner();
    workflow["spec"] = ask.at("/spec/workflowSpec").cloned().unwrap_or_default();
    offer("create-workflow", vec![Edit::Create(workflow)]).icon(PLUS).shown_as("Create Workflow")
}

fn workflow_of_template(ask: &Ask<'_>) -> Offer {
    let name = ask.object.name();
    let workflow = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
        "metadata": {
            "name": ask.stamped_name(),
            "labels": {"workflows.argoproj.io/workflow-template": name},
            "ownerReferences": ask.owner(),
        },
        "spec": {"workflowTemplateRef": {"name": name}},
    });
    offer("create-workflow", vec![Edit::Create(workflow)]).icon(PLUS).shown_as("Create Workflow")
}

fn force_sync(ask: &Ask<'_>, name: &str) -> Offer {
    let never = name == "refresh" && ask.text("/spec/refreshInterval") == "0s";
    offer(name, vec![annotate("force-sync", ask.now())]).disabled_if(never)
}

/// `spec.suspend`, and Flux's request for a reconciliation now.
fn flux(ask: &Ask<'_>, reconciles: bool) -> Vec<Offer> {
    let suspended = ask.is_true("/spec/suspend");
    let mut offers = vec![
        offer("suspend", vec![set(&["spec", "suspend"], true)]).disabled_if(suspended),
        offer("resume", vec![set(&["spec", "suspend"], false)]).disabled_if(!suspended),
    ];
    if reconciles {
        let request = annotate("reconcile.fluxcd.io/requestedAt", ask.now());
        offers.push(offer("reconcile", vec![request]).disabled_if(suspended));
    }
    offers
}

fn scaled(ask: &Ask<'_>, replicas: bool) -> Vec<Offer> {
    const PAUSED: &str = "autoscaling.keda.sh/paused";
    const REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
    const PATH: [&str; 2] = ["metadata", "annotations"];
    let paused = ask.object.annotation(PAUSED) == Some("true");
    let held = ask.object.annotation(REPLICAS).filter(|_| replicas);
    let drop = |name| Edit::Drop([&PATH[..], &[name]].concat());
    let stopped = paused || held.is_some();
    let mut offers = vec![
        offer("pause", vec![annotate(PAUSED, json!("true"))]).disabled_if(stopped).icon("fa fa-fw fa-pause-circle"),
        offer("resume", vec![drop(PAUSED), drop(REPLICAS)]).disabled_if(!stopped).icon("fa fa-fw fa-play-circle"),
    ];
    if replicas {
        let mut at = offer("paused-replicas", Vec::new())
            .disabled_if(paused)
            .icon("fa fa-fw fa-pause-circle")
            .asks_for("replicas", held.unwrap_or("0").to_owned());
        at.edits = ask.replicas().map(|replicas| vec![annotate(REPLICAS, json!(replicas.to_string()))]);
        offers.push(at);
    }
    offers
}

fn postgres(ask: &Ask<'_>) -> Vec<Offer> {
    const LOOP: &str = "cnpg.io/reconciliationLoop";
    let healthy: Vec<&str> = ask
        .at("/status/instancesStatus/healthy")
        .and_then(Value::as_array)
        .map(|all| all.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut promote = offer("promote", Vec::new())
        .icon("fa fa-fw fa-angles-up")
        .shown_as("Promote Replica to Primary")
        .disabled_if(healthy.len() < 2)
        .asks_for("instance", "any".to_owned());
    promote.edits = new_primary(ask, &healthy).map(|instance| {
        vec![set(&["status", "targetPrimary"], instance), set(&["status", "targetPrimaryTimestamp"], ask.now())]
    });
    let restarted = annotate("kubectl.kubernetes.io/restartedAt", ask.now());
    let reloaded = annotate("cnpg.io/reloadedAt", ask.now());
    let suspended = ask.object.annotation(LOOP) == Some("disabled");
    vec![
        offer("restart", vec![restarted]).icon("fa fa-fw fa-recycle").shown_as("Rollout restart Cluster"),
        offer("reload", vec![reloaded]).icon("fa fa-fw fa-rotate-right").shown_as("Reload all Configuration"),
        promote,
        if suspended {
            let edits = vec![Edit::Drop(vec!["metadata", "annotations", LOOP])];
            offer("resume", edits).icon(PLAY).shown_as("Resume Reconciliation")
        } else {
            offer("suspend", vec![annotate(LOOP, json!("disabled"))]).icon(PAUSE).shown_as("Suspend Reconciliation")
        },
    ]
}

/// The healthy instance that is asked for, or the one after the primary.
fn new_primary(ask: &Ask<'_>, healthy: &[&str]) -> Result<String, String> {
    let primary = ask.text("/status/currentPrimary");
    match ask.params.get("instance").map_or("any", String::as_str) {
        "any" | "" => {
            let at = healthy.iter().position(|instance| *instance == primary);
            let next = at.map(|at| healthy[(at + 1) % healthy.len()]).filter(|next| *next != primary);
            next.map(str::to_owned).ok_or_else(|| "there is no healthy replica to promote".to_owned())
        }
        asked if healthy.contains(&asked) => Ok(asked.to_owned()),
        asked => Err(format!("instance: {asked} is none of the healthy instances {}", healthy.join(", "))),
    }
}

const NUMA_PAUSE: &str = "fa-solid fa-fw fa-pause";
const NUMA_PLAY: &str = "fa-solid fa-fw fa-play";

/// `pause` and the two ways back, with what each edits.
fn numa_pauses(paused: bool, (gradual, fast): (bool, bool), edits: [Vec<Edit>; 3]) -> Vec<Offer> {
    let [pause, slowly, quickly] = edits;
    vec![
        offer("pause", pause).icon(NUMA_PAUSE).disabled_if(paused),
        offer("unpause-gradual", slowly).icon(NUMA_PLAY).shown_as("Unpause (gradual)").disabled_if(!paused || !gradual),
        offer("unpause-fast", quickly).icon(NUMA_PLAY).shown_as("Unpause (fast)").disabled_if(!paused || !fast),
    ]
}

fn numaflow(ask: &Ask<'_>) -> Vec<Offer> {
    const ALLOWED: &str = "/spec/metadata/annotations/numaflow.numaproj.io~1allowed-resume-strategies";
    const STRATEGY: &str = "numaflow.numaproj.io/resume-strategy";
    const PHASE: [&str; 3] = ["spec", "lifecycle", "desiredPhase"];
    const FORCE: &str = "numaplane.numaproj.io/force-promote";
    let kind = ask.object.kind();
    if !matches!(kind, "Pipeline" | "MonoVertex" | "InterStepBufferService") {
        return Vec::new();
    }
    let paused = ask.text("/spec/lifecycle/desiredPhase") == "Paused";
    let ways = match ask.text(ALLOWED) {
        "fast" => (false, true),
        "slow, fast" => (true, true),
        _ => (true, false),
    };
    let phase = |phase: &str| set(&PHASE, phase);
    let mut offers = match kind {
        "Pipeline" => numa_pauses(
            paused,
            ways,
            [
                vec![phase("Paused")],
                vec![phase("Running"), label(STRATEGY, "slow")],
                vec![phase("Running"), label(STRATEGY, "fast")],
            ],
        ),
        "MonoVertex" => numa_pauses(
            paused,
            ways,
            [
                vec![phase("Paused")],
                vec![phase("Running"), Edit::Drop(vec!["spec", "replicas"])],
                vec![phase("Running")],
            ],
        ),
        _ => Vec::new(),
    };
    let upgrading = match ask.label("numaplane.numaproj.io/upgrade-state") {
        Some("in-progress") => true,
        Some("trial") => kind == "MonoVertex",
        _ => false,
    };
    let force = offer("force-promote", vec![label(FORCE, "true")]).icon("fa-solid fa-fw fa-forward");
    offers.push(force.shown_as("Force Promote").disabled_if(!upgrading || ask.label(FORCE) == Some("true")));
    if kind == "Pipeline" {
        let mark = annotate("numaplane.numaproj.io/marked-for-deletion", json!("true"));
        offers.push(offer("delete", vec![mark]));
    }
    offers
}

fn numaplane(ask: &Ask<'_>) -> Vec<Offer> {
    const LOSS: &str = "numaplane.numaproj.io/allow-data-loss";
    const FAST: [&str; 4] = ["spec", "strategy", "pauseResume", "fastResume"];
    let (inner, pipeline) = match ask.object.kind() {
        "PipelineRollout" => ("pipeline", true),
        "MonoVertexRollout" => ("monoVertex", false),
        _ => return Vec::new(),
    };
    let phase = |phase: &str| Edit::Put(vec!["spec", inner, "spec", "lifecycle", "desiredPhase"], json!(phase));
    let strategy = |fast: bool| match pipeline {
        true => Edit::Put(
            vec!["spec", inner, "spec", "metadata", "annotations", "numaflow.numaproj.io/resume-strategy"],
            json!(if fast { "fast" } else { "slow" }),
        ),
        false => set(&FAST, fast),
    };
    let paused = ask.text(&format!("/spec/{inner}/spec/lifecycle/desiredPhase")) == "Paused";
    let mut offers = numa_pauses(
        paused,
        (true, true),
        [vec![phase("Paused")], vec![phase("Running"), strategy(false)], vec![phase("Running"), strategy(true)]],
    );
    if pipeline {
        let draining = ask.text("/status/upgradeInProgress") == "PipelinePauseAndDrain";
        let allowed = ask.object.annotation(LOSS) == Some("true");
        let path = vec!["metadata", "annotations", LOSS];
        offers.push(offer("allow-data-loss", vec![annotate(LOSS, json!("true"))]).disabled_if(!draining));
        offers.push(offer("disallow-data-loss", vec![Edit::Drop(path)]).disabled_if(!allowed));
    }
    offers
}
