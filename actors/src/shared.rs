//! What the stages of one process share: handles, all cheap to clone. Knows nothing of what they do with them.
use tako_bus::Bus;

use crate::adapters::cluster::{Applications, Cluster};
use crate::comparing::Comparing;
use crate::healths::Healths;
use crate::ignored::IgnoreRules;
use crate::projects::Projects;
use crate::settings::Settings;
use crate::sources::Sources;

/// The handles.
#[derive(Clone)]
pub(crate) struct Shared {
    /// The bus.
    pub(crate) bus: Bus,
    /// The destination cluster.
    pub(crate) cluster: Cluster,
    /// The Applications of the control cluster.
    pub(crate) applications: Applications,
    /// The repositories and what they are rendered with.
    pub(crate) sources: Sources,
    /// How target and live state are compared.
    pub(crate) comparing: Comparing,
    /// Which differences do not count.
    pub(crate) rules: IgnoreRules,
    /// How health is judged.
    pub(crate) healths: Healths,
    /// The AppProjects.
    pub(crate) projects: Projects,
    /// The settings.
    pub(crate) settings: Settings,
    /// No other process is on this bus.
    pub(crate) alone: bool,
    /// The namespace of the control plane.
    pub(crate) control_namespace: String,
}
