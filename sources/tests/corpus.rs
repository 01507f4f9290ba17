//! The same trees rendered by Takobune and by the bare tool: the objects are the same. A case is a text file: what it shows, some
//! lines `key: value`, and the files of the tree after lines `-- path --`; `-- path -> target` is a symbolic link.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#[path = "../src/testing.rs"]
mod testing;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tako_engine::parse::{objects_of, parse_manifests};
use tako_sources::render::render;
use tako_sources::request::{AppInfo, ClusterInfo, RenderError, Rendered, Request};
use tako_sources::settings::RenderSettings;
use tako_sources::tree::Tree;
use testing::program;

/// One case.
struct Case {
    name: String,
    keys: Vec<(String, String)>,
    root: tempfile::TempDir,
}

impl Case {
    fn all(kind: &str) -> Vec<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(kind);
        let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }

    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let root = tempfile::tempdir().unwrap();
        let mut keys = Vec::new();
        let mut open: Option<(PathBuf, String)> = None;
        let close = |open: &mut Option<(PathBuf, String)>| {
            if let Some((path, text)) = open.take() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        };
        for line in text.split_inclusive('\n') {
            let header = line.trim_end().strip_prefix("-- ");
            if let Some(path) = header.and_then(|header| header.strip_suffix(" --")) {
                close(&mut open);
                open = Some((root.path().join(path), String::new()));
            } else if let Some((link, target)) = header.and_then(|header| header.split_once(" -> ")) {
                close(&mut open);
                fs::create_dir_all(root.path().join(link).parent().unwrap()).unwrap();
                symlink(target, root.path().join(link)).unwrap();
            } else if let Some((_, text)) = &mut open {
                text.push_str(line);
            } else if let Some((key, value)) = line.trim_end().split_once(": ") {
                keys.push((key.to_owned(), value.to_owned()));
            }
        }
        close(&mut open);
        Self { name: file.file_stem().unwrap().to_string_lossy().into_owned(), keys, root }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.keys.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn every<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.keys.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn path(&self) -> &str {
        self.get("path").unwrap_or(".")
    }

    fn request(&self, tool: &str, mut settings: RenderSettings) -> Request {
        let mut source = json!({"repoURL": "https://git.example.com/org/repo", "path": self.path()});
        if let Some(said) = self.get("source") {
            source[tool] = serde_json::from_str(said).unwrap();
        }
        settings.tools.kustomize = Some(program("kustomize"));
        settings.tools.helm = Some(program("helm"));
        settings.tools.jsonnet = Some(worker());
        Request {
            app: AppInfo { name: "demo".to_owned(), project: "default".to_owned(), ..AppInfo::default() },
            source: serde_json::from_value(source).unwrap(),
            revision: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            tree: Tree::of_directory(self.root.path()),
            refs: BTreeMap::new(),
            cluster: ClusterInfo::default(),
            settings,
            repositories: Default::default(),
            sops: None,
            scratch: scratch(),
        }
    }

    /// Ours is as theirs, or both fail, ours with the words of the case. What differs is told.
    fn agree(&self, ours: Result<&Rendered, &RenderError>, theirs: Result<Vec<Value>, String>) -> Result<(), String> {
        let name = &self.name;
        match (self.get("fails"), ours, theirs) {
            (Some(words), Err(error), Err(_)) => {
                let text = error.to_string();
                let fits = text.to_lowercase().contains(&words.to_lowercase());
                if fits { Ok(()) } else { Err(format!("{name}: {words:?} is not in {text:?}")) }
            }
            (None, Ok(ours), Ok(theirs)) => {
                let theirs: Vec<Value> = theirs.into_iter().map(rounded).collect();
                let ours: Vec<Value> = ours.manifests.iter().cloned().map(rounded).collect();
                if ours == theirs {
                    return Ok(());
                }
                let pairs = ours.iter().zip(&theirs).find(|(own, their)| own != their);
                let counts = (ours.len(), theirs.len());
                Err(match pairs {
                    Some((own, their)) => format!("{name}: ours\n{own}\ntheirs\n{their}"),
                    None => format!("{name}: ours and theirs are {counts:?}"),
                })
            }
            (_, ours, theirs) => {
                let text = format!("{name}: {:?} and {theirs:?}", ours.map(|ours| &ours.manifests));
                Err(text.chars().take(1500).collect())
            }
        }
    }
}

/// Numbers that fit no i64 as the floats that Go makes of them; a zero has no sign.
fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_i64().is_none() => json!(number.as_f64().map(|float| float + 0.0)),
        Value::Array(items) => items.into_iter().map(rounded).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, rounded(value))).collect(),
        other => other,
    }
}

fn none(failures: Vec<String>) {
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// In memory where that is possible: making and removing files on a busy disk costs more than a build.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.join("tako-corpus") } else { std::env::temp_dir().join("tako-corpus") }
}

/// What `tako render-jsonnet` is.
fn worker() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_jsonnet-worker"))
}

fn run(program: &Path, args: &[&str], directory: &Path) -> Result<Vec<u8>, String> {
    let said = Command::new(program).args(args).current_dir(directory).output().unwrap();
    if said.status.success() { Ok(said.stdout) } else { Err(String::from_utf8_lossy(&said.stderr).into_owned()) }
}

#[test]
fn kustomize_makes_the_same_objects_by_itself() {
    let kustomize = program("kustomize");
    let helm = program("helm");
    let (mut count, mut failures) = (0, Vec::new());
    for case in Case::all("kustomize") {
        let options = case.get("options").unwrap_or_default();
        let settings = RenderSettings { kustomize_build_options: options.to_owned(), ..RenderSettings::default() };
        let own = render(&case.request("kustomize", settings));
        let mut failed = None;
        for edit in case.every("edit") {
            let args: Vec<&str> = ["edit"].into_iter().chain(edit.split(' ')).collect();
            failed = run(&kustomize, &args, &case.root.path().join(case.path())).err().or(failed);
        }
        let mut args = vec!["build", case.path()];
        args.extend(options.split_whitespace());
        if options.contains("--enable-helm") {
            args.extend(["--helm-command", helm.to_str().unwrap()]);
        }
        let built = match failed {
            // What `kustomize edit` refuses cannot be built.
            None if case.get("source").is_some() && case.every("edit").next().is_none() => {
                Err("no commands".to_owned())
            }
            None => run(&kustomize, &args, case.root.path()),
            Some(error) => Err(error),
        };
        let built = built.map(|text| parse_manifests("built.yaml", &String::from_utf8(text).unwrap()).unwrap());
        failures.extend(case.agree(own.as_ref(), built).err());
        let Ok(rendered) = own else { continue };
        if rendered.inputs.contains("") {
            failures.push(format!("{}: the whole repository was read", case.name));
        }
        if let Some(inputs) = case.get("inputs") {
            let files: Vec<&str> =
                rendered.inputs.iter().map(String::as_str).filter(|input| !input.ends_with('/')).collect();
            assert_eq!(files.join(" "), inputs, "{}", case.name);
        }
        count += 1;
    }
    none(failures);
    assert!(count >= 40, "{count}");
}

#[test]
fn jsonnet_makes_the_same_objects_by_itself() {
    let jsonnet = program("jsonnet");
    let (mut count, mut failures) = (0, Vec::new());
    for case in Case::all("jsonnet") {
        let variables = |kind: &str, code: bool| -> Vec<Value> {
            case.every(kind)
                .map(|text| text.split_once('=').unwrap())
                .map(|(name, value)| json!({"name": name, "value": value, "code": code}))
                .collect()
        };
        let both = |kind: &str| [variables(kind, false), variables(&format!("{kind}-code"), true)].concat();
        let mut request = case.request("directory", RenderSettings::default());
        let said = json!({"include": "main.jsonnet", "jsonnet": {
            "libs": case.every("lib").collect::<Vec<_>>(), "tlas": both("tla"), "extVars": both("ext"),
        }});
        request.source.directory = Some(serde_json::from_value(said).unwrap());
        let own = render(&request);
        let file = format!("{}/main.jsonnet", case.path());
        let mut args = vec!["-J", case.path()];
        for lib in case.every("lib") {
            args.extend(["-J", lib]);
        }
        for (key, option) in
            [("tla", "--tla-str"), ("tla-code", "--tla-code"), ("ext", "--ext-str"), ("ext-code", "--ext-code")]
        {
            for value in case.every(key) {
                args.extend([option, value]);
            }
        }
        args.push(&file);
        let made = run(&jsonnet, &args, case.root.path()).and_then(|text| {
            let value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
            objects_of("made", value).map_err(|error| error.to_string())
        });
        failures.extend(case.agree(own.as_ref(), made).err());
        count += usize::from(own.is_ok());
    }
    none(failures);
    assert!(count >= 20, "{count}");
}

/// What Go made of the same trees is recorded beside them (tests/oracle/yaml).
#[test]
fn directories_are_read_as_go_reads_them() {
    let (mut count, mut failures) = (0, Vec::new());
    for case in Case::all("directory") {
        let own = render(&case.request("directory", RenderSettings::default()));
        let file = format!("{}/tests/corpus/directory/{}.json", env!("CARGO_MANIFEST_DIR"), case.name);
        let recorded: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let theirs = match recorded {
            Value::Array(objects) => Ok(objects),
            error => Err(error["error"].to_string()),
        };
        failures.extend(case.agree(own.as_ref(), theirs).err());
        count += 1;
    }
    none(failures);
    assert!(count >= 15, "{count}");
}

/// Where the evaluator is known to differ from go-jsonnet. When one of these no longer does, it goes from here into the corpus.
#[test]
fn what_jsonnet_is_known_to_make_differently() {
    let known = [
        ("'' + 0.1", "0.1", "0.10000000000000001"),
        ("'' + 1e-7", "0.0000001", "9.9999999999999995e-08"),
        ("'%.0f' % 2.5", "2", "3"),
        ("'%g' % 1000000", "1e+06", "1000000"),
        ("'' + std.log10(1000)", "3", "2.9999999999999996"),
    ];
    for (expression, want, theirs) in known {
        let text = format!(
            "-- main.jsonnet --\n{{apiVersion: 'v1', kind: 'T', metadata: {{name: 'x'}}, value: {expression}}}\n"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let case = Case::read(file.path());
        let own = render(&case.request("directory", RenderSettings::default())).unwrap();
        assert_eq!(own.manifests[0]["value"], want, "{expression}");
        let made = run(&program("jsonnet"), &["main.jsonnet"], case.root.path()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&made).unwrap()["value"], theirs, "{expression}");
    }
}

/// `cargo test --release -p tako-sources --test corpus -- --ignored`: the fastest of many runs, which other work on the machine
/// disturbs least.
#[test]
#[ignore = "a measurement, of an idle machine"]
fn a_kustomize_build_costs_hardly_more_than_the_bare_tool() {
    let kustomize = program("kustomize");
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    let case = Case::all("kustomize").into_iter().find(|case| case.name == "nested-bases").unwrap();
    let request = case.request("kustomize", RenderSettings::default());
    for _ in 0..60 {
        let started = Instant::now();
        render(&request).unwrap();
        ours = ours.min(started.elapsed());
        let started = Instant::now();
        run(&kustomize, &["build", case.path()], case.root.path()).unwrap();
        theirs = theirs.min(started.elapsed());
    }
    assert!(ours.as_secs_f64() <= theirs.as_secs_f64() * 1.1, "ours {ours:?}, theirs {theirs:?}");
}
