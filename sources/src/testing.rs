//! What tests of this crate share: where the real programs are.
use std::path::PathBuf;
use std::process::Command;

/// A real program, where `deploy/tools/install.sh` puts it.
pub(crate) fn program(name: &str) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/tools/install.sh");
    let ask = |flag: &str| {
        let said = Command::new(script).arg(flag).output().map(|output| output.stdout).unwrap_or_default();
        PathBuf::from(String::from_utf8_lossy(&said).trim())
    };
    let found = ["--path", "--render-path"].map(|flag| ask(flag).join(name)).into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not there; run deploy/tools/install.sh"))
}
