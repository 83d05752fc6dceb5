//! Small JSON bodies, strictly read: unknown and repeated members are refused by name, bad values with a JSON pointer.
//!
//! For requests about topics. Records have a faster reader of their own (`json_record`).

use super::json_scan::Scanner;
use super::problem::{self, Problem};
use super::query::shown;
use super::{App, body};
use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The members of a JSON object, each with its text.
#[derive(Debug)]
pub struct Fields<'a> {
    members: Vec<(String, &'a str)>,
}

/// Collects a body that must be JSON by its type. A missing type counts as JSON; another one is refused with the
/// command line that works.
pub async fn json_body(app: &App, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let given = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    let media_type = given.split(';').next().unwrap_or("").trim();
    if media_type.is_empty() || media_type.eq_ignore_ascii_case("application/json") {
        return body::collect(app, headers, body).await;
    }
    Err(Problem::new(
        &problem::UNSUPPORTED_MEDIA_TYPE,
        format!(
            "Content-Type {} does not work here; send JSON: curl -H 'Content-Type: application/json' -d '{{…}}'",
            shown(given)
        ),
    )
    .with("supported", vec!["application/json"]))
}

impl<'a> Fields<'a> {
    /// Reads `body`, which must be one JSON object whose members are among `known`.
    pub fn parse(body: &'a [u8], known: &[&str]) -> Result<Fields<'a>, Problem> {
        let text = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to();
            Problem::new(&problem::BAD_JSON, format!("the body is not UTF-8 at byte {at}; JSON is sent as UTF-8"))
        })?;
        let mut scanner = Scanner::new(text);
        scanner.blanks();
        if scanner.peek() != b'{' {
            let members = known.join(", ");
            let found = if text.trim().is_empty() { "is empty" } else { "is not a JSON object" };
            return Err(Problem::new(
                &problem::BAD_JSON,
                format!("the body {found}; send an object with the members {members}"),
            ));
        }
        Fields::read(text, scanner, |name| match known.contains(&name) {
            true => Ok(()),
            false => Err(unknown_field(name, known)),
        })
    }

    /// The members of a member that is an object with any names.
    pub fn within(&self, name: &str) -> Result<Option<Fields<'a>>, Problem> {
        match self.text(name).map(str::trim_start) {
            None | Some("null") => Ok(None),
            Some(text) if text.starts_with('{') => {
                let prefixed = |refused: Problem| match refused.member("field").and_then(Value::as_str) {
                    Some(field) => {
                        let field = pointer(&[name]) + field;
                        refused.with("field", field)
                    }
                    None => refused,
                };
                Fields::read(text, Scanner::new(text), |_| Ok(())).map(Some).map_err(prefixed)
            }
            Some(text) => Err(bad_field(&pointer(&[name]), format!("{name} must be an object, not {}", shown(text)))),
        }
    }

    /// The members with their texts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|(name, text)| (name.as_str(), *text))
    }

    /// Reads the object that `scanner` stands at.
    fn read(
        text: &'a str,
        mut scanner: Scanner<'a>,
        check: impl Fn(&str) -> Result<(), Problem>,
    ) -> Result<Fields<'a>, Problem> {
        scanner.advance();
        let mut fields = Fields { members: Vec::new() };
        let mut more = scanner.first_member();
        while more {
            let name = scanner.member_name()?;
            let mut unescaped = Vec::new();
            scanner.unescape(name, &mut unescaped);
            let name = String::from_utf8_lossy(&unescaped).into_owned();
            scanner.blanks();
            let start = scanner.position();
            scanner.value()?;
            check(&name)?;
            fields.add(name, &text[start..scanner.position()])?;
            more = scanner.another_member()?;
        }
        if !scanner.at_end() {
            return Err(scanner.unexpected("the end of the body"));
        }
        Ok(fields)
    }

    fn add(&mut self, name: String, text: &'a str) -> Result<(), Problem> {
        if self.text(&name).is_some() {
            return Err(bad_field(
                &pointer(&[&name]),
                format!("the member {name:?} is given more than once; give it once"),
            ));
        }
        self.members.push((name, text));
        Ok(())
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.members.iter().find(|(known, _)| known == name).map(|(_, text)| *text)
    }

    /// Whether no member was given at all.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member's value, if it was given and is not null; `accepted` completes "… must be ".
    pub fn get<T: DeserializeOwned>(&self, name: &str, accepted: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        serde_json::from_str::<Option<T>>(text)
            .map_err(|_| bad_field(&pointer(&[name]), format!("{name} must be {accepted}, not {}", shown(text))))
    }
}

fn unknown_field(name: &str, known: &[&str]) -> Problem {
    let detail = format!("the member {} is not known here; known are {}", shown(name), known.join(", "));
    Problem::new(&problem::UNKNOWN_FIELD, detail).with("field", pointer(&[name]))
}

/// The problem for a member whose value is not accepted.
pub fn bad_field(pointer: &str, detail: String) -> Problem {
    Problem::new(&problem::BAD_FIELD, detail).with("field", pointer)
}

/// A JSON pointer (RFC 6901).
pub fn pointer(segments: &[&str]) -> String {
    segments.iter().map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn members_come_by_name_and_type() {
        let fields = Fields::parse(br#" {"a": 1, "b": {"x": "y"}, "c": null} "#, &["a", "b", "c", "d"]).unwrap();
        assert_eq!(fields.get::<u32>("a", "a number").unwrap(), Some(1));
        assert_eq!(fields.get::<BTreeMap<String, String>>("b", "an object").unwrap().unwrap()["x"], "y");
        assert_eq!(fields.get::<u32>("c", "a number").unwrap(), None, "null counts as not given");
        assert_eq!(fields.get::<u32>("d", "a number").unwrap(), None);
        let problem = fields.get::<u32>("b", "a whole number").unwrap_err();
        assert_eq!((problem.kind().name, problem.member("field").unwrap().as_str()), ("bad-field", Some("/b")));
    }

    #[test]
    fn what_is_not_an_object_of_known_members_is_refused() {
        for (body, kind) in [
            ("", "bad-json"),
            ("[]", "bad-json"),
            ("7", "bad-json"),
            ("{", "bad-json"),
            ("{\"a\":1}x", "bad-json"),
            ("{\"a\":}", "bad-json"),
            ("{a:1}", "bad-json"),
            ("{\"b\":1}", "unknown-field"),
            ("{\"a\":1,\"a\":2}", "bad-field"),
            ("{\"a\":1,\"\\u0061\":2}", "bad-field"),
        ] {
            assert_eq!(Fields::parse(body.as_bytes(), &["a"]).unwrap_err().kind().name, kind, "{body}");
        }
        assert_eq!(Fields::parse(b"\xff{}", &[]).unwrap_err().kind().name, "bad-json");
        assert_eq!(Fields::parse(b"{\"x/y~\":1}", &["a"]).unwrap_err().member("field").unwrap(), "/x~1y~0");
        let deep = format!("{{\"a\":{}}}", "[".repeat(100_000));
        assert_eq!(Fields::parse(deep.as_bytes(), &["a"]).unwrap_err().kind().name, "bad-json");
    }
}
