//! The user's own health checks: Lua scripts of `argocd-cm`, compiled once, before all other judges (Argo CD, operator
//! manual, "Resource Health", "Custom Health Checks"). Pure; the time is the caller's.
use std::collections::BTreeMap;
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use serde_json::Value;

use super::{Health, JUDGES};
use crate::app::HealthCode;
use crate::customizations::{self, kind_name};
use crate::hook;
use crate::lua::{Clock, Script};
use crate::resource::Manifest;

/// A script, or what is wrong with it: then the kinds that it is for are Unknown, and no others.
type Check = Result<Script, String>;

/// How live objects are judged. Without settings: by their kinds alone.
#[derive(Clone)]
pub struct HealthRules {
    exact: BTreeMap<String, Check>,
    /// The longest pattern first: of two that fit, the closer one holds.
    globs: Vec<(GlobMatcher, Check)>,
    clock: Clock,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), globs: Vec::new(), clock: || Duration::ZERO }
    }
}

impl std::fmt::Debug for HealthRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let globs = self.globs.iter().map(|(glob, _)| glob.glob().glob());
        f.debug_list().entries(self.exact.keys()).entries(globs).finish()
    }
}

impl HealthRules {
    /// From the data of `argocd-cm`. A script that is no Lua is kept as what is wrong with it.
    pub fn compile(settings: &BTreeMap<String, String>, clock: Clock) -> Self {
        // Settings that cannot be read at all are told of by every comparison ([`crate::ignore`]).
        let scripts = customizations::parts(settings, "health.lua", "health").unwrap_or_default();
        let switches = customizations::parts(settings, "health.lua.useOpenLibs", "useOpenLibs").unwrap_or_default();
        let open: BTreeMap<String, bool> = switches.iter().map(|part| (part.name(), part.is_on())).collect();
        let mut rules = Self { clock, ..Self::default() };
        let mut checks: BTreeMap<String, Check> = BTreeMap::new();
        for part in scripts {
            let Some(text) = part.text().filter(|text| !text.trim().is_empty()) else { continue };
            let open = open.get(&part.name()).copied().unwrap_or_default();
            let check = Script::compile("health.lua", text, open).map_err(|error| format!("{}: {error}", part.field));
            checks.insert(part.name(), check);
        }
        for (name, check) in checks {
            let pattern = name.contains(['*', '?', '[', '{']).then(|| Glob::new(&name));
            match pattern {
                Some(Ok(glob)) => rules.globs.push((glob.compile_matcher(), check)),
                // What is no pattern matches nothing, as in Argo CD.
                Some(Err(_)) => {}
                None => {
                    rules.exact.insert(name, check);
                }
            }
        }
        rules.globs.sort_by_key(|(glob, _)| std::cmp::Reverse(glob.glob().glob().len()));
        rules
    }

    fn check_of(&self, object: &Manifest) -> Option<&Check> {
        let name = kind_name(object.group(), object.kind());
        let exact = self.exact.get(&name);
        exact.or_else(|| self.globs.iter().find(|(glob, _)| glob.is_match(&name)).map(|(_, check)| check))
    }

    /// The health of a live object; `None` for kinds that have none.
    ///
    /// On its way out it is Progressing, unless a hook finalizer of ours holds it: then its end is of interest.
    pub fn of(&self, live: &Value) -> Option<Health> {
        if !live["metadata"]["deletionTimestamp"].is_null() && !hook::is_held(live) {
            return Some(Health::new(HealthCode::Progressing, "Pending deletion"));
        }
        if !self.exact.is_empty() || !self.globs.is_empty() {
            let object = Manifest(live.clone());
            if let Some(check) = self.check_of(&object) {
                return match check {
                    Ok(script) => run(script, live, self.clock),
                    Err(problem) => Some(Health::new(HealthCode::Unknown, problem)),
                };
            }
        }
        JUDGES.iter().find_map(|judge| judge(live))
    }
}

/// What the script says of the object: nothing when it returns nil or an empty table.
fn run(script: &Script, live: &Value, clock: Clock) -> Option<Health> {
    let unknown = |message: String| Some(Health::new(HealthCode::Unknown, message));
    let answer = match script.run(&[("obj", live)], clock) {
        Ok(answer) => answer,
        Err(error) => return unknown(error),
    };
    let kind = match &answer {
        Value::Null => return None,
        Value::Array(items) if items.is_empty() => return None,
        Value::Object(_) => return judged(&answer),
        Value::Array(_) => "list",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
    };
    unknown(format!("expect table output from Lua script, not {kind}"))
}

fn judged(answer: &Value) -> Option<Health> {
    const CODES: [(&str, HealthCode); 6] = [
        ("Healthy", HealthCode::Healthy),
        ("Suspended", HealthCode::Suspended),
        ("Progressing", HealthCode::Progressing),
        ("Missing", HealthCode::Missing),
        ("Degraded", HealthCode::Degraded),
        ("Unknown", HealthCode::Unknown),
    ];
    let status = CODES.iter().find(|(name, _)| answer["status"] == *name).map(|(_, code)| *code);
    let message = match &answer["message"] {
        Value::Null => Some(""),
        message => message.as_str(),
    };
    Some(match (status, message) {
        (Some(status), Some(message)) => Health::new(status, message),
        (None, _) => Health::new(HealthCode::Unknown, "Lua returned an invalid health status"),
        (_, None) => Health::new(HealthCode::Unknown, "Lua returned a health message that is no string"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use HealthCode::{Degraded, Healthy, Progressing, Suspended, Unknown};

    fn rules(settings: &[(&str, &str)]) -> HealthRules {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        HealthRules::compile(&settings, || Duration::from_secs(1_000))
    }

    fn object(api_version: &str, kind: &str) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "n"}, "spec": {"replicas": 2}, "status": {"phase": "Up"}})
    }

    #[test]
    fn what_a_script_returns_is_the_health() {
        for (script, want) in [
            ("return {status = 'Degraded', message = 'is ' .. obj.status.phase}", Some((Degraded, "is Up"))),
            ("hs = {}; hs.status = 'Suspended'; return hs", Some((Suspended, ""))),
            ("return nil", None),
            ("return {}", None),
            ("local x = 1", None),
            ("return {status = 'Fine'}", Some((Unknown, "Lua returned an invalid health status"))),
            ("return {message = 'x'}", Some((Unknown, "Lua returned an invalid health status"))),
            ("return 'Healthy'", Some((Unknown, "expect table output from Lua script, not string"))),
            (
                "return {status = 'Healthy', message = 5}",
                Some((Unknown, "Lua returned a health message that is no string")),
            ),
            ("error('no', 0)", Some((Unknown, "no"))),
            (
                "return {status = 'Healthy', message = string.upper('x')}",
                Some((Unknown, "health.lua:1: attempt to index global 'string' (a nil value)")),
            ),
        ] {
            let found = rules(&[("resource.customizations.health.x.io_Y", script)]).of(&object("x.io/v1", "Y"));
            let want = want.map(|(status, message)| Health::new(status, message));
            assert_eq!(found, want, "{script}");
        }
    }

    #[test]
    fn the_script_of_the_closest_name_judges() {
        let says = |word: &str| format!("return {{status = 'Healthy', message = '{word}'}}");
        let combined = format!(
            "'*.x.io/*':\n  health.lua: {}\n'*.a.x.io/*':\n  health.lua: {}\na.x.io/K:\n  health.lua: {}\n  health.lua.useOpenLibs: true\nPod:\n  health.lua: {}\n",
            says("wide"),
            says("close"),
            says("own"),
            says("core")
        );
        let rules = rules(&[
            ("resource.customizations", &combined),
            ("resource.customizations.health.a.x.io_K", &says("split")),
            ("resource.customizations.health.apps_Deployment", &says("deployment")),
        ]);
        for (api_version, kind, want) in [
            ("b.x.io/v1", "K", Some("wide")),
            ("b.a.x.io/v1", "K", Some("close")),
            ("a.x.io/v1", "K", Some("split")),
            ("a.x.io/v1", "L", Some("wide")),
            ("v1", "Pod", Some("core")),
            ("apps/v1", "Deployment", Some("deployment")),
            ("x.io/v1", "K", None),
        ] {
            let found = rules.of(&object(api_version, kind)).map(|health| health.message);
            assert_eq!(found.as_deref(), want, "{api_version} {kind}");
        }
    }

    #[test]
    fn a_broken_script_breaks_its_kind_alone() {
        let rules = rules(&[
            ("resource.customizations.health.x.io_Broken", "return {"),
            ("resource.customizations.health.x.io_Fine", "return {status = 'Progressing'}"),
            ("resource.customizations.health.x.io_Empty", " "),
        ]);
        let broken = rules.of(&object("x.io/v1", "Broken")).unwrap();
        assert_eq!(broken.status, Unknown);
        assert!(
            broken.message.starts_with("argocd-cm: resource.customizations.health.x.io_Broken: health.lua:1:"),
            "{}",
            broken.message
        );
        assert_eq!(rules.of(&object("x.io/v1", "Fine")).unwrap().status, Progressing);
        assert_eq!(rules.of(&object("x.io/v1", "Empty")), HealthRules::default().of(&object("x.io/v1", "Empty")));
    }

    #[test]
    fn strings_are_given_when_asked_for() {
        let script = "return {status = 'Healthy', message = string.upper(obj.status.phase)}";
        let split = rules(&[
            ("resource.customizations.health.x.io_Y", script),
            ("resource.customizations.useOpenLibs.x.io_Y", "true"),
        ]);
        assert_eq!(split.of(&object("x.io/v1", "Y")), Some(Health::new(Healthy, "UP")));
        let combined = format!("x.io/Y:\n  health.lua: {script}\n  health.lua.useOpenLibs: true\n");
        let combined = rules(&[("resource.customizations", &combined)]);
        assert_eq!(combined.of(&object("x.io/v1", "Y")), Some(Health::new(Healthy, "UP")));
    }

    #[test]
    fn scripts_come_after_deletion() {
        let rules = rules(&[("resource.customizations.health.x.io_Y", "return {status = 'Healthy'}")]);
        let mut live = object("x.io/v1", "Y");
        live["metadata"]["deletionTimestamp"] = json!("t");
        assert_eq!(rules.of(&live), Some(Health::new(Progressing, "Pending deletion")));
        live["metadata"]["finalizers"] = json!([hook::FINALIZER]);
        assert_eq!(rules.of(&live), Some(Health::new(Healthy, "")));
    }
}
