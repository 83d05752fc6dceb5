//! Reads EDN. Any bytes give a value or an error, never a panic: depth is bounded, and nothing is taken on trust.
//!
//! More is read than the specification asks for where that does no harm (`1N`, a name with an odd letter); what would
//! change a value is refused (an integer beyond 64 bits).

use crate::history::edn::Edn;

/// Deeper than any history; a recursion of this many levels fits every stack.
const DEPTH_MAX: usize = 64;

/// Why a text is no EDN, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Malformed {
    pub what: String,
    pub at: usize,
    /// Whether more text might have made it right: it ended within a value.
    pub ends_early: bool,
}

/// Reads a line: one value with white space and comments around it, or none.
pub fn read_line(text: &str) -> Result<Option<Edn>, Malformed> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_space(0)?;
    if reader.peek().is_none() {
        return Ok(None);
    }
    let value = reader.value(0)?;
    reader.skip_space(0)?;
    match reader.peek() {
        None => Ok(Some(value)),
        Some(_) => Err(reader.wrong("more behind the value")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: impl Into<String>) -> Malformed {
        Malformed { what: what.into(), at: self.at, ends_early: false }
    }

    fn early(&self) -> Malformed {
        Malformed { what: "the text ends within a value".to_owned(), at: self.at, ends_early: true }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next_char(&mut self) -> Option<char> {
        let one = self.text.get(self.at..)?.chars().next()?;
        self.at += one.len_utf8();
        Some(one)
    }

    /// Skips white space, commas, comments and `#_` with the value behind it.
    fn skip_space(&mut self, depth: usize) -> Result<(), Malformed> {
        loop {
            match self.peek() {
                Some(b' ' | b',' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c) => self.at += 1,
                Some(b';') => {
                    let rest = &self.text[self.at..];
                    self.at += rest.find('\n').unwrap_or(rest.len());
                }
                Some(b'#') if self.text.as_bytes().get(self.at + 1) == Some(&b'_') => {
                    self.at += 2;
                    self.skip_space(self.deeper(depth)?)?;
                    self.value(depth + 1)?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, Malformed> {
        if depth >= DEPTH_MAX {
            return Err(self.wrong(format!("deeper than {DEPTH_MAX} levels")));
        }
        Ok(depth + 1)
    }

    /// Reads a value that begins right here.
    fn value(&mut self, depth: usize) -> Result<Edn, Malformed> {
        let Some(first) = self.peek() else { return Err(self.early()) };
        match first {
            b'{' => self.map(depth),
            b'[' => Ok(Edn::Vector(self.until(b']', depth)?)),
            b'(' => Ok(Edn::List(self.until(b')', depth)?)),
            b'"' => self.string(),
            b':' => {
                self.at += 1;
                let name = self.token();
                if name.is_empty() { Err(self.wrong("a colon without a name")) } else { Ok(Edn::Keyword(name.into())) }
            }
            b'\\' => self.character(),
            b'#' => self.dispatch(depth),
            b']' | b')' | b'}' => Err(self.wrong("a closing bracket that was not opened")),
            _ => self.atom(),
        }
    }

    /// Reads values up to `close`; the opening bracket is next.
    fn until(&mut self, close: u8, depth: usize) -> Result<Vec<Edn>, Malformed> {
        self.at += 1;
        let depth = self.deeper(depth)?;
        let mut items = Vec::new();
        loop {
            self.skip_space(depth)?;
            match self.peek() {
                None => return Err(self.early()),
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(items);
                }
                Some(_) => items.push(self.value(depth)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Edn, Malformed> {
        self.at += 1;
        let depth = self.deeper(depth)?;
        let mut members = Vec::with_capacity(8);
        loop {
            self.skip_space(depth)?;
            match self.peek() {
                None => return Err(self.early()),
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Edn::Map(members));
                }
                Some(_) => {
                    let key = self.value(depth)?;
                    self.skip_space(depth)?;
                    if self.peek() == Some(b'}') {
                        return Err(self.wrong("a map with a key and no value"));
                    }
                    members.push((key, self.value(depth)?));
                }
            }
        }
    }

    /// What begins with `#`: a set, a symbolic number, a tag.
    fn dispatch(&mut self, depth: usize) -> Result<Edn, Malformed> {
        self.at += 1;
        match self.peek() {
            None => Err(self.early()),
            Some(b'{') => Ok(Edn::Set(self.until(b'}', depth)?)),
            Some(b'#') => {
                self.at += 1;
                match self.token() {
                    "Inf" => Ok(Edn::Float(f64::INFINITY)),
                    "-Inf" => Ok(Edn::Float(f64::NEG_INFINITY)),
                    "NaN" => Ok(Edn::Float(f64::NAN)),
                    _ => Err(self.wrong("an unknown symbolic number")),
                }
            }
            Some(_) => {
                let tag = self.token().to_owned();
                if !tag.starts_with(char::is_alphabetic) {
                    return Err(self.wrong("a tag without a name"));
                }
                let depth = self.deeper(depth)?;
                self.skip_space(depth)?;
                Ok(Edn::Tagged(tag, Box::new(self.value(depth)?)))
            }
        }
    }

    /// The text up to the next delimiter.
    fn token(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let ends = |byte: u8| {
            matches!(byte, b' ' | b',' | b'\t'..=b'\r' | b'[' | b']' | b'(' | b')' | b'{' | b'}' | b'"' | b';')
        };
        let length = rest.bytes().position(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn atom(&mut self) -> Result<Edn, Malformed> {
        let from = self.at;
        let token = self.token();
        let number = token.strip_prefix(['+', '-']).unwrap_or(token).starts_with(|first: char| first.is_ascii_digit());
        let value = match token {
            "nil" => Some(Edn::Nil),
            "true" => Some(Edn::Bool(true)),
            "false" => Some(Edn::Bool(false)),
            token if number => numeral(token),
            token => Some(Edn::Symbol(token.to_owned())),
        };
        value.ok_or_else(|| Malformed { what: format!("no number of 64 bits: {token}"), at: from, ends_early: false })
    }

    fn character(&mut self) -> Result<Edn, Malformed> {
        self.at += 1;
        // The first one counts whatever it is, a delimiter too.
        let Some(first) = self.next_char() else { return Err(self.early()) };
        let rest = if first.is_alphanumeric() { self.token().to_owned() } else { String::new() };
        let one = match (first, rest.as_str()) {
            (first, "") => first,
            ('n', "ewline") => '\n',
            ('r', "eturn") => '\r',
            ('t', "ab") => '\t',
            ('s', "pace") => ' ',
            ('f', "ormfeed") => '\u{c}',
            ('b', "ackspace") => '\u{8}',
            ('u', digits) => match u32::from_str_radix(digits, 16).ok().and_then(char::from_u32) {
                Some(one) => one,
                None => return Err(self.wrong("no such character")),
            },
            _ => return Err(self.wrong("no such character")),
        };
        Ok(Edn::Char(one))
    }

    fn string(&mut self) -> Result<Edn, Malformed> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(one) = self.next_char() else { return Err(self.early()) };
            match one {
                '"' => return Ok(Edn::Text(text)),
                '\\' => text.push(self.escape()?),
                one => text.push(one),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let Some(one) = self.next_char() else { return Err(self.early()) };
        Ok(match one {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '"' | '\\' | '/' | '\'' => one,
            'u' => {
                let high = self.unit()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high).ok_or_else(|| self.wrong("half a character"));
                }
                if self.text.get(self.at..self.at + 2) != Some("\\u") {
                    return Err(self.wrong("half a character"));
                }
                self.at += 2;
                let low = self.unit()?;
                let pair = [high, low].map(|unit| u16::try_from(unit).unwrap_or(0));
                let decoded = char::decode_utf16(pair).next().and_then(Result::ok);
                decoded.ok_or_else(|| self.wrong("half a character"))?
            }
            _ => return Err(self.wrong("an unknown escape")),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, Malformed> {
        if self.at + 4 > self.text.len() {
            return Err(self.early());
        }
        let digits =
            self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|one| one.is_ascii_hexdigit()));
        let Some(digits) = digits else { return Err(self.wrong("no four hexadecimal digits")) };
        let unit = u32::from_str_radix(digits, 16).map_err(|_| self.wrong("no four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }
}

/// An integer (also `12N`), or a floating-point number (also `1.5M`).
fn numeral(token: &str) -> Option<Edn> {
    let digits = token.strip_suffix('N').unwrap_or(token);
    if digits.strip_prefix(['+', '-']).unwrap_or(digits).bytes().all(|one| one.is_ascii_digit()) {
        return digits.parse().ok().map(Edn::Int);
    }
    let number = token.strip_suffix('M').unwrap_or(token);
    let plain = number.bytes().all(|one| one.is_ascii_digit() || matches!(one, b'.' | b'e' | b'E' | b'+' | b'-'));
    number.parse().ok().filter(|_| plain).map(Edn::Float)
}
