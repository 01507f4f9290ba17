//! Text of a manifest file into objects, as Argo CD reads it: YAML documents split as text, each resolved as
//! Go's YAML does; JSON by extension; `List` kinds opened. Every refusal names the file and the line.
mod scalar;
mod write;
mod yaml;

use serde_json::Value;

pub use self::write::to_yaml;

/// Longest file in bytes.
const FILE_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Why a file is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ParseProblem {
    /// As given.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// What is wrong and what to do.
    pub message: String,
}

/// Where in a document something is wrong, before the file is known. Lines and columns from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
    /// It is an object of Kubernetes all the same, so that the file is meant as a manifest.
    pub(crate) is_object: bool,
}

/// One YAML value of a setting (an entry of a ConfigMap); null when empty. The error names line and column.
pub fn parse_value(text: &str) -> Result<Value, String> {
    match yaml::load(text) {
        Ok(found) => Ok(found.map(|(value, _)| value).unwrap_or_default()),
        Err(fault) => Err(format!("line {}, column {}: {}", fault.line, fault.column, fault.message)),
    }
}

/// All values of a text with several YAML documents, whatever they are. The error names line and column.
pub fn parse_documents(text: &str) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    for (first_line, document) in documents(text) {
        let found = yaml::load(document).map_err(|fault| {
            format!("line {}, column {}: {}", first_line + fault.line.max(1) - 1, fault.column, fault.message)
        })?;
        values.extend(found.map(|(value, _)| value));
    }
    Ok(values)
}

/// All objects of a file, in order. Documents that are empty or only comments are nothing.
pub fn parse_manifests(file: &str, text: &str) -> Result<Vec<Value>, ParseProblem> {
    let mut objects = Vec::new();
    collect(file, text, &mut objects).map_err(|fault| problem(file, fault))?;
    Ok(objects)
}

/// As [`parse_manifests`], of a file that lies in a directory of manifests and need not be one itself: YAML that cannot be read,
/// or is no object, is nothing, unless it looks like a manifest or follows one (Argo CD, reposerver).
pub fn parse_found(file: &str, text: &str) -> Result<Vec<Value>, ParseProblem> {
    let mut objects = Vec::new();
    match collect(file, text, &mut objects) {
        Ok(()) => Ok(objects),
        Err(fault) if !objects.is_empty() || fault.is_object || file.ends_with(".json") || looks_like_one(text) => {
            Err(problem(file, fault))
        }
        Err(_) => Ok(Vec::new()),
    }
}

/// Whether a text holds the words of a manifest.
pub fn looks_like_one(text: &str) -> bool {
    ["apiVersion:", "kind:", "metadata:"].into_iter().all(|word| text.contains(word))
}

/// The objects of a value that some program made: of a list, those of its elements. `file` names it in errors.
pub fn objects_of(file: &str, value: Value) -> Result<Vec<Value>, ParseProblem> {
    let mut objects = Vec::new();
    let values = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    for value in values {
        open(as_go(value), 1, &mut objects).map_err(|fault| problem(file, fault))?;
    }
    Ok(objects)
}

fn problem(file: &str, fault: Fault) -> ParseProblem {
    ParseProblem { file: file.to_owned(), line: fault.line.max(1), column: fault.column.max(1), message: fault.message }
}

fn collect(file: &str, text: &str, objects: &mut Vec<Value>) -> Result<(), Fault> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", text.len());
        return Err(Fault { line: 1, column: 1, message, is_object: true });
    }
    if file.ends_with(".json") {
        let value: Value = serde_json::from_str(text).map_err(|error| Fault {
            line: u32::try_from(error.line()).unwrap_or(u32::MAX),
            column: u32::try_from(error.column()).unwrap_or(1),
            message: format!("not valid JSON: {error}"),
            is_object: false,
        })?;
        return open(as_go(value), 1, objects);
    }
    if text.trim_start().starts_with('{') {
        // JSON is read as JSON whatever the file is called, and then one value may follow another.
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
        if let Ok(values) = values {
            return values.into_iter().try_for_each(|value| open(as_go(value), 1, objects));
        }
    }
    for (first_line, document) in documents(text) {
        let at = |mut fault: Fault| {
            fault.line = first_line + fault.line.max(1) - 1;
            fault
        };
        if is_blank(document) {
            continue;
        }
        if let Some((value, line)) = yaml::load(document).map_err(at)? {
            open(value, line, objects).map_err(at)?;
        }
    }
    Ok(())
}

/// The numbers of JSON as Go has them: `1.0` is 1.
fn as_go(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            number.as_f64().and_then(scalar::number).map_or(Value::Null, Value::Number)
        }
        Value::Array(items) => items.into_iter().map(as_go).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, as_go(value))).collect(),
        other => other,
    }
}

/// Nothing but a separator, comments and space: not worth a parser.
fn is_blank(document: &str) -> bool {
    document.lines().all(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim_start_matches(' ');
        line.is_empty() || line.starts_with('#')
    })
}

/// Splits at lines that are `---`, with or without something after it, and says on which line each part begins.
fn documents(text: &str) -> Vec<(u32, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let separator =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if separator && offset > start {
            parts.push((start_line, &text[start..offset]));
            (start, start_line) = (offset, number);
        }
        offset += line.len();
    }
    parts.push((start_line, &text[start..]));
    parts
}

fn open(value: Value, line: u32, objects: &mut Vec<Value>) -> Result<(), Fault> {
    let fault = |message: &str| Fault { line, column: 1, message: message.to_owned(), is_object: false };
    let of_object = |message: &str| Fault { is_object: true, ..fault(message) };
    if value.is_null() {
        return Ok(());
    }
    let Value::Object(map) = &value else {
        return Err(fault("not a Kubernetes object: a mapping with apiVersion and kind is wanted"));
    };
    if map.is_empty() {
        return Ok(());
    }
    let text = |field: &str| map.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion").to_owned(), text("kind").to_owned());
    if kind.is_empty() {
        return Err(fault("kind is missing; every manifest needs apiVersion and kind"));
    }
    if api_version.is_empty() {
        return Err(of_object("apiVersion is missing; every manifest needs apiVersion and kind"));
    }
    if kind.ends_with("List")
        && let Some(items) = map.get("items").and_then(Value::as_array)
    {
        for item in items {
            open(item.clone(), line, objects)?;
        }
        return Ok(());
    }
    let named = |field: &str| value.pointer(field).and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if !named("/metadata/name") && !named("/metadata/generateName") {
        return Err(of_object("metadata.name is missing; give the object a name"));
    }
    objects.push(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(body: &str) -> Value {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n{body}");
        parse_manifests("a.yaml", &text).unwrap().remove(0)["data"].take()
    }

    #[test]
    fn a_last_line_needs_no_end() {
        assert_eq!(one("  a: |\n    x"), json!({"a": "x\n"}));
        assert_eq!(one("  a: >-\n    x\n    y"), json!({"a": "x y"}));
        assert_eq!(one("  a: x"), json!({"a": "x"}));
    }

    #[test]
    fn scalars_resolve_as_go_reads_them() {
        let cases = [
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("y", json!(true)),
            ("\"yes\"", json!("yes")),
            ("0777", json!(511)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0b11", json!(3)),
            ("1_000", json!(1000)),
            ("1:30", json!("1:30")),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000)),
            ("~", json!(null)),
            ("null", json!(null)),
            ("", json!(null)),
            ("2020-01-01", json!("2020-01-01")),
            ("18446744073709551615", json!(u64::MAX)),
            ("-7", json!(-7)),
            ("!!str 5", json!("5")),
            ("v1", json!("v1")),
            ("1.2.3", json!("1.2.3")),
            ("08", json!(8)),
        ];
        for (text, want) in cases {
            assert_eq!(one(&format!("  x: {text}\n"))["x"], want, "{text}");
        }
    }

    #[test]
    fn anchors_merges_and_odd_keys() {
        assert_eq!(
            one("  a: &x {b: 1, c: 2}\n  d: {<<: *x, c: 3}\n"),
            json!({"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}})
        );
        assert_eq!(one("  1: a\n  on: b\n  1: c\n"), json!({"1": "c", "true": "b"}));
        assert_eq!(one("  t: |\n    ---x\n    two\n"), json!({"t": "---x\ntwo\n"}));
    }

    #[test]
    fn many_documents_and_lists() {
        let object = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
        let text = format!("# only a comment\n---\n{}---\n\n--- # more\n{}", object("a"), object("b"));
        let names: Vec<_> = parse_manifests("x.yml", &text)
            .unwrap()
            .into_iter()
            .map(|value| value["metadata"]["name"].clone())
            .collect();
        assert_eq!(names, ["a", "b"]);
        let list = format!(
            "apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: Secret, metadata: {{name: s}}}}\n---\n{}",
            object("c")
        );
        assert_eq!(parse_manifests("x.yaml", &list).unwrap().len(), 2);
        assert_eq!(
            parse_manifests("x.json", r#"{"apiVersion":"v1","kind":"A","metadata":{"name":"x"}}"#).unwrap().len(),
            1
        );
    }

    #[test]
    fn refusals_name_file_and_line() {
        let cases = [
            ("a: 1\n---\napiVersion: v1\nkind: X\n", 1, "kind is missing"),
            ("apiVersion: v1\nkind: A\nmetadata: {name: a}\n---\nkind: B\n", 5, "apiVersion is missing"),
            ("apiVersion: v1\nkind: A\nmetadata:\n  name: a\n bad: [\n", 5, "did not find"),
            ("apiVersion: v1\nkind: A\nmetadata: {name: a}\ndata:\n  a: *nope\n", 5, "unknown anchor"),
            ("- 1\n", 1, "not a Kubernetes object"),
            ("apiVersion: v1\nkind: A\n", 1, "metadata.name is missing"),
        ];
        for (text, line, words) in cases {
            let problem = parse_manifests("dir/x.yaml", text).unwrap_err();
            assert!(problem.message.contains(words), "{problem}");
            assert_eq!((problem.file.as_str(), problem.line), ("dir/x.yaml", line), "{problem}");
        }
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text =
            "apiVersion: v1\nkind: A\nmetadata: {name: a}\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let refs = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
        }
        assert!(parse_manifests("bomb.yaml", &text).unwrap_err().message.contains("excessive aliasing"));
    }
}
