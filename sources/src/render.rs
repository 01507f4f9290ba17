//! One source to manifests: the overrides of the repository, the choice of the tool, the tool. The order in which tools are
//! looked for is Argo CD's (user guide, "Tool Detection").
use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tako_engine::source::{Source, SourceType};

use crate::environment::asks_for_revision;
use crate::request::{RenderError, Rendered, Request, Tools};
use crate::tree::{Kind, join};
use crate::{directory, helm, kustomize, plugin, sops};

/// Changes when the same inputs may give other manifests than before: part of every input's identity.
const GENERATION: &str = "render/2";
/// Overrides that hold for every Application of a directory.
const OVERRIDES: &str = ".argocd-source.yaml";

/// What a tool gives; what it read is in the trees.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The manifests in order.
    pub(crate) manifests: Vec<Value>,
    /// The command lines, without secrets.
    pub(crate) commands: Vec<String>,
}

/// Renders one source. Blocks.
pub fn render(request: &Request) -> Result<Rendered, RenderError> {
    let mut request = untouched(request);
    let path = request.path()?;
    if !request.source.is_chart() && !path.is_empty() && !request.tree.is_directory(&path)? {
        return Err(RenderError::Spec(format!(
            "{path}: app path does not exist at revision {}; correct spec.source.path",
            request.revision
        )));
    }
    request.source = overridden(&request)?;
    let (source_type, made) = match choose(&request)? {
        Chosen::Helm => (SourceType::Helm, helm::render(&request)?),
        Chosen::Kustomize => (SourceType::Kustomize, kustomize::render(&request)?),
        Chosen::Directory => (SourceType::Directory, directory::render(&request)?),
        Chosen::Plugin(found) => (SourceType::Plugin, plugin::render(&request, found)?),
    };
    check_encrypted(&request)?;
    let ref_inputs = request.refs.iter().map(|(name, lent)| (name.clone(), lent.tree.inputs())).collect();
    Ok(Rendered {
        manifests: made.manifests,
        source_type,
        inputs: request.tree.inputs(),
        ref_inputs,
        commands: made.commands,
    })
}

/// Encrypted files that were read are whole: their values are as SOPS wrote them, each in its place. They are opened where they are used.
fn check_encrypted(request: &Request) -> Result<(), RenderError> {
    let Some(keys) = &request.sops else { return Ok(()) };
    for input in request.tree.inputs().iter().filter(|input| !input.ends_with('/')) {
        let files = match request.tree.kind(input)? {
            Some(Kind::File { .. }) => vec![input.clone()],
            Some(Kind::Directory) => {
                request.tree.files(input, true)?.iter().map(|file| join(input, file)).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        };
        let manifests = |file: &&String| [".yaml", ".yml", ".json"].iter().any(|end| file.ends_with(end));
        for file in files.iter().filter(manifests) {
            let Ok(text) = request.tree.text(file) else { continue };
            if sops::is_encrypted_text(file, &text) {
                sops::verify_text(file, &text, keys)?;
            }
        }
    }
    Ok(())
}

/// The same request with trees that nobody has read yet.
fn untouched(request: &Request) -> Request {
    let mut fresh = request.clone();
    fresh.tree = request.tree.untouched();
    for lent in fresh.refs.values_mut() {
        lent.tree = lent.tree.untouched();
    }
    fresh
}

/// The tool for a source.
enum Chosen {
    Helm,
    Kustomize,
    Directory,
    Plugin(Option<plugin::Found>),
}

fn choose(request: &Request) -> Result<Chosen, RenderError> {
    let settings = &request.settings;
    match request.source.explicit().map_err(RenderError::Spec)? {
        Some(SourceType::Helm) if settings.helm_enabled => return Ok(Chosen::Helm),
        Some(SourceType::Kustomize) if settings.kustomize_enabled => return Ok(Chosen::Kustomize),
        Some(SourceType::Plugin) => return Ok(Chosen::Plugin(None)),
        // A tool that is turned off is no tool: Argo CD takes the files as they are.
        Some(_) => return Ok(Chosen::Directory),
        None => {}
    }
    if request.source.is_chart() {
        return Ok(if settings.helm_enabled { Chosen::Helm } else { Chosen::Directory });
    }
    if let Some(found) = plugin::discover(request)? {
        return Ok(Chosen::Plugin(Some(found)));
    }
    let path = request.path()?;
    if settings.kustomize_enabled && kustomize::file_of(&request.tree, &path)?.is_some() {
        return Ok(Chosen::Kustomize);
    }
    if settings.helm_enabled && request.tree.is_file(&join(&path, "Chart.yaml"))? {
        return Ok(Chosen::Helm);
    }
    Ok(Chosen::Directory)
}

/// The source with what `.argocd-source.yaml` and `.argocd-source-<app>.yaml` beside the manifests say.
fn overridden(request: &Request) -> Result<Source, RenderError> {
    if request.source.is_chart() {
        return Ok(request.source.clone());
    }
    let path = request.path()?;
    let app = match request.app.namespace.as_str() {
        "" => request.app.name.clone(),
        namespace => format!("{namespace}_{}", request.app.name),
    };
    let mut source = request.source.clone();
    for name in [OVERRIDES.to_owned(), format!(".argocd-source-{app}.yaml")] {
        let file = join(&path, &name);
        if !request.tree.is_file(&file)? {
            continue;
        }
        let text = request.tree.text(&file)?;
        let wrong = |reason: String| RenderError::Spec(format!("{file}: {reason}"));
        let said = tako_engine::parse::parse_value(&text).map_err(wrong)?;
        if !said.is_null() {
            source = source.overridden(&said).map_err(|reason| RenderError::Spec(format!("{file}: {reason}")))?;
        }
    }
    Ok(source)
}

/// The identity of everything that a render of this request reads, if it reads what `last` read: equal identities render to equal
/// manifests, whatever else the commit changed.
pub fn identity(request: &Request, last: &ReadSet) -> Result<String, RenderError> {
    let mut hash = Sha256::new();
    let mut source = request.source.clone();
    source.target_revision = None;
    source.name = None;
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(GENERATION.as_bytes());
    part(&serde_json::to_vec(&source).unwrap_or_default());
    part(format!("{:?}", request.app).as_bytes());
    part(format!("{:?}", request.settings).as_bytes());
    if last.source_type != SourceType::Directory {
        part(format!("{:?}", request.cluster).as_bytes());
    }
    part(program(request, last.source_type).as_bytes());
    // Other keys check anew; what was sealed with keys that are gone is made again.
    part(format!("{:?}", request.sops).as_bytes());
    // Charts and artifacts are what their version says; so is a commit when the manifests may show it.
    if request.source.is_chart() || asks_for_revision(&request.source) {
        part(request.revision.as_bytes());
        part(source.repo_url.as_bytes());
    }
    part(request.tree.fingerprint(&last.inputs)?.as_bytes());
    for (name, inputs) in &last.ref_inputs {
        part(name.as_bytes());
        match request.refs.get(name) {
            Some(lent) => part(lent.tree.fingerprint(inputs)?.as_bytes()),
            None => part(b"gone"),
        }
    }
    Ok(hex::encode(hash.finalize()))
}

/// Tells one build of a tool's program from another.
fn program(request: &Request, of: SourceType) -> String {
    let tools = &request.settings.tools;
    let program = match of {
        SourceType::Helm => Tools::find(tools.helm.as_deref(), "helm"),
        SourceType::Kustomize => Tools::find(tools.kustomize.as_deref(), "kustomize"),
        SourceType::Directory | SourceType::Plugin => None,
    };
    let Some(program) = program else { return String::new() };
    let found = std::fs::metadata(&program).ok();
    let changed = found.as_ref().and_then(|found| found.modified().ok());
    format!("{} {:?} {:?}", program.display(), found.map(|found| found.len()), changed)
}

/// What a render read, as it is kept for the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadSet {
    /// The tool.
    pub source_type: SourceType,
    /// Of the source's own tree.
    pub inputs: crate::tree::Inputs,
    /// Of the trees of other sources, by their `ref`.
    pub ref_inputs: BTreeMap<String, crate::tree::Inputs>,
}

impl ReadSet {
    /// What this render read.
    pub fn of(rendered: &Rendered) -> Self {
        let (inputs, ref_inputs) = (rendered.inputs.clone(), rendered.ref_inputs.clone());
        Self { source_type: rendered.source_type, inputs, ref_inputs }
    }
}
