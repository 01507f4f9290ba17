//! `tako manifests`: flags to [`tako_sources::manifests`], and the answer as YAML or JSON.
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::Value;
use tako_sources::manifests::{Offline, manifests};
use tako_sources::request::ClusterInfo;

/// Most bytes of one file.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Flags of `tako manifests`.
#[derive(Args)]
pub(crate) struct ManifestsArgs {
    /// Files with the Application, and beside it repository Secrets, argocd-cm and argocd-cmd-params-cm; `-` is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The Application, when the files hold several
    #[arg(long)]
    app: Option<String>,
    /// Take the files of this working copy instead of fetching the repository
    #[arg(long)]
    local: Option<PathBuf>,
    /// Which repositories --local stands for (default: all git repositories of the Application)
    #[arg(long, requires = "local")]
    local_url: Vec<String>,
    /// Render this revision instead of targetRevision
    #[arg(long)]
    revision: Option<String>,
    /// The version of the cluster, as charts see it
    #[arg(long, default_value = "1.35.0")]
    kube_version: String,
    /// What the cluster serves, as charts see it
    #[arg(long, value_delimiter = ',')]
    api_versions: Vec<String>,
    /// File with age identities (age-keygen): opens what SOPS encrypted, and prints it in clear
    #[arg(long, env = "SOPS_AGE_KEY_FILE")]
    sops_keys: Option<PathBuf>,
    /// How the manifests are printed
    #[arg(long, short, value_enum, default_value_t = Format::Yaml)]
    output: Format,
    /// Where fetched repositories are kept (default: a directory that is removed at the end)
    #[arg(long, env = "TAKO_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Documents.
    Yaml,
    /// One List.
    Json,
}

/// Renders and prints.
pub(crate) fn manifests_of(args: ManifestsArgs) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir().context("no directory for the render; check the disk and TMPDIR")?;
    let files = args.files.iter().map(|file| read(file)).collect::<anyhow::Result<_>>()?;
    let local = args.local.map(|local| local.canonicalize().with_context(|| format!("--local {}", local.display())));
    let offline = Offline {
        files,
        name: args.app,
        local: local.transpose()?,
        local_urls: args.local_url,
        revision: args.revision,
        cluster: ClusterInfo { kube_version: args.kube_version, api_versions: args.api_versions.into() },
        sops_keys: args.sops_keys.as_deref().map(read).transpose()?,
        data_dir: args.data_dir.unwrap_or_else(|| scratch.path().to_owned()),
    };
    print(&manifests(&offline)?, args.output)
}

fn read(file: &Path) -> anyhow::Result<(String, String)> {
    let mut text = String::new();
    let name = file.display().to_string();
    let whole = |reader: &mut dyn std::io::Read, text: &mut String| reader.take(FILE_BYTES_MAX).read_to_string(text);
    if name == "-" {
        whole(&mut std::io::stdin(), &mut text).context("standard input cannot be read")?;
        return Ok(("standard input".to_owned(), text));
    }
    let mut opened = std::fs::File::open(file).with_context(|| format!("{name} cannot be read"))?;
    whole(&mut opened, &mut text).with_context(|| format!("{name} cannot be read"))?;
    Ok((name, text))
}

fn print(manifests: &[Value], format: Format) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => {
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": manifests});
            writeln!(out, "{}", serde_json::to_string_pretty(&list)?)?;
        }
        Format::Yaml => {
            for manifest in manifests {
                write!(out, "---\n{}", tako_engine::parse::to_yaml(manifest))?;
            }
        }
    }
    Ok(())
}
