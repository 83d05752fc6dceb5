//! A Kafka client in a process of its own: asked by JSON lines, answered in any order.
//!
//! The client is an unmodified library (librdkafka) behind a few lines of Python, which are part of this program. It ends
//! when its input ends, so also when this program is killed.

use crate::workload::world::World;
use anyhow::{Context, bail};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

const PROGRAM: &str = include_str!("../../../clients/kafka_client.py");
/// How a Python with what [`PROGRAM`] needs is made.
const SETUP: &str =
    "python3 -m venv target/jepsen-python && target/jepsen-python/bin/pip install -r jepsen/clients/requirements.txt";

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

pub struct Child {
    // Killed when it is dropped.
    _process: tokio::process::Child,
    input: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
    reader: tokio::task::JoinHandle<()>,
}

/// The client gave no answer: it has ended, or hangs.
#[derive(Debug)]
pub struct Silent(pub &'static str);

/// Whether there is a Python that can run clients.
pub async fn is_possible(python: &Path) -> anyhow::Result<()> {
    let output = Command::new(python).args(["-c", "import confluent_kafka"]).stdin(Stdio::null()).output().await;
    match output {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!("{} cannot import confluent_kafka, which this workload's clients are; {SETUP}", python.display()),
    }
}

impl Child {
    /// Starts a client; what it complains of goes to the run's directory.
    pub fn start(world: &World, name: &str, arguments: &[String]) -> anyhow::Result<Child> {
        let log = world.dir.join(format!("client-{name}.log"));
        let log = std::fs::File::options().create(true).append(true).open(&log).context(log.display().to_string())?;
        let mut command = Command::new(&world.python);
        command.args(["-c", PROGRAM]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut process = command.spawn().with_context(|| world.python.display().to_string())?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { bail!("a client has no pipes") };
        let waiting = Waiting::default();
        let reader = tokio::spawn(read(output, waiting.clone()));
        Ok(Child { _process: process, input: input.into(), waiting, next: AtomicU64::new(0), reader })
    }

    /// Whether it can still answer.
    pub fn is_alive(&self) -> bool {
        !self.reader.is_finished()
    }

    /// Asks, and waits for the answer.
    pub async fn ask<Told: DeserializeOwned>(&self, command: Value, patience: Duration) -> Result<Told, Silent> {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let Value::Object(mut fields) = command else { unreachable!("commands are objects") };
        fields.insert("id".to_owned(), id.into());
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().insert(id, sender);
        let told = tokio::time::timeout(patience, self.round(fields, answer)).await;
        self.waiting.lock().remove(&id);
        let told = told.unwrap_or(Err(Silent("timeout")))?;
        serde_json::from_value(told).map_err(|_| Silent("unsound-answer"))
    }

    async fn round(&self, fields: Map<String, Value>, answer: oneshot::Receiver<Value>) -> Result<Value, Silent> {
        let mut line = Value::Object(fields).to_string();
        line.push('\n');
        self.input.lock().await.write_all(line.as_bytes()).await.map_err(|_| Silent("client-ended"))?;
        answer.await.map_err(|_| Silent("client-ended"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Hands answers to those who wait, until the client ends; then nobody waits any more.
async fn read(output: ChildStdout, waiting: Waiting) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(told) = serde_json::from_str::<Value>(&line) else { continue };
        let asked = told.get("id").and_then(Value::as_u64).and_then(|id| waiting.lock().remove(&id));
        if let Some(asked) = asked {
            let _ = asked.send(told);
        }
    }
    waiting.lock().clear();
}
