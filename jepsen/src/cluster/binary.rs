//! The program under test: a release build of this workspace, unless another is named.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The top of the workspace that this program was built from.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a member of a workspace")
}

/// How a binary is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    Release,
    /// With the known bugs that can be switched on.
    Mutants,
}

/// Finds the binary; builds it where none is named. Cargo knows whether there is anything to do.
pub fn find(named: Option<&Path>, build: Build) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        let path = std::path::absolute(path)?;
        if !path.is_file() {
            bail!("--binary {}: there is no such file", path.display());
        }
        return Ok(path);
    }
    let arguments: &[&str] = match build {
        Build::Release => &["build", "--release", "--package", "balsa", "--bin", "balsa"],
        Build::Mutants => {
            &["build", "--profile", "mutants", "--features", "mutants", "--package", "balsa", "--bin", "balsa"]
        }
    };
    eprintln!("building the binary under test: cargo {}", arguments.join(" "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(workspace())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo cannot be started; name a binary with --binary")?;
    if !output.status.success() {
        bail!("cargo {}: {}", arguments.join(" "), output.status);
    }
    built(&output.stdout).context("cargo names no binary that it built")
}

/// The path of the binary, from cargo's messages.
fn built(messages: &[u8]) -> Option<PathBuf> {
    let lines = messages.split(|byte| *byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let binaries = messages.filter(|message| message["target"]["name"] == "balsa");
    binaries.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back()
}

/// What the binary says that it is.
pub fn version(binary: &Path) -> anyhow::Result<String> {
    let output = Command::new(binary).arg("--version").output().with_context(|| binary.display().to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || text.is_empty() {
        bail!("{} --version says nothing: is it balsa?", binary.display());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_the_one_that_cargo_names() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"bytes"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"balsa"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"balsa"},"executable":"/t/release/balsa"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(built(messages), Some(PathBuf::from("/t/release/balsa")));
        assert_eq!(built(b"{}"), None);
    }
}
