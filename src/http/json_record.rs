//! Records in JSON: `{"records": [record, …]}`, and one record a line.
//!
//! Purpose: give each record's parts as slices, ready to be copied into a batch, in one pass without a tree of values.
//! A string stands for its UTF-8 bytes, `{"base64": …}` for bytes, any other JSON value for its own text, exactly as
//! it was sent. Unknown members, repeated members and a missing `value` are refused by name with a JSON pointer.
//!
//! Invariant: any bytes give records or a problem, never a panic. Not here: topics, partitions that exist, size limits.

use super::json_scan::{Scanner, Text};
use super::problem::{self, Problem};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Headers of a record: names and values, in order.
pub type Headers<'a> = [(&'a [u8], Option<&'a [u8]>)];

/// One record as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    pub partition: Option<u32>,
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: &'a Headers<'a>,
}

impl RecordView<'_> {
    /// What counts against `max.message.bytes`: the bytes of key, value and headers.
    pub fn size(&self) -> usize {
        let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + len(*value)).sum();
        len(self.key) + len(self.value) + headers
    }
}

/// Parses the body `{"records": [record, …]}`, and gives each record to `take` with its place in the list.
pub fn parse_records(
    body: &[u8],
    mut take: impl FnMut(usize, RecordView<'_>) -> Result<(), Problem>,
) -> Result<usize, Problem> {
    let text = utf8(body)?;
    let mut parser = RecordParser::default();
    let mut scanner = Scanner::new(text);
    let mut count = None;
    scanner.blanks();
    if scanner.peek() != b'{' {
        return Err(not_an_envelope(&scanner));
    }
    scanner.advance();
    let mut more = scanner.first_member();
    while more {
        let name = scanner.member_name()?;
        if parser.name(&scanner, name) != b"records" {
            return Err(unknown_field(&parser.shown_name(&scanner, name), "", "records"));
        }
        if count.is_some() {
            return Err(bad_field("/records", "the member \"records\" is given more than once"));
        }
        count = Some(parse_list(&mut parser, &mut scanner, &mut take)?);
        more = scanner.another_member()?;
    }
    if !scanner.at_end() {
        return Err(scanner.unexpected("the end of the body"));
    }
    match count {
        None => Err(bad_field(
            "/records",
            "the member \"records\" is missing; the body is {\"records\": [{\"value\": …}, …]}",
        )),
        Some(0) => Err(bad_field("/records", "the list of records is empty; send at least one record")),
        Some(count) => Ok(count),
    }
}

fn parse_list(
    parser: &mut RecordParser,
    scanner: &mut Scanner<'_>,
    take: &mut impl FnMut(usize, RecordView<'_>) -> Result<(), Problem>,
) -> Result<usize, Problem> {
    scanner.blanks();
    if !scanner.take(b'[') {
        // What stands there may not even be JSON; that is then the better thing to say.
        scanner.value()?;
        return Err(bad_field("/records", "\"records\" must be a list of records"));
    }
    let mut count = 0;
    scanner.blanks();
    if scanner.take(b']') {
        return Ok(0);
    }
    loop {
        parser.record(scanner, Some(count))?;
        parser.give(scanner.input(), |record| take(count, record))?;
        count += 1;
        scanner.blanks();
        if scanner.take(b',') {
            scanner.blanks();
        } else if scanner.take(b']') {
            return Ok(count);
        } else {
            return Err(scanner.unexpected("a comma or ]"));
        }
    }
}

/// Parses one record that fills all of `line`, using `parser`'s buffers again.
pub fn parse_line<T>(
    parser: &mut RecordParser,
    line: &[u8],
    take: impl FnOnce(RecordView<'_>) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let text = utf8(line)?;
    let mut scanner = Scanner::new(text);
    scanner.blanks();
    parser.record(&mut scanner, None)?;
    if !scanner.at_end() {
        return Err(scanner.unexpected("the end of the line"));
    }
    parser.give(scanner.input(), take)
}

fn utf8(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Problem::new(
            &problem::BAD_JSON,
            format!("not UTF-8 at byte {at}: JSON is UTF-8; send other bytes as {{\"base64\": \"…\"}}"),
        )
        .with("byte", at)
    })
}

#[cold]
fn not_an_envelope(scanner: &Scanner<'_>) -> Problem {
    match scanner.peek() {
        b'[' => bad_field("", "the body is a list; send {\"records\": [record, …]}"),
        0 if scanner.position() >= scanner.input().len() => {
            Problem::new(&problem::BAD_JSON, "the body is empty; send {\"records\": [{\"value\": …}, …]}")
        }
        _ => scanner.unexpected("an object {\"records\": [record, …]}"),
    }
}

#[cold]
fn bad_field(pointer: &str, detail: &str) -> Problem {
    Problem::new(&problem::BAD_FIELD, detail).with("field", pointer)
}

#[cold]
fn unknown_field(name: &str, parent: &str, known: &str) -> Problem {
    let pointer = format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"));
    Problem::new(&problem::UNKNOWN_FIELD, format!("field {name:?} is not known here; known are: {known}"))
        .with("field", pointer)
}

/// Bytes of a record: a part of the input, or of the parser's scratch.
#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    Null,
    Input(usize, usize),
    Scratch(usize, usize),
}

/// Parses records one after another with the same buffers.
#[derive(Default)]
pub struct RecordParser {
    /// Unescaped strings and decoded base64 of the current record.
    scratch: Vec<u8>,
    headers: Vec<(Part, Part)>,
    key: Part,
    value: Part,
    partition: Option<u32>,
    timestamp_ms: Option<i64>,
    name: Vec<u8>,
}

/// Members of a record; each has a bit, so that a second one of the same name is seen.
const MEMBERS: [&str; 6] = ["value", "key", "timestamp_ms", "headers", "partition", "offset"];
const VALUE: u8 = 1;

impl RecordParser {
    /// Reads one record, whose opening brace is next.
    fn record(&mut self, scanner: &mut Scanner<'_>, place: Option<usize>) -> Result<(), Problem> {
        self.scratch.clear();
        self.headers.clear();
        (self.key, self.value, self.partition, self.timestamp_ms) = (Part::Null, Part::Null, None, None);
        if !scanner.take(b'{') {
            return Err(not_a_record(scanner, place));
        }
        let mut seen = 0;
        let mut more = scanner.first_member();
        while more {
            let name = scanner.member_name()?;
            scanner.blanks();
            let member = self.member(scanner, name, place)?;
            if seen & (1 << member) != 0 {
                let name = MEMBERS[member];
                return Err(bad_field(&pointer(place, name), &format!("the member {name:?} is given more than once")));
            }
            seen |= 1 << member;
            match member {
                0 => self.value = self.value(scanner, place)?,
                1 => self.key = self.bytes(scanner, || pointer(place, "key"))?,
                2 => {
                    self.timestamp_ms =
                        self.integer(scanner, place, "timestamp_ms", i64::MAX as u64)?.map(|ms| ms as i64)
                }
                3 => self.header_list(scanner, place)?,
                4 => self.partition = self.integer(scanner, place, "partition", u64::from(u32::MAX))?.map(|p| p as u32),
                // A record that was read somewhere may be sent as it is: where it lands is the log's to say.
                _ => drop(self.integer(scanner, place, "offset", i64::MAX as u64)?),
            }
            more = scanner.another_member()?;
        }
        if seen & VALUE == 0 {
            return Err(bad_field(
                &pointer(place, "value"),
                "the record has no \"value\"; give one, or \"value\": null for a tombstone",
            ));
        }
        Ok(())
    }

    /// Which of [`MEMBERS`] a name is.
    #[inline]
    fn member(&mut self, scanner: &Scanner<'_>, name: Text, place: Option<usize>) -> Result<usize, Problem> {
        match self.name(scanner, name) {
            b"value" => Ok(0),
            b"key" => Ok(1),
            b"timestamp_ms" => Ok(2),
            b"headers" => Ok(3),
            b"partition" => Ok(4),
            b"offset" => Ok(5),
            _ => {
                let parent = place.map_or(String::new(), |place| format!("/records/{place}"));
                let known = "value, key, headers, timestamp_ms, partition";
                Err(unknown_field(&self.shown_name(scanner, name), &parent, known))
            }
        }
    }

    /// A member name's bytes, unescaped where needed.
    #[inline]
    fn name<'a>(&'a mut self, scanner: &Scanner<'a>, name: Text) -> &'a [u8] {
        if !name.escaped {
            return &scanner.input()[name.start..name.end];
        }
        self.name.clear();
        scanner.unescape(name, &mut self.name);
        &self.name
    }

    /// A member name for a text, cut where it is long.
    #[cold]
    fn shown_name(&mut self, scanner: &Scanner<'_>, name: Text) -> String {
        const NAME_CHARS_MAX: usize = 100;
        String::from_utf8_lossy(self.name(scanner, name)).chars().take(NAME_CHARS_MAX).collect()
    }

    /// A string's bytes.
    #[inline]
    fn string(&mut self, scanner: &mut Scanner<'_>) -> Result<Part, Problem> {
        let text = scanner.string()?;
        if !text.escaped {
            return Ok(Part::Input(text.start, text.end));
        }
        let begin = self.scratch.len();
        scanner.unescape(text, &mut self.scratch);
        Ok(Part::Scratch(begin, self.scratch.len()))
    }

    /// A record's value: any JSON.
    #[inline]
    fn value(&mut self, scanner: &mut Scanner<'_>, place: Option<usize>) -> Result<Part, Problem> {
        let begin = scanner.position();
        match scanner.peek() {
            b'"' => self.string(scanner),
            b'n' => scanner.literal("null").map(|()| Part::Null),
            b'{' => {
                scanner.value()?;
                let end = scanner.position();
                let text = &scanner.input()[begin..end];
                match self.base64_member(text) {
                    None => Ok(Part::Input(begin, end)),
                    Some(decoded) => decoded.map_err(|detail| bad_field(&pointer(place, "value"), detail)),
                }
            }
            _ => {
                scanner.value()?;
                Ok(Part::Input(begin, scanner.position()))
            }
        }
    }

    /// A key's or header value's bytes: a string, `{"base64": …}`, or null.
    #[inline]
    fn bytes(&mut self, scanner: &mut Scanner<'_>, pointer: impl Fn() -> String) -> Result<Part, Problem> {
        let begin = scanner.position();
        match scanner.peek() {
            b'"' => return self.string(scanner),
            b'n' => return scanner.literal("null").map(|()| Part::Null),
            _ => scanner.value()?,
        }
        let text = &scanner.input()[begin..scanner.position()];
        match self.base64_member(text) {
            Some(decoded) => decoded.map_err(|detail| bad_field(&pointer(), detail)),
            None => Err(bad_field(&pointer(), "must be a string, {\"base64\": \"…\"} or null")),
        }
    }

    /// If the value `text`, which is sound JSON, is an object with just the member `base64`: its bytes.
    fn base64_member(&mut self, text: &[u8]) -> Option<Result<Part, &'static str>> {
        // Most objects are something else, and are told apart by their first bytes.
        let first = text.get(1..)?.iter().position(|byte| !byte.is_ascii_whitespace())? + 1;
        if !text[first..].starts_with(b"\"base64\"")
            && !text[first..].starts_with(b"\"\\")
            && !text[first..].starts_with(b"\"b")
        {
            return None;
        }
        let mut scanner = Scanner::new(std::str::from_utf8(text).ok()?);
        if !scanner.take(b'{') {
            return None;
        }
        scanner.blanks();
        let name = scanner.member_name().ok()?;
        if self.name(&scanner, name) != b"base64" {
            return None;
        }
        scanner.blanks();
        if scanner.peek() != b'"' {
            scanner.value().ok()?;
            scanner.blanks();
            return (scanner.peek() == b'}').then_some(Err("the member \"base64\" must be a string"));
        }
        let encoded = scanner.string().ok()?;
        scanner.blanks();
        if scanner.peek() != b'}' {
            return None;
        }
        let begin = self.scratch.len();
        self.name.clear();
        scanner.unescape(encoded, &mut self.name);
        match BASE64.decode_vec(&self.name, &mut self.scratch) {
            Ok(()) => Some(Ok(Part::Scratch(begin, self.scratch.len()))),
            Err(_) => Some(Err("bad base64: the standard alphabet (A-Z a-z 0-9 + /) with = padding is expected")),
        }
    }

    /// A whole number up to `max`, or null for none.
    fn integer(
        &mut self,
        scanner: &mut Scanner<'_>,
        place: Option<usize>,
        name: &str,
        max: u64,
    ) -> Result<Option<u64>, Problem> {
        let begin = scanner.position();
        scanner.value()?;
        let text = &scanner.input()[begin..scanner.position()];
        if text == b"null" {
            return Ok(None);
        }
        let number = std::str::from_utf8(text).ok().and_then(super::query::number).filter(|number| *number <= max);
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(bad_field(&pointer(place, name), &format!("{name:?} must be a whole number from 0 to {max}"))),
        }
    }

    /// The list of header pairs.
    fn header_list(&mut self, scanner: &mut Scanner<'_>, place: Option<usize>) -> Result<(), Problem> {
        const FORM: &str = "headers must be a list of pairs: [[\"name\", \"value\"], …]";
        let refused = |scanner: &mut Scanner<'_>, pointer: String| match scanner.value() {
            Err(unsound) => unsound,
            Ok(()) => bad_field(&pointer, FORM),
        };
        if scanner.peek() == b'n' {
            return scanner.literal("null");
        }
        if scanner.peek() != b'[' {
            return Err(refused(scanner, pointer(place, "headers")));
        }
        scanner.advance();
        scanner.blanks();
        if scanner.take(b']') {
            return Ok(());
        }
        loop {
            let at = || format!("{}/{}", pointer(place, "headers"), self.headers.len());
            if scanner.peek() != b'[' {
                return Err(refused(scanner, at()));
            }
            let pair = self.header_pair(scanner, place)?;
            self.headers.push(pair);
            scanner.blanks();
            if scanner.take(b']') {
                return Ok(());
            }
            if !scanner.take(b',') {
                return Err(scanner.unexpected("a comma or ]"));
            }
            scanner.blanks();
        }
    }

    fn header_pair(&mut self, scanner: &mut Scanner<'_>, place: Option<usize>) -> Result<(Part, Part), Problem> {
        let which = self.headers.len();
        let at = |part: usize| format!("{}/{which}/{part}", pointer(place, "headers"));
        scanner.advance();
        scanner.blanks();
        if scanner.peek() != b'"' {
            return Err(bad_field(&at(0), "a header is a pair [name, value], and its name must be a string"));
        }
        let name = self.string(scanner)?;
        scanner.blanks();
        if !scanner.take(b',') {
            return Err(bad_field(&at(1), "a header is a pair [name, value]; its value is missing"));
        }
        scanner.blanks();
        let value = self.bytes(scanner, || at(1))?;
        scanner.blanks();
        if !scanner.take(b']') {
            return Err(bad_field(&at(2), "a header is a pair [name, value], and no more"));
        }
        Ok((name, value))
    }

    /// Gives the record that was read to `take`.
    #[inline]
    fn give<T>(&self, input: &[u8], take: impl FnOnce(RecordView<'_>) -> T) -> T {
        let part = |part: Part| match part {
            Part::Null => None,
            Part::Input(start, end) => Some(&input[start..end]),
            Part::Scratch(start, end) => Some(&self.scratch[start..end]),
        };
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            self.headers.iter().map(|(name, value)| (part(*name).unwrap_or_default(), part(*value))).collect();
        take(RecordView {
            partition: self.partition,
            timestamp_ms: self.timestamp_ms,
            key: part(self.key),
            value: part(self.value),
            headers: &headers,
        })
    }
}

#[cold]
fn pointer(place: Option<usize>, name: &str) -> String {
    match place {
        Some(place) => format!("/records/{place}/{name}"),
        None => format!("/{name}"),
    }
}

#[cold]
fn not_a_record(scanner: &mut Scanner<'_>, place: Option<usize>) -> Problem {
    if scanner.position() >= scanner.input().len() {
        return scanner.unexpected("a record (an object with a \"value\")");
    }
    match scanner.value() {
        Err(unsound) => unsound,
        Ok(()) => {
            let pointer = place.map_or(String::new(), |place| format!("/records/{place}"));
            bad_field(&pointer, "a record must be an object with a \"value\"")
        }
    }
}

#[cfg(test)]
#[path = "json_record_tests.rs"]
mod tests;
