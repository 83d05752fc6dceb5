//! `balsa group …`: what groups there are, how far they are, setting their offsets, deleting them.

mod datetime;
mod reset;

use super::answer::{Deletion, Shared, cell};
use super::exit::Outcome;
use super::runtime;
use super::servers::{encoded, table};
use crate::client::Request;
use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// All groups
    List {
        #[command(flatten)]
        shared: Shared,
    },
    /// One group: its members, its offsets, and how far behind it is
    Describe {
        group: String,
        #[command(flatten)]
        shared: Shared,
    },
    /// Set where a group without members goes on; shows the plan, and does it with --execute
    ResetOffsets(Box<Reset>),
    /// Delete a group without members, with its offsets
    Delete {
        group: String,
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

#[derive(clap::Args)]
struct Reset {
    group: String,
    /// A topic, or some partitions of it (orders, orders:0,3); may be given several times
    #[arg(short, long = "topic", value_name = "TOPIC[:PARTITIONS]", conflicts_with = "all_topics")]
    topics: Vec<String>,
    /// All topics that the group has offsets of
    #[arg(long)]
    all_topics: bool,
    #[command(flatten)]
    to: To,
    /// Do it
    #[arg(short = 'y', long, visible_alias = "yes")]
    execute: bool,
    /// Only show the plan, as without --execute
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    #[command(flatten)]
    shared: Shared,
}

/// Where to.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct To {
    /// To the oldest record
    #[arg(long)]
    to_earliest: bool,
    /// Behind the newest record
    #[arg(long)]
    to_latest: bool,
    /// To this offset (of each partition that is named)
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// To the first record at or after a time: 2026-01-31T08:30:00Z, 2026-01-31T08:30:00.000+01:00, or ms since 1970
    #[arg(long, value_name = "TIME")]
    to_datetime: Option<String>,
    /// So many records on, or back (-100)
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    shift_by: Option<i64>,
}

pub fn run(arguments: Arguments) -> Outcome {
    runtime::run_client(async {
        match arguments.command {
            Command::List { shared } => {
                let answer = shared.ask(Request::new(Method::GET, "/v1/groups")).await?;
                shared.show(&answer, listed)
            }
            Command::Describe { group, shared } => {
                let answer = shared.ask(Request::new(Method::GET, path(&group))).await?;
                shared.show(&answer, described)
            }
            Command::ResetOffsets(reset) => reset::run(&reset).await,
            Command::Delete { group, yes, if_exists, shared } => {
                let deletion = Deletion { what: "group", name: &group, with: "its offsets", path: path(&group) };
                deletion.run(json!({"group": group}), yes, if_exists, &shared).await
            }
        }
    })
}

fn path(group: &str) -> String {
    format!("/v1/groups/{}", encoded(group))
}

fn rows(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().into_iter().flatten()
}

fn listed(answer: &Value) -> String {
    let columns = |group: &Value| ["group", "state", "kind", "members"].map(|name| cell(&group[name])).to_vec();
    let groups: Vec<Vec<String>> = rows(&answer["groups"]).map(columns).collect();
    if groups.is_empty() { "no groups\n".to_owned() } else { table(&["group", "state", "kind", "members"], groups) }
}

fn described(group: &Value) -> String {
    let mut text = format!("group {}, {}", cell(&group["group"]), cell(&group["state"]));
    if group["kind"] == "kafka" {
        text += &format!(", generation {}, {}", cell(&group["generation"]), cell(&group["protocol"]));
    }
    text += &format!("\nlag: {} records, {} s\n", cell(&group["lag"]), cell(&group["lag_seconds"]));
    let partitions = |member: &Value| {
        let of = rows(&member["partitions"]).map(|at| format!("{}:{}", cell(&at["topic"]), at["partition"]));
        of.collect::<Vec<_>>().join(" ")
    };
    let members = rows(&group["members"]).map(|member| {
        let mut row = ["member", "client_id", "client_host", "instance_id"].map(|name| cell(&member[name])).to_vec();
        row.push(partitions(member));
        row
    });
    let members: Vec<_> = members.collect();
    if !members.is_empty() {
        text += &format!("\n{}", table(&["member", "client", "host", "instance", "partitions"], members));
    }
    let offsets = rows(&group["offsets"]).map(|of| {
        ["topic", "partition", "offset", "high_watermark", "lag", "lag_seconds"].map(|name| cell(&of[name])).to_vec()
    });
    let offsets: Vec<_> = offsets.collect();
    if !offsets.is_empty() {
        let headings = ["topic", "partition", "offset", "high watermark", "lag", "lag in s"];
        text += &format!("\n{}", table(&headings, offsets));
    }
    text
}
