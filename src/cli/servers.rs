//! What all client commands share: which servers to ask, how an answer that is none becomes an exit code.

use super::exit::{Code, Failure};
use crate::client::{Client, ClientError, Server};
use clap::ValueEnum;
use serde_json::Value;
use std::io::{self, Write};

/// Where a cluster is asked.
#[derive(clap::Args)]
pub struct ServerArguments {
    /// Servers to ask; the next one is asked where one does not answer
    #[arg(
        short,
        long = "server",
        value_name = "URL[,URL…]",
        env = "BALSA_SERVER",
        default_value = "http://127.0.0.1:8082",
        value_delimiter = ','
    )]
    servers: Vec<Server>,
}

impl ServerArguments {
    pub fn client(&self) -> Client {
        Client::new(self.servers.clone())
    }

    pub fn list(&self) -> &[Server] {
        &self.servers
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let code = match &error {
            ClientError::Unreachable(_) | ClientError::Broken(_) => Code::Unavailable,
            ClientError::Unexpected(_) => Code::Failed,
            ClientError::Problem(problem) => match problem.status {
                404 => Code::NotFound,
                409 | 422 => Code::Conflict,
                429 | 503 | 504 => Code::Unavailable,
                400..500 => Code::Usage,
                _ => Code::Failed,
            },
        };
        Failure::new(code, error)
    }
}

/// Reads a JSON answer.
pub fn parsed(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::failed(format_args!("the server's answer is not the JSON that was expected ({error})"))
    })
}

/// Writes to standard output, whole and at once.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

/// Rows under headings, without lines between them: easy to read, easy to cut.
pub fn table(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(headings).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.to_string();
    lines.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Groups the digits of a number: 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of a path or query, with everything encoded that is not plain.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let shown: Vec<String> = [0, 999, 1000, 1_234_567].into_iter().map(grouped).collect();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn what_is_not_plain_is_encoded() {
        assert_eq!(encoded("a/b?c=ü"), "a%2Fb%3Fc%3D%C3%BC");
    }

    #[test]
    fn tables_have_no_trailing_spaces() {
        let text = table(&["name", "n"], vec![vec!["a".into(), "1".into()], vec!["long".into(), "2".into()]]);
        assert_eq!(text, "name  n\na     1\nlong  2\n");
    }
}
