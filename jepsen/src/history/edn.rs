//! EDN, the notation of Clojure's data, as far as histories need it: all of its forms are read, ours are written.
//!
//! A value written and read again is the same value. A keyword is what the reader would take for one: names that come
//! from outside are checked by [`is_name`] before they are written as such.

use std::fmt;
use std::fmt::Write;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Edn {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Char(char),
    Text(String),
    /// Without its colon.
    Keyword(String),
    Symbol(String),
    Vector(Vec<Edn>),
    List(Vec<Edn>),
    Set(Vec<Edn>),
    /// In the order of the text.
    Map(Vec<(Edn, Edn)>),
    Tagged(String, Box<Edn>),
}

impl Edn {
    /// The text of a keyword, or of a string: JSON has no keywords.
    pub fn name(&self) -> Option<&str> {
        match self {
            Edn::Keyword(name) | Edn::Text(name) => Some(name),
            _ => None,
        }
    }

    pub fn uint(&self) -> Option<u64> {
        match self {
            Edn::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The items of a vector, list or set.
    pub fn items(&self) -> Option<&[Edn]> {
        match self {
            Edn::Vector(items) | Edn::List(items) | Edn::Set(items) => Some(items),
            _ => None,
        }
    }

    /// A member of a map.
    pub fn get(&self, name: &str) -> Option<&Edn> {
        let Edn::Map(members) = self else { return None };
        members.iter().find(|(key, _)| key.name() == Some(name)).map(|(_, value)| value)
    }

    /// The same value as JSON has it: keywords are strings.
    pub fn from_json(json: serde_json::Value) -> Edn {
        match json {
            serde_json::Value::Null => Edn::Nil,
            serde_json::Value::Bool(flag) => Edn::Bool(flag),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(number) => Edn::Int(number),
                None => Edn::Float(number.as_f64().unwrap_or(f64::INFINITY)),
            },
            serde_json::Value::String(text) => Edn::Text(text),
            serde_json::Value::Array(items) => Edn::Vector(items.into_iter().map(Edn::from_json).collect()),
            serde_json::Value::Object(members) => {
                Edn::Map(members.into_iter().map(|(key, value)| (Edn::Text(key), Edn::from_json(value))).collect())
            }
        }
    }
}

/// Whether `name` can stand behind a colon.
pub fn is_name(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|first| first.is_alphabetic() || "*!_?$%&=<>".contains(first));
    first && name.chars().all(|one| one.is_alphanumeric() || ".*+!-_?$%&=<>#:/".contains(one))
}

impl fmt::Display for Edn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Edn::Nil => out.write_str("nil"),
            Edn::Bool(flag) => write!(out, "{flag}"),
            Edn::Int(number) => write!(out, "{number}"),
            Edn::Float(number) => float(out, *number),
            Edn::Char(one) => character(out, *one),
            Edn::Text(text) => write!(out, "{}", Quoted(text)),
            Edn::Keyword(name) => write!(out, ":{name}"),
            Edn::Symbol(name) => out.write_str(name),
            Edn::Vector(items) => sequence(out, "[", items, "]"),
            Edn::List(items) => sequence(out, "(", items, ")"),
            Edn::Set(items) => sequence(out, "#{", items, "}"),
            Edn::Map(members) => {
                out.write_char('{')?;
                for (at, (key, value)) in members.iter().enumerate() {
                    let comma = if at > 0 { ", " } else { "" };
                    write!(out, "{comma}{key} {value}")?;
                }
                out.write_char('}')
            }
            Edn::Tagged(tag, value) => write!(out, "#{tag} {value}"),
        }
    }
}

fn sequence(out: &mut fmt::Formatter<'_>, open: &str, items: &[Edn], close: &str) -> fmt::Result {
    out.write_str(open)?;
    for (at, item) in items.iter().enumerate() {
        let space = if at > 0 { " " } else { "" };
        write!(out, "{space}{item}")?;
    }
    out.write_str(close)
}

fn float(out: &mut fmt::Formatter<'_>, number: f64) -> fmt::Result {
    match number {
        number if number.is_nan() => out.write_str("##NaN"),
        f64::INFINITY => out.write_str("##Inf"),
        f64::NEG_INFINITY => out.write_str("##-Inf"),
        // With a point or an exponent, so that it is no integer.
        number => write!(out, "{number:?}"),
    }
}

fn character(out: &mut fmt::Formatter<'_>, one: char) -> fmt::Result {
    match one {
        '\n' => out.write_str("\\newline"),
        '\r' => out.write_str("\\return"),
        '\t' => out.write_str("\\tab"),
        ' ' => out.write_str("\\space"),
        one if one.is_alphanumeric() || one.is_ascii_graphic() => write!(out, "\\{one}"),
        one => {
            let mut units = [0; 2];
            match one.encode_utf16(&mut units) {
                [unit] => write!(out, "\\u{unit:04x}"),
                // A Java character is half of it; nothing of ours writes one.
                _ => write!(out, "\\{one}"),
            }
        }
    }
}

/// A string as EDN writes it.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_char('"')?;
        for one in self.0.chars() {
            match one {
                '"' => out.write_str("\\\"")?,
                '\\' => out.write_str("\\\\")?,
                '\n' => out.write_str("\\n")?,
                '\r' => out.write_str("\\r")?,
                '\t' => out.write_str("\\t")?,
                one if (one as u32) < 0x20 || one == '\u{7f}' => write!(out, "\\u{:04x}", one as u32)?,
                one => out.write_char(one)?,
            }
        }
        out.write_char('"')
    }
}
