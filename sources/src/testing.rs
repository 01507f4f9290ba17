//! What tests of this crate share. Knows where the real programs are.
use std::path::PathBuf;
use std::process::Command;

/// A real program: in `$TAKO_TOOLS`, else where `deploy/tools/install.sh` puts them.
pub(crate) fn program(name: &str) -> PathBuf {
    let installed = || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/tools/install.sh");
        let said = Command::new(script).arg("--path").output().map(|output| output.stdout).unwrap_or_default();
        PathBuf::from(String::from_utf8_lossy(&said).trim())
    };
    let roots = [std::env::var_os("TAKO_TOOLS").map(PathBuf::from), Some(installed())];
    let found = roots.into_iter().flatten().flat_map(|root| [root.join(name), root.join(".gobin").join(name)]);
    found
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not there; run deploy/tools/install.sh"))
}
