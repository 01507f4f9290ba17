//! The variables that a plugin's commands get (research/argocd-surface.md §4.6). Pure.
use tako_engine::source::Plugin;

use crate::environment::Environment;

/// In the order in which Argo CD gives them: later ones win.
pub(super) fn of(environment: &Environment, plugin: Option<&Plugin>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        environment.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let Some(plugin) = plugin else { return all };
    for entry in &plugin.env {
        all.push((format!("ARGOCD_ENV_{}", entry.name), environment.substitute(&entry.value)));
    }
    // Without parameters Go says null, and scripts are written for that.
    let parameters = match plugin.parameters.as_slice() {
        [] => "null".to_owned(),
        some => serde_json::to_string(some).unwrap_or_default(),
    };
    all.push(("ARGOCD_APP_PARAMETERS".to_owned(), parameters));
    for parameter in &plugin.parameters {
        let name = format!("PARAM_{}", escaped(&parameter.name));
        if let Some(text) = &parameter.string {
            all.push((name.clone(), text.clone()));
        }
        for (key, value) in parameter.map.iter().flatten() {
            all.push((format!("{name}_{}", escaped(key)), value.clone()));
        }
        for (place, value) in parameter.array.iter().flatten().enumerate() {
            all.push((format!("{name}_{place}"), value.clone()));
        }
    }
    all
}

/// In capitals, and `_` for what no name of a variable has.
fn escaped(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' { c } else { '_' };
    name.to_uppercase().chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_users_variables_and_parameters_are_told_as_argo_cd_does() {
        let plugin: Plugin = serde_json::from_value(json!({
            "env": [{"name": "TIER", "value": "t-$NOTHING$$x"}],
            "parameters": [
                {"name": "image-tag", "string": "v1"},
                {"name": "labels", "map": {"a.b": "c"}},
                {"name": "values_files", "array": ["x.yaml", "y.yaml"]},
            ],
        }))
        .unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let all = of(&Environment::default(), Some(&plugin));
        let want = [
            pair("ARGOCD_ENV_TIER", "t-$x"),
            pair(
                "ARGOCD_APP_PARAMETERS",
                r#"[{"name":"image-tag","string":"v1"},{"map":{"a.b":"c"},"name":"labels"},{"array":["x.yaml","y.yaml"],"name":"values_files"}]"#,
            ),
            pair("PARAM_IMAGE_TAG", "v1"),
            pair("PARAM_LABELS_A_B", "c"),
            pair("PARAM_VALUES_FILES_0", "x.yaml"),
            pair("PARAM_VALUES_FILES_1", "y.yaml"),
        ];
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parsed(&all[1].1), parsed(&want[1].1));
        assert_eq!([&all[..1], &all[2..]].concat(), [&want[..1], &want[2..]].concat());
        assert_eq!(of(&Environment::default(), None), []);
        assert_eq!(of(&Environment::default(), Some(&Plugin::default())), [pair("ARGOCD_APP_PARAMETERS", "null")]);
    }
}
