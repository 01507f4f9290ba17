//! Where the real programs are.
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// The directory of built programs.
#[derive(Debug, Clone)]
pub struct Tools {
    directory: PathBuf,
    render: PathBuf,
}

const INSTALLER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/install.sh");

impl Tools {
    /// Where the installer puts them (below `$TAKO_TOOLS`, when that is set).
    pub fn locate() -> anyhow::Result<Self> {
        let ask = |flag: &str| -> anyhow::Result<PathBuf> {
            let answer = Command::new("bash").arg(INSTALLER).arg(flag).output().context("deploy/tools/install.sh")?;
            Ok(String::from_utf8(answer.stdout)?.trim().into())
        };
        Ok(Self { directory: ask("--path")?, render: ask("--render-path")? })
    }

    /// The directory of helm and kustomize, for PATH.
    pub fn render_directory(&self) -> &Path {
        &self.render
    }

    /// Builds what is missing, showing its progress.
    pub fn install() -> anyhow::Result<()> {
        let status = Command::new("bash").arg(INSTALLER).status()?;
        if !status.success() {
            bail!("deploy/tools/install.sh failed; see above");
        }
        Ok(())
    }

    /// A program. Missing, it is an error that says what to run.
    pub fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let paths = [self.directory.join(name), self.render.join(name)];
        match paths.iter().find(|path| path.is_file()) {
            Some(path) => Ok(path.clone()),
            None => bail!("{} is missing; run deploy/tools/install.sh", paths[0].display()),
        }
    }
}
