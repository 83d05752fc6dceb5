//! What commands share that ask for one JSON answer and show it: the flags, the showing, and deletions that ask first.

use super::exit::{Failure, Outcome};
use super::servers::{Output, ServerArguments, grouped, parsed, print};
use crate::client::Request;
use http::Method;
use serde_json::Value;
use std::io::{self, BufRead, IsTerminal, Write};

/// Whom to ask, and how to print the answer.
#[derive(clap::Args)]
pub struct Shared {
    #[command(flatten)]
    pub servers: ServerArguments,
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

impl Shared {
    /// The answer; null where it has no body.
    pub async fn ask(&self, request: Request) -> Result<Value, Failure> {
        let body = self.servers.client().fetch(request).await?;
        if body.is_empty() { Ok(Value::Null) } else { parsed(&body) }
    }

    /// Prints the answer itself, or what `text` makes of it.
    pub fn show(&self, answer: &Value, text: impl FnOnce(&Value) -> String) -> Outcome {
        match self.output {
            Output::Json => print(&format!("{answer}\n")),
            Output::Text => print(&text(answer)),
        }
    }
}

/// Something by name that is to go, with what goes with it.
pub struct Deletion<'a> {
    /// "topic", "group".
    pub what: &'a str,
    pub name: &'a str,
    pub with: &'a str,
    pub path: String,
}

impl Deletion<'_> {
    /// Asks a person unless `yes`, deletes, and shows `answer`.
    pub async fn run(self, answer: Value, yes: bool, if_exists: bool, shared: &Shared) -> Outcome {
        if !yes {
            self.confirm()?;
        }
        let Deletion { what, name, path, .. } = self;
        match shared.servers.client().fetch(Request::new(Method::DELETE, path)).await {
            Ok(_) => shared.show(&answer, |_| format!("{what} {name} was deleted\n")),
            Err(error) if if_exists && error.status() == Some(404) => {
                shared.show(&answer, |_| format!("there is no {what} {name}\n"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks a person; a script must say `--yes`.
    fn confirm(&self) -> Outcome {
        let Deletion { what, name, with, .. } = self;
        if !io::stdin().is_terminal() {
            let text = format_args!("deleting {what} {name} with {with} needs --yes in a script").to_string();
            return Err(Failure::usage(text));
        }
        let _ = write!(io::stderr(), "Delete {what} {name} with {with}? Type its name to go on: ");
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        if read.is_ok() && line.trim() == *name { Ok(()) } else { Err(Failure::failed("not deleted")) }
    }
}

/// A JSON value as a person reads it.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), grouped),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
