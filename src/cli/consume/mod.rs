//! `balsa consume`: records to standard output, up to the end or for ever.
//!
//! The position is kept here, so that reading goes on at another server where one is lost: nothing is shown twice, and
//! nothing is left out.

mod page;

use super::exit::{Failure, Outcome};
use super::runtime;
use super::servers::{ServerArguments, encoded};
use crate::client::{Client, ClientError, Request};
use clap::ValueEnum;
use http::Method;
use page::{Page, Shape};
use std::io::{self, Write};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    topic: String,
    #[command(flatten)]
    servers: ServerArguments,
    /// Only this partition
    #[arg(short, long)]
    partition: Option<u32>,
    /// Where to begin: earliest, latest, OFFSET (of one partition), tail:N (the last N), time:MS (since the epoch)
    #[arg(long, default_value = "earliest")]
    from: String,
    /// End after so many records
    #[arg(short = 'n', long)]
    count: Option<u64>,
    /// Wait for more records at the end
    #[arg(short, long)]
    follow: bool,
    /// How values look in JSON: auto, text, json or base64
    #[arg(long, default_value = "auto")]
    format: String,
    /// What is printed of a record
    #[arg(short, long, value_enum, default_value = "value")]
    output: Output,
    /// Print the key too, and this behind it
    #[arg(long, value_name = "SEPARATOR")]
    key_separator: Option<String>,
    /// Ask a quorum before each read, so that everything acknowledged before is seen
    #[arg(long)]
    linearizable: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The value's bytes, a line each
    Value,
    /// The whole record as JSON, a line each
    Json,
}

const PAGE_RECORDS_MAX: u64 = 10_000;
const PAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long a server holds an empty answer while following.
const WAIT_MS: u64 = 20_000;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(40);
/// Without `--follow`, how long servers that don't answer are asked again.
const OUTAGE_TIME_MAX: Duration = Duration::from_secs(30);
const OUTAGE_PAUSE: Duration = Duration::from_millis(200);

pub fn run(arguments: Arguments) -> Outcome {
    if arguments.partition.is_none() && arguments.from.bytes().all(|byte| byte.is_ascii_digit()) {
        let from = &arguments.from;
        return Err(Failure::usage(format_args!("--from {from} is an offset of one partition: add --partition P")));
    }
    runtime::run_client(consume(arguments))
}

/// Where the next read begins.
struct Position {
    path: String,
    /// `offset=…` or `cursor=…`.
    query: String,
}

impl Position {
    fn start(arguments: &Arguments) -> Position {
        let topic = encoded(&arguments.topic);
        let path = match arguments.partition {
            Some(partition) => format!("/v1/topics/{topic}/partitions/{partition}/records"),
            None => format!("/v1/topics/{topic}/records"),
        };
        Position { path, query: format!("offset={}", arguments.from.replace(' ', "%20")) }
    }

    fn advance(&mut self, page: &Page<'_>) -> Result<(), Failure> {
        self.query = match (page.next_offset, &page.next_cursor) {
            (Some(offset), _) => format!("offset={offset}"),
            (None, Some(cursor)) => format!("cursor={}", encoded(cursor)),
            (None, None) => return Err(Failure::failed("the server's answer does not say where to go on")),
        };
        Ok(())
    }

    fn request(&self, arguments: &Arguments, limit: u64) -> Request {
        let wait_ms = if arguments.follow { WAIT_MS } else { 0 };
        let format = if arguments.output == Output::Value { "text" } else { &arguments.format };
        let consistency = if arguments.linearizable { "&consistency=linearizable" } else { "" };
        let (path, query, format) = (&self.path, &self.query, encoded(format));
        let target = format!(
            "{path}?{query}&limit={limit}&max_bytes={PAGE_BYTES_MAX}&wait_ms={wait_ms}&format={format}{consistency}"
        );
        Request::new(Method::GET, target).accept("application/json").within(ANSWER_TIME_MAX)
    }
}

async fn consume(arguments: Arguments) -> Outcome {
    let mut client = arguments.servers.client();
    let mut position = Position::start(&arguments);
    let shape = Shape { whole: arguments.output == Output::Json, key_separator: arguments.key_separator.clone() };
    let mut left = arguments.count.unwrap_or(u64::MAX);
    let mut outage = Outage::new(arguments.follow, arguments.servers.list().len());
    let mut out = Vec::new();
    while left > 0 {
        let body = match client.fetch(position.request(&arguments, left.min(PAGE_RECORDS_MAX))).await {
            Ok(body) => body,
            Err(error) => {
                outage.pause_or_give_up(&mut client, error).await?;
                continue;
            }
        };
        outage.end();
        let page = Page::parse(&body)?;
        position.advance(&page)?;
        out.clear();
        for record in &page.records {
            shape.push(&mut out, record)?;
        }
        write_out(&out)?;
        left -= left.min(page.records.len() as u64);
        if page.records.is_empty() && !arguments.follow {
            break;
        }
    }
    Ok(())
}

fn write_out(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

/// A time during which no server gives an answer.
struct Outage {
    follow: bool,
    servers: usize,
    since: Option<Instant>,
    tried: usize,
}

impl Outage {
    fn new(follow: bool, servers: usize) -> Outage {
        Outage { follow, servers, since: None, tried: 0 }
    }

    fn end(&mut self) {
        self.since = None;
        self.tried = 0;
    }

    /// Turns to the next server; waits when all were asked. Follows for ever, else gives up after a while.
    async fn pause_or_give_up(&mut self, client: &mut Client, error: ClientError) -> Outcome {
        let passing =
            matches!(error.status(), None | Some(429 | 503 | 504)) && !matches!(error, ClientError::Unexpected(_));
        let began = self.since.is_none();
        let since = *self.since.get_or_insert_with(Instant::now);
        // The very first request tells whether there is a cluster at all.
        let hopeless =
            !self.follow && (since.elapsed() > OUTAGE_TIME_MAX || matches!(error, ClientError::Unreachable(_)));
        if !passing || hopeless {
            return Err(error.into());
        }
        if began {
            // Where nobody reads it, nobody misses it.
            let _ = writeln!(io::stderr(), "balsa: {error}; trying again");
        }
        client.turn();
        self.tried += 1;
        if self.tried.is_multiple_of(self.servers) {
            tokio::time::sleep(OUTAGE_PAUSE).await;
        }
        Ok(())
    }
}
