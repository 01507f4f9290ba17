//! Which differences do not count: `ignoreDifferences` of the Application and of `argocd-cm`
//! (Argo CD, user guide, "Diff Customization"). Pure.
use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::customizations;
use crate::parse::parse_value;
use crate::resource::ResourceKey;

mod jq;
mod managed;

/// What is left out of the comparison of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ignored {
    /// RFC 6901.
    pub json_pointers: Vec<String>,
    /// jq, as path expressions.
    pub jq_path_expressions: Vec<String>,
    /// Fields that these managers own.
    pub managed_fields_managers: Vec<String>,
    /// `rules` of aggregated ClusterRoles.
    #[serde(skip)]
    pub aggregated_roles: bool,
}

#[derive(Debug, Clone)]
struct Rule {
    group: GlobMatcher,
    kind: GlobMatcher,
    name: String,
    namespace: String,
    ignored: Ignored,
}

/// For what a rule of `argocd-cm` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `ignoreDifferences`.
    Differences,
    /// `ignoreResourceUpdates`.
    ResourceUpdates,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Differences => "ignoreDifferences",
            Self::ResourceUpdates => "ignoreResourceUpdates",
        }
    }
}

/// The rules that hold for one Application.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    aggregated_roles: bool,
}

fn glob(pattern: &str, field: &str) -> Result<GlobMatcher, String> {
    Glob::new(pattern).map(|glob| glob.compile_matcher()).map_err(|error| format!("{field}: {pattern:?}: {error}"))
}

fn checked(value: &Value, field: &str) -> Result<Ignored, String> {
    let ignored: Ignored = serde_json::from_value(value.clone()).map_err(|error| format!("{field}: {error}"))?;
    for expression in &ignored.jq_path_expressions {
        jq::check(expression).map_err(|what| format!("{field}: {what}"))?;
    }
    for pointer in &ignored.json_pointers {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(format!("{field}: jsonPointers: {pointer:?} begins with no slash (RFC 6901)"));
        }
    }
    Ok(ignored)
}

impl Rules {
    /// From `spec.ignoreDifferences` and the data of `argocd-cm`. Errors name the field.
    pub fn compile(application: Option<&Value>, settings: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut rules = Self { aggregated_roles: aggregated_roles(settings)?, ..Self::default() };
        rules.read(settings, Part::Differences)?;
        let own = application.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (index, entry) in own.iter().enumerate() {
            let field = format!("spec.ignoreDifferences[{index}]");
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            rules.rules.push(Rule {
                group: glob(&text("group"), &format!("{field}.group"))?,
                kind: glob(&text("kind"), &format!("{field}.kind"))?,
                name: text("name"),
                namespace: text("namespace"),
                ignored: checked(entry, &field)?,
            });
        }
        Ok(rules)
    }

    /// Takes up the rules of one part of `argocd-cm`; answers whether there is any.
    pub(crate) fn read(&mut self, settings: &BTreeMap<String, String>, part: Part) -> Result<bool, String> {
        let before = self.rules.len();
        for part in customizations::parts(settings, part.name(), part.name())? {
            let all = part.group.is_empty() && part.kind == "all";
            let (group, kind) = if all { ("*", "*") } else { (part.group.as_str(), part.kind.as_str()) };
            if let Some(text) = part.text() {
                self.push(group, kind, text, &part.field)?;
            }
        }
        Ok(self.rules.len() > before)
    }

    pub(crate) fn push(&mut self, group: &str, kind: &str, text: &str, field: &str) -> Result<(), String> {
        let value = parse_value(text).map_err(|error| format!("{field}: {error}"))?;
        let ignored = if value.is_null() { Ignored::default() } else { checked(&value, field)? };
        self.rules.push(Rule {
            group: glob(group, field)?,
            kind: glob(kind, field)?,
            name: String::new(),
            namespace: String::new(),
            ignored,
        });
        Ok(())
    }

    /// What holds for one object.
    pub fn of(&self, key: &ResourceKey) -> Ignored {
        let mut all = Ignored { aggregated_roles: self.aggregated_roles, ..Ignored::default() };
        let holds = |rule: &&Rule| {
            rule.group.is_match(&key.group)
                && rule.kind.is_match(&key.kind)
                && (rule.name.is_empty() || rule.name == key.name)
                && (rule.namespace.is_empty() || rule.namespace == key.namespace)
        };
        for rule in self.rules.iter().filter(holds) {
            all.json_pointers.extend(rule.ignored.json_pointers.iter().cloned());
            all.jq_path_expressions.extend(rule.ignored.jq_path_expressions.iter().cloned());
            all.managed_fields_managers.extend(rule.ignored.managed_fields_managers.iter().cloned());
        }
        all
    }
}

fn aggregated_roles(settings: &BTreeMap<String, String>) -> Result<bool, String> {
    let Some(text) = settings.get("resource.compareoptions") else { return Ok(false) };
    let options = parse_value(text).map_err(|error| format!("argocd-cm: resource.compareoptions: {error}"))?;
    Ok(options["ignoreAggregatedRoles"].as_bool().unwrap_or_default())
}

impl Ignored {
    /// Nothing is left out.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether following the rules runs jq, which takes its time.
    pub fn runs_jq(&self) -> bool {
        self.jq_path_expressions.iter().any(|expression| jq::plain(expression).is_none())
    }

    /// Takes the ignored fields out of one side. `live` says who owns what.
    pub fn strip(&self, side: &mut Value, live: &Value) -> Result<(), String> {
        let mut paths = self.paths(side, live)?;
        // The last of a list first, so that the places of the others stay.
        paths.sort_by(|a, b| order(b, a));
        paths.dedup();
        for path in paths {
            remove(side, &path);
        }
        if self.aggregated_roles && side["kind"] == "ClusterRole" && !side["aggregationRule"].is_null() {
            remove(side, &[Value::from("rules")]);
        }
        Ok(())
    }

    /// Takes out what pointers and jq expressions name, one after the other as Argo CD does: a rule sees what the ones
    /// before it left. What managers own and aggregated rules are not for this.
    pub(crate) fn strip_rules(&self, side: &mut Value) -> Result<(), String> {
        for pointer in &self.json_pointers {
            if let Some(path) = pointer_path(pointer, side).filter(|path| !path.is_empty()) {
                remove(side, &path);
            }
        }
        for expression in &self.jq_path_expressions {
            let mut paths = jq::paths(expression, side)?;
            paths.retain(|path| !path.is_empty());
            paths.sort_by(|a, b| order(b, a));
            paths.dedup();
            for path in paths {
                remove(side, &path);
            }
        }
        Ok(())
    }

    fn paths(&self, object: &Value, live: &Value) -> Result<Vec<Vec<Value>>, String> {
        let mut paths = managed::paths(&self.managed_fields_managers, live, object);
        for pointer in &self.json_pointers {
            paths.extend(pointer_path(pointer, object));
        }
        for expression in &self.jq_path_expressions {
            paths.extend(jq::paths(expression, object)?);
        }
        // The whole object is nobody's to ignore.
        paths.retain(|path| !path.is_empty());
        Ok(paths)
    }

    /// Option `RespectIgnoreDifferences`: the target with the live values of the ignored fields, so that a sync leaves
    /// them as they are. Lists are matched place by place.
    pub fn respect(&self, target: &mut Value, live: &Value) -> Result<(), String> {
        for path in self.paths(live, live)? {
            if let Some(value) = at(live, &path).cloned() {
                put(target, &path, value);
            }
        }
        let mut gone: Vec<Vec<Value>> =
            self.paths(target, live)?.into_iter().filter(|path| at(live, path).is_none()).collect();
        gone.sort_by(|a, b| order(b, a));
        for path in gone {
            remove(target, &path);
        }
        Ok(())
    }
}

fn order(a: &[Value], b: &[Value]) -> std::cmp::Ordering {
    let step = |step: &Value| (step.as_u64(), step.as_str().map(str::to_owned));
    a.iter().map(step).cmp(b.iter().map(step))
}

fn pointer_path(pointer: &str, object: &Value) -> Option<Vec<Value>> {
    let mut here = object;
    let mut path = Vec::new();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let step = match here {
            Value::Array(_) => Value::from(token.parse::<u64>().ok()?),
            _ => Value::from(token),
        };
        here = child(here, &step)?;
        path.push(step);
    }
    Some(path)
}

fn child<'a>(object: &'a Value, step: &Value) -> Option<&'a Value> {
    match step {
        Value::String(name) => object.get(name),
        index => object.get(usize::try_from(index.as_u64()?).ok()?),
    }
}

fn at<'a>(object: &'a Value, path: &[Value]) -> Option<&'a Value> {
    path.iter().try_fold(object, |here, step| child(here, step))
}

fn parent<'a>(object: &'a mut Value, path: &[Value]) -> Option<&'a mut Value> {
    path.iter().try_fold(object, |here, step| match step {
        Value::String(name) => here.get_mut(name),
        index => here.get_mut(usize::try_from(index.as_u64()?).ok()?),
    })
}

fn remove(object: &mut Value, path: &[Value]) {
    let Some((last, above)) = path.split_last() else { return };
    match (parent(object, above), last) {
        (Some(Value::Object(map)), Value::String(name)) => {
            map.remove(name);
        }
        (Some(Value::Array(list)), index) => {
            if let Some(index) =
                index.as_u64().and_then(|index| usize::try_from(index).ok()).filter(|at| *at < list.len())
            {
                list.remove(index);
            }
        }
        _ => {}
    }
}

/// Sets a value where its parents are; objects on the way are made, list items are not.
fn put(object: &mut Value, path: &[Value], value: Value) {
    let Some((step, rest)) = path.split_first() else {
        *object = value;
        return;
    };
    match (object, step) {
        (Value::Object(map), Value::String(name)) => {
            let made = || {
                if rest.first().is_none_or(Value::is_string) {
                    Value::Object(serde_json::Map::new())
                } else {
                    Value::Null
                }
            };
            put(map.entry(name.clone()).or_insert_with(made), rest, value);
        }
        (Value::Array(list), index) => {
            if let Some(item) = index.as_u64().and_then(|index| list.get_mut(usize::try_from(index).ok()?)) {
                put(item, rest, value);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(group: &str, kind: &str, name: &str) -> ResourceKey {
        ResourceKey { group: group.into(), kind: kind.into(), namespace: "n".into(), name: name.into() }
    }

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn rules_of_application_and_settings_add_up() {
        let own = json!([
            {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]},
            {"group": "*", "kind": "*", "name": "b", "jqPathExpressions": [".x"]},
            {"kind": "Secret", "namespace": "elsewhere", "jsonPointers": ["/data"]},
        ]);
        let settings = settings(&[
            ("resource.customizations.ignoreDifferences.all", "managedFieldsManagers: [m]"),
            ("resource.customizations.ignoreDifferences.apps_Deployment", "jsonPointers:\n- /a\n"),
            ("resource.customizations", "apps/Deployment:\n  ignoreDifferences: |\n    jsonPointers: [/b]\n"),
        ]);
        let rules = Rules::compile(Some(&own), &settings).unwrap();
        let found = rules.of(&key("apps", "Deployment", "b"));
        assert_eq!(found.json_pointers, ["/b", "/a", "/spec/replicas"]);
        assert_eq!(found.jq_path_expressions, [".x"]);
        assert_eq!(found.managed_fields_managers, ["m"]);
        assert!(rules.of(&key("", "Secret", "a")).json_pointers.is_empty());
    }

    #[test]
    fn a_bad_rule_names_its_field() {
        let of = |own: Value| Rules::compile(Some(&own), &BTreeMap::new()).unwrap_err();
        let rule = |field: &str, value: &str| json!([{"kind": "A", field: [value]}]);
        assert!(
            of(rule("jqPathExpressions", "env")).starts_with("spec.ignoreDifferences[0]: jqPathExpressions: \"env\"")
        );
        assert!(of(rule("jsonPointers", "spec")).contains("begins with no slash"));
        let bad = settings(&[("resource.customizations.ignoreDifferences.A", "x: [")]);
        assert!(
            Rules::compile(None, &bad)
                .unwrap_err()
                .starts_with("argocd-cm: resource.customizations.ignoreDifferences.A")
        );
    }

    fn ignored(value: Value) -> Ignored {
        checked(&value, "test").unwrap()
    }

    #[test]
    fn ignored_fields_are_taken_out() {
        let object =
            json!({"metadata": {"annotations": {"a/b": "1", "c": "2"}}, "spec": {"list": [1, 2, 3, 4], "replicas": 2}});
        let cases = [
            (
                json!({"jsonPointers": ["/metadata/annotations/a~1b", "/nothing/here", "/spec/list/9"]}),
                json!({"metadata": {"annotations": {"c": "2"}}, "spec": {"list": [1, 2, 3, 4], "replicas": 2}}),
            ),
            (
                json!({"jqPathExpressions": [".spec.list[0], .spec.list[2]"], "jsonPointers": ["/spec/replicas"]}),
                json!({"metadata": {"annotations": {"a/b": "1", "c": "2"}}, "spec": {"list": [2, 4]}}),
            ),
            (
                json!({"jqPathExpressions": [".spec.list[] | select(. > 1)", "."]}),
                json!({"metadata": {"annotations": {"a/b": "1", "c": "2"}}, "spec": {"list": [1], "replicas": 2}}),
            ),
        ];
        for (rule, want) in cases {
            let mut side = object.clone();
            ignored(rule.clone()).strip(&mut side, &object).unwrap();
            assert_eq!(side, want, "{rule}");
        }
    }

    #[test]
    fn a_rule_sees_what_the_one_before_left() {
        let rule =
            ignored(json!({"jsonPointers": ["/list/0", "/list/0", "/list/7"], "jqPathExpressions": [".list[0, 2]"]}));
        let mut side = json!({"list": [1, 2, 3, 4, 5]});
        rule.strip_rules(&mut side).unwrap();
        assert_eq!(side, json!({"list": [4]}));
    }

    #[test]
    fn aggregated_rules_do_not_count() {
        let settings = settings(&[("resource.compareoptions", "ignoreAggregatedRoles: true")]);
        let rules = Rules::compile(None, &settings).unwrap();
        let mut role = json!({"kind": "ClusterRole", "aggregationRule": {"x": 1}, "rules": [1]});
        rules.of(&key("rbac.authorization.k8s.io", "ClusterRole", "r")).strip(&mut role, &Value::Null).unwrap();
        assert!(role.get("rules").is_none());
    }

    #[test]
    fn respected_fields_keep_their_live_values() {
        let live = json!({"spec": {"replicas": 5, "list": [{"n": "a", "v": 1}], "made": {"x": 1}}});
        let mut target = json!({"spec": {"replicas": 1, "list": [{"n": "a", "v": 2}], "gone": 1}});
        let rule = ignored(
            json!({"jsonPointers": ["/spec/replicas", "/spec/made/x", "/spec/gone"], "jqPathExpressions": [".spec.list[].v"]}),
        );
        rule.respect(&mut target, &live).unwrap();
        assert_eq!(target, json!({"spec": {"replicas": 5, "list": [{"n": "a", "v": 1}], "made": {"x": 1}}}));
    }
}
