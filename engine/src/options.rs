//! Sync options: `Name=value`, of the Application or of one object by annotation (Argo CD, user guide, "Sync
//! Options"). Pure.
use serde_json::Value;

use crate::resource::Manifest;

/// The annotation.
pub const SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";

fn find<'a>(mut given: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    given.find_map(|one| one.trim().split_once('=').filter(|(known, _)| *known == name).map(|(_, value)| value))
}

/// The value that holds for one object: its own before the Application's.
pub fn of_object<'a>(object: &'a Manifest, application: &'a [String], name: &str) -> Option<&'a str> {
    let own = object.annotation(SYNC_OPTIONS).unwrap_or_default();
    find(own.split(','), name).or_else(|| of_application(application, name))
}

/// The Application's value.
pub fn of_application<'a>(options: &'a [String], name: &str) -> Option<&'a str> {
    find(options.iter().map(String::as_str), name)
}

/// What becomes of the dependents of a deleted object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They go first.
    #[default]
    Foreground,
    /// They go after.
    Background,
    /// They stay.
    Orphan,
}

/// `PrunePropagationPolicy`.
pub fn propagation(options: &[String]) -> Propagation {
    match of_application(options, "PrunePropagationPolicy") {
        Some("background") => Propagation::Background,
        Some("orphan") => Propagation::Orphan,
        _ => Propagation::Foreground,
    }
}

/// How one object is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writing {
    /// Put as a whole instead of applied.
    pub replace: bool,
    /// Applied by the API server.
    pub server_side: bool,
    /// What a client applied before is handed over to the API server first.
    pub migrates: bool,
    /// Deleted and made anew where it cannot be changed.
    pub force: bool,
    /// Unknown fields are let through.
    pub lenient: bool,
    /// Not tried before while its kind is missing.
    pub kind_may_be_missing: bool,
}

impl Writing {
    /// From the options that hold for the object.
    pub fn of(object: &Manifest, application: &[String]) -> Self {
        let is = |name: &str, value: &str| of_object(object, application, name) == Some(value);
        Self {
            replace: is("Replace", "true"),
            server_side: is("ServerSideApply", "true"),
            migrates: !is("ClientSideApplyMigration", "false"),
            force: is("Force", "true"),
            lenient: is("Validate", "false"),
            kind_may_be_missing: is("SkipDryRunOnMissingResource", "true"),
        }
    }
}

/// Whether the deletion of an object is allowed: at once, after approval, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// At once.
    Free,
    /// When the Application's `deletion-approved` is later than the request.
    Confirmed,
    /// Never.
    Never,
}

/// `Prune` or `Delete` as it holds for a live object.
pub fn deletion(live: &Manifest, application: &[String], option: &str) -> Deletion {
    match of_object(live, application, option) {
        Some("false") => Deletion::Never,
        Some("confirm") => Deletion::Confirmed,
        _ => Deletion::Free,
    }
}

/// It says that a person is to be asked before it is deleted, by pruning or with its Application.
pub fn asks_before_deletion(object: &Manifest) -> bool {
    ["Prune", "Delete"].into_iter().any(|name| of_object(object, &[], name) == Some("confirm"))
}

/// What the deletion of the Application does with an object: CRDs and what Helm keeps stay.
pub fn deletion_with_application(live: &Value, application: &[String]) -> Deletion {
    let object = Manifest(live.clone());
    let keep =
        object.kind() == "CustomResourceDefinition" || object.annotation("helm.sh/resource-policy") == Some("keep");
    if keep { Deletion::Never } else { deletion(&object, application, "Delete") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, own: &str) -> Manifest {
        Manifest(json!({"kind": kind, "metadata": {"annotations": {SYNC_OPTIONS: own}}}))
    }

    #[test]
    fn the_object_is_heard_before_the_application() {
        let application = ["Replace=true".to_owned(), "Prune=false".to_owned()];
        let cases =
            [("", Some("true")), ("Replace=false", Some("false")), ("Validate=false, Replace=maybe", Some("maybe"))];
        for (own, want) in cases {
            assert_eq!(of_object(&object("A", own), &application, "Replace"), want, "{own}");
        }
        assert_eq!(deletion(&object("A", ""), &application, "Prune"), Deletion::Never);
        assert_eq!(deletion(&object("A", "Prune=confirm"), &application, "Prune"), Deletion::Confirmed);
        assert_eq!(deletion(&object("A", "Prune=true"), &application, "Prune"), Deletion::Free);
        let writing = Writing::of(&object("A", "Validate=false,SkipDryRunOnMissingResource=true"), &application);
        let want =
            Writing { replace: true, migrates: true, lenient: true, kind_may_be_missing: true, ..Writing::default() };
        assert_eq!(writing, want);
        let writing = Writing::of(&object("A", "ServerSideApply=true,ClientSideApplyMigration=false"), &[]);
        assert_eq!(writing, Writing { server_side: true, ..Writing::default() });
    }

    #[test]
    fn deletion_keeps_what_asks_to_stay() {
        let of = |live: &Manifest, application: &[String]| deletion_with_application(&live.0, application);
        assert_eq!(of(&object("CustomResourceDefinition", "Delete=true"), &[]), Deletion::Never);
        assert_eq!(of(&object("A", "Delete=false"), &[]), Deletion::Never);
        assert_eq!(of(&object("A", ""), &["Delete=confirm".to_owned()]), Deletion::Confirmed);
        assert_eq!(of(&object("A", ""), &[]), Deletion::Free);
        let kept = Manifest(json!({"kind": "A", "metadata": {"annotations": {"helm.sh/resource-policy": "keep"}}}));
        assert_eq!(of(&kept, &[]), Deletion::Never);
    }

    #[test]
    fn propagation_has_three_values() {
        let of = |value: &str| propagation(&[format!("PrunePropagationPolicy={value}")]);
        assert_eq!(
            [of("orphan"), of("background"), of("x")],
            [Propagation::Orphan, Propagation::Background, Propagation::Foreground]
        );
    }
}
