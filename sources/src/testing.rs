//! Where tests find the real programs.
use std::path::PathBuf;
use std::process::Command;

/// A program of the development tools, by name.
pub(crate) fn program(name: &str) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/tools/install.sh");
    let set = std::env::var_os("TAKO_TOOLS").map(PathBuf::from);
    let installed = || {
        let said = Command::new(script).arg("--path").output().ok()?;
        Some(PathBuf::from(String::from_utf8(said.stdout).ok()?.trim()))
    };
    set.into_iter()
        .chain(installed())
        .flat_map(|directory| [directory.join(name), directory.join(".gobin").join(name)])
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not there; run deploy/tools/install.sh"))
}
