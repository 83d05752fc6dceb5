//! `balsa topic …`: what topics there are, and making, changing and deleting them.

use super::answer::{Deletion, Shared, cell};
use super::exit::{Failure, Outcome};
use super::runtime;
use super::servers::{encoded, parsed, table};
use crate::client::Request;
use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// All topics
    List {
        #[command(flatten)]
        shared: Shared,
    },
    /// Make a topic
    Create {
        topic: String,
        /// How many partitions
        #[arg(short, long)]
        partitions: Option<u32>,
        /// Replicas of each partition
        #[arg(short, long)]
        replication_factor: Option<u32>,
        /// Replicas by partition instead, the preferred leader first: 1,2,3;2,3,1
        #[arg(long, value_name = "IDS;IDS;…", conflicts_with_all = ["partitions", "replication_factor"])]
        assignments: Option<String>,
        /// A setting of the topic; may be given several times
        #[arg(short, long, value_name = "KEY=VALUE")]
        config: Vec<String>,
        /// No error where it exists already
        #[arg(long)]
        if_not_exists: bool,
        #[command(flatten)]
        shared: Shared,
    },
    /// One topic: settings, and each partition's leader, replicas and offsets
    Describe {
        topic: String,
        #[command(flatten)]
        shared: Shared,
    },
    /// Change settings, or add partitions
    Alter {
        topic: String,
        /// How many partitions it shall have (more than now)
        #[arg(short, long)]
        partitions: Option<u32>,
        /// A setting; without a value (KEY=) it goes back to its default
        #[arg(short, long, value_name = "KEY=VALUE")]
        config: Vec<String>,
        #[command(flatten)]
        shared: Shared,
    },
    /// Delete a topic and all its records
    Delete {
        topic: String,
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
        /// No error where there is none
        #[arg(long)]
        if_exists: bool,
        #[command(flatten)]
        shared: Shared,
    },
}

pub fn run(arguments: Arguments) -> Outcome {
    runtime::run_client(async {
        match arguments.command {
            Command::List { shared } => list(&shared).await,
            Command::Create { topic, partitions, replication_factor, assignments, config, if_not_exists, shared } => {
                let body = create_body(&topic, partitions, replication_factor, assignments.as_deref(), &config)?;
                create(&body, if_not_exists, &shared).await
            }
            Command::Describe { topic, shared } => {
                let topic = shared.ask(Request::new(Method::GET, path(&topic))).await?;
                shared.show(&topic, described)
            }
            Command::Alter { topic, partitions, config, shared } => {
                let body = alter_body(partitions, &config)?;
                let topic = shared.ask(Request::new(Method::PATCH, path(&topic)).json(&body)).await?;
                shared.show(&topic, described)
            }
            Command::Delete { topic, yes, if_exists, shared } => {
                let deletion = Deletion { what: "topic", name: &topic, with: "all its records", path: path(&topic) };
                deletion.run(json!({"name": topic}), yes, if_exists, &shared).await
            }
        }
    })
}

fn path(topic: &str) -> String {
    format!("/v1/topics/{}", encoded(topic))
}

async fn list(shared: &Shared) -> Outcome {
    let answer = shared.ask(Request::new(Method::GET, "/v1/topics")).await?;
    shared.show(&answer, |answer| {
        let topics = answer.get("topics").unwrap_or(answer).as_array().cloned().unwrap_or_default();
        if topics.is_empty() {
            return "no topics\n".to_owned();
        }
        let rows = topics.iter().map(|topic| {
            let partitions = match &topic["partitions"] {
                Value::Array(list) => list.len().to_string(),
                other => cell(other),
            };
            vec![cell(&topic["name"]), partitions, cell(&topic["replication_factor"])]
        });
        table(&["topic", "partitions", "replicas"], rows.collect())
    })
}

async fn create(body: &Value, if_not_exists: bool, shared: &Shared) -> Outcome {
    let request = Request::new(Method::POST, "/v1/topics").json(body);
    match shared.servers.client().fetch(request).await {
        Ok(answer) => shared.show(&parsed(&answer)?, |topic| format!("topic {} was made\n", cell(&topic["name"]))),
        Err(error) if if_not_exists && error.status() == Some(409) => {
            shared.show(body, |topic| format!("topic {} exists already\n", cell(&topic["name"])))
        }
        Err(error) => Err(error.into()),
    }
}

fn create_body(
    topic: &str,
    partitions: Option<u32>,
    replication_factor: Option<u32>,
    assignments: Option<&str>,
    config: &[String],
) -> Result<Value, Failure> {
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(topic));
    body.extend(partitions.map(|count| ("partitions".to_owned(), json!(count))));
    body.extend(replication_factor.map(|count| ("replication_factor".to_owned(), json!(count))));
    if let Some(text) = assignments {
        let lists = text.split(';').map(|list| list.split(',').map(|id| id.trim().parse::<u64>()).collect());
        let lists: Vec<Vec<u64>> = lists
            .collect::<Result<_, _>>()
            .map_err(|_| Failure::usage(format_args!("--assignments {text}: expected node ids such as 1,2,3;2,3,1")))?;
        body.insert("assignments".to_owned(), json!(lists));
    }
    if !config.is_empty() {
        let pairs: Vec<(String, String)> = config.iter().map(|pair| setting(pair)).collect::<Result<_, _>>()?;
        body.insert("config".to_owned(), pairs.into_iter().map(|(key, value)| (key, json!(value))).collect());
    }
    Ok(Value::Object(body))
}

fn alter_body(partitions: Option<u32>, config: &[String]) -> Result<Value, Failure> {
    let mut body = Map::new();
    body.extend(partitions.map(|count| ("partitions".to_owned(), json!(count))));
    let mut settings = Map::new();
    for pair in config {
        let (key, value) = setting(pair)?;
        settings.insert(key, if value.is_empty() { Value::Null } else { json!(value) });
    }
    if !settings.is_empty() {
        body.insert("config".to_owned(), Value::Object(settings));
    }
    if body.is_empty() {
        return Err(Failure::usage("nothing to alter: give --partitions or --config KEY=VALUE"));
    }
    Ok(Value::Object(body))
}

fn setting(pair: &str) -> Result<(String, String), Failure> {
    let parts = pair.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = parts.ok_or_else(|| Failure::usage(format_args!("--config {pair}: expected KEY=VALUE")))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn described(topic: &Value) -> String {
    let mut text = format!("topic {}, id {}\n", cell(&topic["name"]), cell(&topic["id"]));
    for (key, value) in topic["config"].as_object().into_iter().flatten() {
        text += &format!("{key} = {}\n", cell(value));
    }
    let rows = topic["partitions"].as_array().into_iter().flatten().map(|partition| {
        ["partition", "leader", "term", "replicas", "in_sync", "log_start_offset", "high_watermark", "size_bytes"]
            .map(|name| cell(&partition[name]))
            .to_vec()
    });
    let headings = ["partition", "leader", "term", "replicas", "in sync", "log start", "high watermark", "bytes"];
    text + "\n" + &table(&headings, rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_only_what_was_asked_for() {
        let body = create_body("t", Some(3), None, None, &["a=b=c".to_owned()]).unwrap();
        assert_eq!(body, json!({"name": "t", "partitions": 3, "config": {"a": "b=c"}}));
        let body = create_body("t", None, None, Some("1,2;2, 1"), &[]).unwrap();
        assert_eq!(body, json!({"name": "t", "assignments": [[1, 2], [2, 1]]}));
        assert!(create_body("t", None, None, Some("1,x"), &[]).is_err());
        assert_eq!(alter_body(None, &["a=".to_owned()]).unwrap(), json!({"config": {"a": null}}));
        assert!(alter_body(None, &[]).is_err());
        assert!(alter_body(None, &["=b".to_owned()]).is_err());
    }
}
