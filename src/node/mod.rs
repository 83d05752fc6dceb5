//! TODO(skeleton): the composition root.

/// Runs a node until `shutdown` resolves.
pub async fn run(_config: crate::config::Config, _shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    anyhow::bail!("this build has no node")
}
