//! Where the real programs are.
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

/// The directory of built programs.
#[derive(Debug, Clone)]
pub struct Tools {
    directory: PathBuf,
}

const INSTALLER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/install.sh");

impl Tools {
    /// `$TAKO_TOOLS`, else where the installer puts them.
    pub fn locate() -> anyhow::Result<Self> {
        if let Some(directory) = std::env::var_os("TAKO_TOOLS") {
            return Ok(Self { directory: directory.into() });
        }
        let answer =
            Command::new("bash").arg(INSTALLER).arg("--path").output().context("deploy/tools/install.sh --path")?;
        Ok(Self { directory: String::from_utf8(answer.stdout)?.trim().into() })
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
        let path = self.directory.join(name);
        if !path.exists() {
            bail!("{} is missing; run deploy/tools/install.sh", path.display());
        }
        Ok(path)
    }
}
