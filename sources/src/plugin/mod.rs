//! Config management plugins: which sidecar takes a source, and what it makes of it (Argo CD, operator manual, "Config Management
//! Plugins"). The sidecars are other people's: what they answer is parsed like any other text. Knows nothing of how a
//! sidecar works; [`crate::cmp_server`] is one.
mod archive;
mod client;
pub(crate) mod proto;
mod variables;

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use client::{Failure, Sidecar};
use serde::{Deserialize, Serialize};

use crate::render::Made;
use crate::request::{RenderError, Request};

/// What errors call the tool.
const TOOL: &str = "plugin";

/// A plugin that takes a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    socket: PathBuf,
    name: String,
}

/// What a plugin can be told about one source, for forms. The fields are those of `plugin.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Announcement {
    /// The parameter.
    pub name: String,
    /// For people.
    pub title: String,
    /// For people.
    pub tooltip: String,
    /// It must be set.
    pub required: bool,
    /// `string`, `number` or `boolean`; empty is `string`.
    pub item_type: String,
    /// `string`, `array` or `map`; empty is `string`.
    pub collection_type: String,
    /// The default of a text.
    pub string: String,
    /// The default of an array.
    pub array: Vec<String>,
    /// The default of a map.
    pub map: std::collections::BTreeMap<String, String>,
}

/// The first plugin, by the names of the sockets, that says it takes the source. A sidecar that cannot be reached, or is late, is an
/// error, not a "no": it might be the one, and another tool would make other manifests of the same files.
pub(crate) fn discover(request: &Request) -> Result<Option<Found>, RenderError> {
    let sockets = sockets(&request.settings.plugin_sockets)?;
    if sockets.is_empty() {
        return Ok(None);
    }
    let mut asked = Asked::new(request);
    for (name, socket) in sockets {
        let sidecar = Sidecar::new(&socket, &name, request.settings.exec_timeout);
        match asked.takes(&sidecar, false) {
            Ok(true) => return Ok(Some(Found { socket, name })),
            Ok(false) => {}
            Err(Ask::Render(error)) => return Err(error),
            Err(Ask::Sidecar(failure @ (Failure::Unreachable { .. } | Failure::Late(_)))) => {
                return Err(failure.into_error(&name));
            }
            // Argo CD too takes a failing find command as a "no": `find … | grep …` fails when it finds nothing.
            Err(Ask::Sidecar(Failure::Answered(reason))) => {
                tracing::info!(plugin = name, app = request.app.name, reason, "the plugin does not take the source");
            }
        }
    }
    Ok(None)
}

/// The manifests that a plugin makes: the one found, or the one that the source names.
pub(crate) fn render(request: &Request, found: Option<Found>) -> Result<Made, RenderError> {
    let mut asked = Asked::new(request);
    let found = match found {
        Some(found) => found,
        None => named(request, &mut asked)?,
    };
    let sidecar = Sidecar::new(&found.socket, &found.name, request.settings.exec_timeout);
    let texts = sidecar.generate(asked.read()?).map_err(|failure| failure.into_error(&found.name))?;
    let mut manifests = Vec::new();
    for text in &texts {
        manifests.extend(Request::parse(&format!("manifests of the plugin {}", found.name), text)?);
    }
    Ok(Made { manifests, commands: vec![format!("plugin {}", found.name)] })
}

/// What the plugin of a source can be told. Nothing when no plugin takes the source.
pub fn parameters(request: &Request) -> Result<Vec<Announcement>, RenderError> {
    let mut asked = Asked::new(request);
    let found = match request.source.plugin.as_ref().and_then(|plugin| plugin.name.as_deref()) {
        Some(name) if !name.is_empty() => named(request, &mut asked)?,
        _ => match discover(request)? {
            Some(found) => found,
            None => return Ok(Vec::new()),
        },
    };
    let sidecar = Sidecar::new(&found.socket, &found.name, request.settings.exec_timeout);
    sidecar.parameters(asked.read()?).map_err(|failure| failure.into_error(&found.name))
}

/// The plugin that the source names, or the one that takes it when it names none.
fn named(request: &Request, asked: &mut Asked<'_>) -> Result<Found, RenderError> {
    let name = request.source.plugin.as_ref().and_then(|plugin| plugin.name.clone()).unwrap_or_default();
    if name.is_empty() {
        return discover(request)?.ok_or_else(|| {
            RenderError::Spec(format!(
                "could not find plugin supporting the given repository: no plugin below {} takes {}; name one in spec.source.plugin.name, or correct the discovery rules of its plugin.yaml",
                request.settings.plugin_sockets.display(),
                request.source.path.as_deref().unwrap_or("."),
            ))
        });
    }
    if name.contains('/') || name.starts_with('.') {
        return Err(RenderError::Spec(format!(
            "spec.source.plugin.name: {name:?} is no name of a plugin: metadata.name of its plugin.yaml is wanted, with -<version> when it has one"
        )));
    }
    let socket = request.settings.plugin_sockets.join(format!("{name}.sock"));
    if !socket.exists() {
        return Err(RenderError::Spec(format!(
            "could not find cmp-server plugin with name {name:?} supporting the given repository: there is no socket {}; correct spec.source.plugin.name or start the sidecar",
            socket.display()
        )));
    }
    let sidecar = Sidecar::new(&socket, &name, request.settings.exec_timeout);
    let takes = asked.takes(&sidecar, true).map_err(|ask| match ask {
        Ask::Render(error) => error,
        Ask::Sidecar(failure) => failure.into_error(&name),
    })?;
    if takes {
        return Ok(Found { socket, name });
    }
    Err(RenderError::Spec(format!(
        "could not find cmp-server plugin with name {name:?} supporting the given repository: its discovery rules do not match {}",
        request.source.path.as_deref().unwrap_or(".")
    )))
}

/// The sockets of a directory, by name. No directory: no plugins.
fn sockets(directory: &Path) -> Result<Vec<(String, PathBuf)>, RenderError> {
    let fail = |error: std::io::Error| {
        RenderError::Spec(format!(
            "the directory of the plugins' sockets {} cannot be read: {error}",
            directory.display()
        ))
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if entry.file_type().map_err(fail)?.is_socket() {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.push((name.strip_suffix(".sock").unwrap_or(&name).to_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Why a question has no answer.
enum Ask {
    Render(RenderError),
    Sidecar(Failure),
}

/// A source on its way to plugins: its archive is made once, when the first of them wants to see it.
struct Asked<'a> {
    request: &'a Request,
    archive: Option<archive::Archive>,
}

impl<'a> Asked<'a> {
    fn new(request: &'a Request) -> Self {
        Self { request, archive: None }
    }

    fn archive(&mut self) -> Result<&archive::Archive, RenderError> {
        let made = match self.archive.take() {
            Some(made) => made,
            None => archive::pack(self.request)?,
        };
        Ok(self.archive.insert(made))
    }

    /// The archive for a plugin whose answer may depend on all of it.
    fn read(&mut self) -> Result<&archive::Archive, RenderError> {
        let tree = self.request.tree.clone();
        let archive = self.archive()?;
        archive.inputs.iter().for_each(|input| tree.touch(input));
        Ok(archive)
    }

    /// Rules of discovery are about the source's directory, so only that counts as read: else a plugin with rules would make
    /// every commit concern every Application that it does not take.
    fn looked_at(&self) -> Result<(), RenderError> {
        self.request.tree.touch(&self.request.path()?);
        Ok(())
    }

    /// A plugin without discovery takes what names it, and nothing else.
    fn takes(&mut self, sidecar: &Sidecar, by_name: bool) -> Result<bool, Ask> {
        if !sidecar.discovers().map_err(Ask::Sidecar)? {
            return Ok(by_name);
        }
        self.looked_at().map_err(Ask::Render)?;
        let archive = self.archive().map_err(Ask::Render)?;
        let (takes, discovers) = sidecar.matches(archive).map_err(Ask::Sidecar)?;
        Ok(takes || (by_name && !discovers))
    }
}

#[cfg(test)]
mod tests;
