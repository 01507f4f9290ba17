//! Jsonnet files of a directory (Argo CD, user guide, "Jsonnet"). What a program imports is read here, from the repository alone
//! (research/pains.md S-07); the evaluation, which nothing in the language bounds, runs in a process of its own that gets the
//! texts and no file system.
mod imports;
pub(crate) mod worker;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tako_engine::source::JsonnetVar;

use self::imports::Sources;
use crate::environment::Environment;
use crate::process::{ProcessError, Program};
use crate::request::{RenderError, Request};
use crate::tree::clean;

/// What the process is told.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    sources: Sources,
    ext_vars: Vec<Variable>,
    tlas: Vec<Variable>,
}

/// An external variable or a top-level argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Variable {
    name: String,
    value: String,
    code: bool,
}

/// Evaluates one file. Its result is an object or a list of them.
pub(crate) fn render(request: &Request, file: &str) -> Result<Vec<Value>, RenderError> {
    let said = request.source.directory.clone().unwrap_or_default().jsonnet.unwrap_or_default();
    let environment = Environment::of(request);
    let variables = |vars: &[JsonnetVar]| -> Vec<Variable> {
        let of = |var: &JsonnetVar| Variable {
            name: var.name.clone(),
            value: environment.substitute(&var.value),
            code: var.code,
        };
        vars.iter().map(of).collect()
    };
    let (ext_vars, tlas) = (variables(&said.ext_vars), variables(&said.tlas));
    // The last library is looked at first, the directory of the Application last, as in Argo CD.
    let mut libraries: Vec<String> = said.libs.iter().rev().map(|lib| clean(lib)).collect::<Result<_, _>>()?;
    libraries.push(request.path()?);
    let codes = ext_vars.iter().chain(&tlas).filter(|var| var.code).map(|var| var.value.as_str());
    let sources = Sources::of(&request.tree, file, &libraries, codes)?;
    let text = evaluate(request, file, &Job { sources, ext_vars, tlas })?;
    let value = serde_json::from_str(&text).map_err(|error| RenderError::Failed {
        tool: "jsonnet",
        message: format!("{file}: not valid JSON: {error}"),
    })?;
    Ok(tako_engine::parse::objects_of(file, value)?)
}

fn evaluate(request: &Request, file: &str, job: &Job) -> Result<String, RenderError> {
    let failed = |message: String| RenderError::Failed { tool: "jsonnet", message };
    let own =
        || std::env::current_exe().map_err(|error| failed(format!("{file}: the worker cannot be found: {error}")));
    let program = match &request.settings.tools.jsonnet {
        Some(program) => program.clone(),
        None => own()?,
    };
    let jail = request.jail()?;
    let input = serde_json::to_vec(job).map_err(|error| failed(error.to_string()))?;
    let said = Program::new(program, jail.path())
        .arg("render-jsonnet")
        .stdin(input)
        .time(request.settings.exec_timeout)
        .run()
        .map_err(|error| match error {
            // The worker names the file and the line itself.
            ProcessError::Failed { stderr, how, .. } if how == "exit status 1" && !stderr.is_empty() => failed(stderr),
            ProcessError::Failed { how, .. } => {
                failed(format!("{file}: the evaluation was ended ({how}): it needs too much memory or nests too deep"))
            }
            other => failed(format!("{file}: {other}")),
        })?;
    String::from_utf8(said.stdout).map_err(|_| failed(format!("{file}: the result is not UTF-8 text")))
}

#[cfg(test)]
mod tests;
