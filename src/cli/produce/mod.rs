//! `balsa produce`: lines from standard input or a file become records, in one ndjson stream.
//!
//! Lines are sent as they come, and acknowledged while more are sent. What a broken connection leaves unknown is said:
//! this command does not send a line twice by itself.

mod lines;
mod replies;

use super::exit::{Code, Failure, Outcome};
use super::runtime;
use super::servers::{Output, ServerArguments, encoded, grouped, print};
use crate::client::{Body, ClientError, Request};
use bytes::Bytes;
use clap::ValueEnum;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::{BodyExt, StreamBody};
use lines::{LineFormat, Source};
use replies::Replies;
use serde_json::json;
use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

#[derive(clap::Args)]
#[command(after_help = "Each line is a record's value, up to the line end. Ends with exit code 1 where lines were \
                        refused, and 4 where it is unknown whether some were written.")]
pub struct Arguments {
    topic: String,
    #[command(flatten)]
    servers: ServerArguments,
    /// Read this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Key of all records
    #[arg(short, long)]
    key: Option<String>,
    /// Each line is KEY, this separator, VALUE
    #[arg(long, value_name = "SEPARATOR", conflicts_with = "key", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// Each line is a whole record as JSON: {"key": …, "value": …, "headers": …}
    #[arg(long, conflicts_with_all = ["key", "key_separator", "headers"])]
    json: bool,
    /// Partition of all records; else by key, else spread
    #[arg(short, long)]
    partition: Option<u32>,
    /// A header of all records; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// When a record counts as written: on disk on a quorum, on the leader, or at once
    #[arg(long, value_enum, default_value = "all")]
    acks: Acks,
    /// How long the server may try
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    timeout_ms: u64,
    /// Report lines that are refused, and go on
    #[arg(long)]
    skip_errors: bool,
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Acks {
    All,
    #[value(name = "1")]
    Leader,
    #[value(name = "0")]
    None,
}

/// Chunks between the reader of lines and the connection.
const CHUNKS_WAITING_MAX: usize = 4;

pub fn run(arguments: Arguments) -> Outcome {
    let format = line_format(&arguments)?;
    let source = Source::open(arguments.file.as_deref())?;
    runtime::run_client(produce(arguments, format, source))
}

fn line_format(arguments: &Arguments) -> Result<LineFormat, Failure> {
    if arguments.json {
        return Ok(LineFormat::Records);
    }
    let mut headers = Vec::new();
    for header in &arguments.headers {
        let (name, value) = header
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Failure::usage(format_args!("-H {header:?}: expected NAME=VALUE")))?;
        headers.push((name.to_owned(), value.to_owned()));
    }
    Ok(LineFormat::values(arguments.key.as_deref(), arguments.key_separator.as_deref(), &headers))
}

fn target(arguments: &Arguments) -> String {
    let topic = encoded(&arguments.topic);
    let partition = arguments.partition.map_or_else(String::new, |number| format!("/partitions/{number}"));
    let acks = match arguments.acks {
        Acks::All => "all",
        Acks::Leader => "1",
        Acks::None => "0",
    };
    let on_error = if arguments.skip_errors { "&on_error=skip" } else { "" };
    format!("/v1/topics/{topic}{partition}/records?acks={acks}&timeout_ms={}{on_error}", arguments.timeout_ms)
}

async fn produce(arguments: Arguments, format: LineFormat, source: Source) -> Outcome {
    let started = Instant::now();
    let (chunks, mut inbox) = mpsc::channel::<Bytes>(CHUNKS_WAITING_MAX);
    let reading = lines::read_on_a_thread(source, format, chunks)?;
    let stream = futures::stream::poll_fn(move |context| inbox.poll_recv(context)).map_data();
    let request = Request {
        method: Method::POST,
        target: target(&arguments),
        headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))],
        body: Body::Stream(StreamBody::new(stream).boxed_unsync()),
        // The answer begins with the first line, which may be typed by hand.
        time_max: Duration::MAX,
        repeatable: false,
    };
    let mut client = arguments.servers.client();
    let response = client.send(request).await?;
    let mut replies = Replies::new(arguments.output);
    let ended = replies.read(response.into_body()).await;
    let lines_failure = reading.failure();
    summary(&arguments, &replies, started.elapsed())?;
    if let Some(failure) = lines_failure {
        return Err(failure);
    }
    if let Err(error) = ended {
        let acknowledged = grouped(replies.records);
        let text = format!("{error}; {acknowledged} records were acknowledged, whether more were written is unknown");
        return Err(Failure::from(ClientError::Broken(text)));
    }
    replies.outcome()
}

fn summary(arguments: &Arguments, replies: &Replies, time: Duration) -> Outcome {
    let seconds = time.as_secs_f64();
    if arguments.output == Output::Json {
        let object = json!({"records": replies.records, "refused": replies.refused, "seconds": seconds});
        return print(&format!("{object}\n"));
    }
    let rate = grouped((replies.records as f64 / seconds.max(0.001)) as u64);
    replies.say(&format!("{} records in {seconds:.2} s ({rate}/s)", grouped(replies.records)));
    Ok(())
}

/// Chunks of bytes as frames of a body that cannot fail.
trait MapData: futures::Stream<Item = Bytes> + Sized {
    fn map_data(self) -> impl futures::Stream<Item = Result<http_body::Frame<Bytes>, Infallible>> {
        futures::StreamExt::map(self, |bytes| Ok(http_body::Frame::data(bytes)))
    }
}

impl<S: futures::Stream<Item = Bytes>> MapData for S {}

/// Lines were refused.
fn refused(count: u64) -> Failure {
    Failure::new(Code::Failed, format_args!("{} lines were refused", grouped(count)))
}
