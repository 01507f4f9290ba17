//! Virtual machines: KubeVirt and its data importer.
//!
//! Sources: KubeVirt user guide, "VirtualMachineInstance status" and printableStatus; CDI, "DataVolume conditions" and
//! phases; Argo CD's bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, items, or, said, text, truth, waiting};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended, Unknown};

pub(super) const KUBEVIRT: Kinds =
    &[("VirtualMachine", Judge::Own(machine)), ("VirtualMachineInstance", Judge::Own(instance))];
pub(super) const CDI: Kinds = &[("DataVolume", Judge::Own(data_volume))];

/// A machine that is not Ready and not created is stopped, which is a wish, not a failure.
fn machine(live: &Value) -> Health {
    let mut verdict = Progressing;
    for found in items(live, "/status/conditions") {
        match (text(found, "/type"), text(found, "/status")) {
            ("Paused", "True") => return Health::new(Suspended, "Paused"),
            ("Ready", "True") => verdict = Healthy,
            ("Ready", _) if !truth(live, "/status/created") => verdict = Suspended,
            _ => {}
        }
    }
    let nothing = waiting(live).message;
    let name = match verdict {
        Healthy => "Running",
        Suspended => "Stopped",
        _ if truth(live, "/status/created") => "Starting",
        _ => &nothing,
    };
    Health::new(verdict, or(text(live, "/status/printableStatus"), name))
}

fn instance(live: &Value) -> Health {
    let phase = text(live, "/status/phase");
    match phase {
        "Failed" => return Health::new(Degraded, phase),
        "Pending" | "Scheduling" | "Scheduled" => return Health::new(Progressing, phase),
        "Succeeded" => return Health::new(Suspended, phase),
        "Unknown" => return Health::new(Unknown, phase),
        _ => {}
    }
    let mut health = Health::new(Progressing, or(phase, &waiting(live).message));
    for found in items(live, "/status/conditions") {
        match (text(found, "/type"), text(found, "/status")) {
            ("Ready", "True") => health = Health::new(Healthy, "Running"),
            ("Ready", _) => health = Health::new(Degraded, said(found)),
            ("Paused", "True") => return Health::new(Suspended, said(found)),
            _ => {}
        }
    }
    health
}

fn data_volume(live: &Value) -> Health {
    let phase = text(live, "/status/phase");
    let verdict = match phase {
        "Succeeded" => return Health::new(Healthy, phase),
        "Paused" => return Health::new(Suspended, phase),
        "Failed" | "Unknown" => Degraded,
        _ => Progressing,
    };
    let failed = items(live, "/status/conditions")
        .iter()
        .find(|found| found["type"] == "Running" && found["status"] == "False" && found["reason"] == "Error");
    match failed {
        Some(found) => Health::new(Degraded, said(found)),
        None => Health::new(verdict, or(phase, &waiting(live).message)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, listed, said};
    use super::*;

    #[test]
    fn kubevirt() {
        let machine = |created: bool, printable: &str, conditions: &[(&str, &str, &str, &str)]| json!({"status": {"created": created, "printableStatus": printable, "conditions": listed(conditions)}});
        check(
            "kubevirt.io/v1",
            "VirtualMachine",
            [
                (json!({}), Progressing, "not reported"),
                (machine(true, "", &[("Ready", "True", "", "")]), Healthy, "Running"),
                (
                    machine(true, "Paused", &[("Ready", "True", "", ""), ("Paused", "True", "", "")]),
                    Suspended,
                    "Paused",
                ),
                (machine(false, "", &[("Ready", "False", "VMINotExists", "")]), Suspended, "Stopped"),
                (machine(true, "", &[("Ready", "False", "GuestNotRunning", "")]), Progressing, "Starting"),
                (machine(true, "Migrating", &[("Ready", "True", "", "")]), Healthy, "Migrating"),
            ],
        );
        let phase = |phase: &str, conditions: &[(&str, &str, &str, &str)]| json!({"status": {"phase": phase, "conditions": listed(conditions)}});
        check(
            "kubevirt.io/v1",
            "VirtualMachineInstance",
            [
                (json!({}), Progressing, "not reported"),
                (phase("Failed", &[]), Degraded, "Failed"),
                (phase("Pending", &[]), Progressing, "Pending"),
                (phase("Scheduling", &[]), Progressing, "Scheduling"),
                (phase("Scheduled", &[]), Progressing, "Scheduled"),
                (phase("Succeeded", &[]), Suspended, "Succeeded"),
                (phase("Unknown", &[]), Unknown, "Unknown"),
                (phase("Running", &[]), Progressing, "Running"),
                (phase("Running", &[("Ready", "True", "", "")]), Healthy, "Running"),
                (phase("Running", &[("Ready", "False", "", "guest agent lost")]), Degraded, "guest agent"),
                (
                    phase(
                        "Running",
                        &[("Ready", "True", "", ""), ("Paused", "True", "PausedByUser", "paused by user")],
                    ),
                    Suspended,
                    "by user",
                ),
            ],
        );
    }

    #[test]
    fn data_volume() {
        let phase = |phase: &str| json!({"status": {"phase": phase}});
        check(
            "cdi.kubevirt.io/v1beta1",
            "DataVolume",
            [
                (json!({}), Progressing, "not reported"),
                (phase("Succeeded"), Healthy, "Succeeded"),
                (phase("Paused"), Suspended, "Paused"),
                (phase("Failed"), Degraded, "Failed"),
                (phase("Unknown"), Degraded, "Unknown"),
                (phase("ImportInProgress"), Progressing, "ImportInProgress"),
                (
                    said(&[("Running", "False", "Error", "unable to connect to http data source")]),
                    Degraded,
                    "unable to connect",
                ),
                (said(&[("Running", "False", "Completed", "")]), Progressing, ""),
            ],
        );
    }
}
