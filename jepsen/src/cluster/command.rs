//! Runs the system's own tools (`ip`, `nft`, `mount`, …), each with a deadline.

use anyhow::{Context, bail};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// No tool that we use has more to do than this.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Runs a tool and gives what it printed.
///
/// # Errors
/// When it cannot be started, does not end in time, or ends with another code than 0; then with what it said.
pub async fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run_with_input(program, arguments, "").await
}

/// The same, with a text on its standard input.
pub async fn run_with_input(program: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let shown = format!("{program} {}", arguments.join(" "));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // A Ctrl-C in the terminal is for us: a tool must not end in the middle of what we then undo.
    let mut child = command.process_group(0).spawn().with_context(|| shown.clone())?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input.as_bytes()).await.with_context(|| shown.clone())?;
    }
    let output = tokio::time::timeout(TIME_MAX, child.wait_with_output())
        .await
        .with_context(|| format!("{shown}: not done within {} s", TIME_MAX.as_secs()))??;
    if !output.status.success() {
        bail!("{shown}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a tool is, if it is installed.
pub fn found(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Tools for the administrator are often not in the path of others.
    let more = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|dir| dir.join(program)).find(|file| file.is_file())
}
