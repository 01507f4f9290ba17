//! What a Jsonnet program may read: all that it names in `import`, `importstr` and `importbin`, and what that names. Imports
//! cannot be computed in Jsonnet, so the texts tell them all.
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rsjsonnet_lang::arena::Arena;
use rsjsonnet_lang::interner::StrInterner;
use rsjsonnet_lang::lexer::Lexer;
use rsjsonnet_lang::span::SpanManager;
use rsjsonnet_lang::token::{STokenKind, TokenKind};
use serde::{Deserialize, Serialize};

use crate::request::RenderError;
use crate::tree::{Tree, TreeError, clean, join};

/// One program may consist of so many files.
const FILES_MAX: usize = 5_000;
/// And of so many bytes.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// The name under which the imports of variables stand.
pub(super) const OF_VARIABLES: &str = "";

/// A program and all that it may import.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Sources {
    /// The program.
    pub(super) main: String,
    /// The files by their path in the repository, in base64.
    pub(super) files: BTreeMap<String, String>,
    /// By the file that imports and by what it says: the file that is meant.
    pub(super) imports: BTreeMap<String, BTreeMap<String, String>>,
}

impl Sources {
    /// Everything that `main` and the `codes` of variables may import. `libraries` are looked at in their order, after the directory
    /// of the file that imports.
    pub(super) fn of<'a>(
        tree: &Tree,
        main: &str,
        libraries: &[String],
        codes: impl Iterator<Item = &'a str>,
    ) -> Result<Self, RenderError> {
        for library in libraries {
            // A link that leads out is refused even when nothing is imported from there.
            tree.kind(library)?;
        }
        let mut sources = Self { main: main.to_owned(), ..Self::default() };
        let (mut todo, mut parsed) = (vec![main.to_owned()], BTreeSet::from([main.to_owned()]));
        let mut bytes = 0;
        let mut names: Vec<Import> = codes.flat_map(|code| imports_of(code.as_bytes())).collect();
        let mut from = OF_VARIABLES.to_owned();
        loop {
            for import in std::mem::take(&mut names) {
                let Some(file) = locate(tree, &from, &import.path, libraries)? else { continue };
                sources.imports.entry(from.clone()).or_default().insert(import.path, file.clone());
                if import.is_code {
                    if parsed.insert(file.clone()) {
                        todo.push(file);
                    }
                } else if !sources.files.contains_key(&file) {
                    sources.add(tree, &file, &mut bytes)?;
                }
            }
            let Some(next) = todo.pop() else { return Ok(sources) };
            names = imports_of(&sources.add(tree, &next, &mut bytes)?);
            from = next;
        }
    }

    fn add(&mut self, tree: &Tree, file: &str, bytes: &mut usize) -> Result<Vec<u8>, RenderError> {
        let read = tree.read(file)?;
        *bytes += read.len();
        if self.files.len() >= FILES_MAX || *bytes > BYTES_MAX {
            return Err(RenderError::Spec(format!(
                "{}: the program imports more than {FILES_MAX} files or {BYTES_MAX} bytes",
                self.main
            )));
        }
        self.files.insert(file.to_owned(), BASE64.encode(&read));
        Ok(read)
    }
}

/// One import expression.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    path: String,
    /// `import`, and not a text or bytes.
    is_code: bool,
}

/// The imports of a text; of one that is no Jsonnet those before the fault, which the evaluation tells.
fn imports_of(text: &[u8]) -> Vec<Import> {
    let (arena, ast_arena, interner) = (Arena::new(), Arena::new(), StrInterner::new());
    let mut spans = SpanManager::new();
    let (context, _) = spans.insert_source_context(text.len());
    let lexer = Lexer::new(&arena, &ast_arena, &interner, &mut spans, context, text);
    let Ok(tokens) = lexer.lex_to_eof(false) else { return Vec::new() };
    let imported = tokens.windows(2).filter_map(|pair| match (&pair[0].kind, &pair[1].kind) {
        (TokenKind::Simple(word), TokenKind::String(path)) => match word {
            STokenKind::Import => Some(Import { path: (*path).to_owned(), is_code: true }),
            STokenKind::Importstr | STokenKind::Importbin => Some(Import { path: (*path).to_owned(), is_code: false }),
            _ => None,
        },
        _ => None,
    });
    imported.collect()
}

/// The file that an import means. Nothing outside the repository is ever looked at; `None`: it is not there, which is an error
/// only when it is evaluated.
fn locate(tree: &Tree, from: &str, path: &str, libraries: &[String]) -> Result<Option<String>, RenderError> {
    let outside =
        || RenderError::Tree(TreeError::Outside { path: format!("{from}: import {path:?}"), target: path.to_owned() });
    if path.starts_with('/') {
        return Err(outside());
    }
    let own = from.rsplit_once('/').map_or("", |(directory, _)| directory);
    let places = (from != OF_VARIABLES).then_some(own).into_iter().chain(libraries.iter().map(String::as_str));
    let mut leads_out = false;
    for place in places {
        let Ok(candidate) = clean(&join(place, path)) else {
            leads_out = true;
            continue;
        };
        if tree.is_file(&candidate)? {
            return Ok(Some(candidate));
        }
    }
    if leads_out { Err(outside()) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_wherever_they_stand() {
        let text = br#"
            local a = import 'a.libsonnet'; // import "comment"
            /* import "comment" */ # importstr "comment"
            local b = "import 'text'";
            { x: importstr @'raw\path', y: (importbin "b\u0069n"), z: |||
                import "block"
              |||, import_: 1, 'import': 2 } + import "last"
        "#;
        let found: Vec<(String, bool)> =
            imports_of(text).into_iter().map(|import| (import.path, import.is_code)).collect();
        let want = [("a.libsonnet", true), (r"raw\path", false), ("bin", false), ("last", true)];
        assert_eq!(found, want.map(|(path, code)| (path.to_owned(), code)));
    }
}
