//! Strict query strings: an unknown parameter is refused by name, a repeated one too, and a bad value is told with
//! what would be accepted.

use super::problem::{self, Problem};
use std::borrow::Cow;
use std::ops::RangeInclusive;

/// The parameters of one request, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// The problem for a parameter whose value is not accepted; `accepted` completes "… takes ".
pub fn bad_parameter(name: &str, value: &str, accepted: &str) -> Problem {
    Problem::new(
        &problem::BAD_PARAMETER,
        format!("query parameter {name}={} is not accepted: {name} takes {accepted}", shown(value)),
    )
    .with("parameter", name)
}

/// A value quoted for a text, cut where it is long.
pub fn shown(value: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    match value.char_indices().nth(SHOWN_CHARS_MAX) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}… ({} bytes)", &value[..end], value.len()),
    }
}

impl Query {
    /// Parses `raw` (without the question mark), which may have the parameters `known` and no others.
    pub fn parse(raw: Option<&str>, known: &[&str]) -> Result<Query, Problem> {
        let mut query = Query::default();
        let Some(raw) = raw else { return Ok(query) };
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&&*name) {
                return Err(unknown_parameter(&name, known));
            }
            if query.get(&name).is_some() {
                return Err(Problem::new(
                    &problem::BAD_PARAMETER,
                    format!("query parameter {name} is given more than once; give it once"),
                )
                .with("parameter", &*name));
            }
            query.pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(query)
    }

    /// A parameter as it was given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A whole number within `range`, if given.
    pub fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let refused = || {
            let accepted = match *range.end() {
                u64::MAX => format!("a whole number from {}", range.start()),
                end => format!("a whole number from {} to {end}", range.start()),
            };
            bad_parameter(name, value, &accepted)
        };
        match number(value) {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(refused()),
        }
    }

    /// One of several words, or `default`.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)], default: T) -> Result<T, Problem> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match choices.iter().find(|(word, _)| *word == value) {
            Some((_, choice)) => Ok(*choice),
            None => {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                Err(bad_parameter(name, value, &format!("one of {}", words.join(", "))))
            }
        }
    }

    /// A switch: `?name`, `?name=true`, `?name=1` are on; `?name=false`, `?name=0` and its absence are off.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(bad_parameter(name, other, "true or false, or nothing, which is true")),
        }
    }
}

/// A whole number as this API writes them: digits only, no sign, no blanks.
pub fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn unknown_parameter(name: &str, known: &[&str]) -> Problem {
    let takes =
        if known.is_empty() { "takes no query parameters".to_owned() } else { format!("takes {}", known.join(", ")) };
    Problem::new(
        &problem::UNKNOWN_PARAMETER,
        format!("query parameter {} is not known; this path {takes}", shown(name)),
    )
    .with("parameter", name)
    .with("known", known.to_vec())
}

/// Decodes `%XX` and `+`; bytes that are not UTF-8, or a broken `%`, are refused.
fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Ok(Cow::Borrowed(text));
    }
    match percent_decode(text.as_bytes(), true).map(String::from_utf8) {
        Some(Ok(decoded)) => Ok(Cow::Owned(decoded)),
        _ => Err(Problem::new(
            &problem::BAD_PARAMETER,
            format!(
                "{} in the query string is not percent-encoded UTF-8; each % must be followed by two hexadecimal digits (a % itself is %25)",
                shown(text)
            ),
        )),
    }
}

/// Decodes percent-encoding; `None` where a `%` is not followed by two hexadecimal digits.
pub fn percent_decode(text: &[u8], plus_is_blank: bool) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        decoded.push(match byte {
            b'%' => {
                let high = char::from(*rest.next()?).to_digit(16)?;
                let low = char::from(*rest.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            b'+' if plus_is_blank => b' ',
            other => other,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_repeated_parameters_are_refused_by_name() {
        let problem = Query::parse(Some("ack=all"), &["acks", "timeout_ms"]).unwrap_err();
        assert_eq!(problem.kind().name, "unknown-parameter");
        assert!(problem.detail().contains("\"ack\"") && problem.detail().contains("acks, timeout_ms"), "{problem}");
        let problem = Query::parse(Some("acks=1&acks=1"), &["acks"]).unwrap_err();
        assert!(problem.detail().contains("more than once"));
        let problem = Query::parse(Some("a"), &[]).unwrap_err();
        assert!(problem.detail().contains("no query parameters"));
    }

    #[test]
    fn values_are_decoded_or_refused() {
        let query = Query::parse(Some("a=%41+b&&c"), &["a", "c"]).unwrap();
        assert_eq!(query.get("a"), Some("A b"));
        assert_eq!(query.get("c"), Some(""));
        for bad in ["a=%4", "a=%zz", "a=%ff", "%=1"] {
            assert_eq!(Query::parse(Some(bad), &["a"]).unwrap_err().kind().status, 400, "{bad}");
        }
    }

    #[test]
    fn numbers_choices_and_flags() {
        let query = Query::parse(Some("n=7&w=one&f"), &["n", "w", "f"]).unwrap();
        assert_eq!(query.number("n", 0..=10).unwrap(), Some(7));
        assert_eq!(query.number("m", 0..=10).unwrap(), None);
        assert!(query.number("n", 8..=u64::MAX).unwrap_err().detail().contains("from 8"));
        assert_eq!(query.choice("w", &[("one", 1), ("two", 2)], 0).unwrap(), 1);
        assert!(query.choice("w", &[("two", 2)], 0).unwrap_err().detail().contains("one of two"));
        assert!(query.flag("f").unwrap());
        for bad in ["-1", "+1", "1.0", " 1", "", "99999999999999999999", "0x1"] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }
}
