//! A strict JSON scanner (RFC 8259) over bytes: finds where values end and checks them on the way, without building
//! anything. What is found is given as positions, so that text can be stored exactly as it was sent.
//!
//! Invariants: never panics, whatever the bytes; nesting is bounded by [`DEPTH_MAX`] without recursion; strings hold
//! no control characters, no broken escapes and no lone surrogates.
//!
//! Not here: what the members of a record mean (`json_record`); duplicate names are the caller's matter.

use super::problem::{self, Problem};

/// How deep objects and arrays may nest within one value. The scanner keeps one bit per level.
pub const DEPTH_MAX: u32 = u128::BITS;

/// Where a string's text stands, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    pub start: usize,
    pub end: usize,
    /// Whether it has backslashes, so that its bytes are not yet the string.
    pub escaped: bool,
}

/// Reads one JSON text from its start to its end.
pub struct Scanner<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `input`.
    pub fn new(input: &'a str) -> Scanner<'a> {
        Scanner { input: input.as_bytes(), at: 0 }
    }

    /// The position of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The whole input.
    pub fn input(&self) -> &'a [u8] {
        self.input
    }

    /// The next byte, or 0 at the end (no sound JSON has a 0 outside of strings, nor a bare one within).
    #[inline]
    pub fn peek(&self) -> u8 {
        self.input.get(self.at).copied().unwrap_or(0)
    }

    /// Goes on behind the next byte.
    #[inline]
    pub fn advance(&mut self) {
        self.at += 1;
    }

    /// Skips blanks, tabs and line ends.
    #[inline]
    pub fn blanks(&mut self) {
        while matches!(self.input.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it is next.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.input.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    /// Whether only blanks are left.
    pub fn at_end(&mut self) -> bool {
        self.blanks();
        self.at >= self.input.len()
    }

    /// The problem that something else than `expected` stands here.
    #[cold]
    pub fn unexpected(&self, expected: &str) -> Problem {
        let found = match self.input.get(self.at) {
            None => "the end".to_owned(),
            Some(byte @ 0x21..=0x7e) => format!("'{}'", char::from(*byte)),
            Some(byte) => format!("byte 0x{byte:02x}"),
        };
        self.bad(self.at, &format!("expected {expected}, found {found}"))
    }

    /// The problem that the text is not sound JSON at `at`.
    #[cold]
    pub fn bad(&self, at: usize, what: &str) -> Problem {
        Problem::new(&problem::BAD_JSON, format!("not sound JSON at byte {at}: {what}")).with("byte", at)
    }

    /// Reads a string; the next byte is its opening quote.
    #[inline]
    pub fn string(&mut self) -> Result<Text, Problem> {
        if !self.take(b'"') {
            return Err(self.unexpected("a string"));
        }
        let start = self.at;
        self.at = plain_end(self.input, self.at);
        if self.peek() == b'"' {
            self.at += 1;
            return Ok(Text { start, end: self.at - 1, escaped: false });
        }
        self.string_with_escapes(start)
    }

    fn string_with_escapes(&mut self, start: usize) -> Result<Text, Problem> {
        loop {
            match self.input.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Text { start, end: self.at - 1, escaped: true });
                }
                Some(b'\\') => {
                    unescape_one(self.input, &mut self.at).map_err(|what| self.bad(self.at, what))?;
                }
                Some(byte) => {
                    return Err(self.bad(
                        self.at,
                        &format!("a string holds the control character 0x{byte:02x}; write it as \\u{byte:04x}"),
                    ));
                }
                None => return Err(self.bad(self.at, "a string does not end")),
            }
            self.at = plain_end(self.input, self.at);
        }
    }

    /// The bytes that a string stands for, appended to `to`.
    pub fn unescape(&self, text: Text, to: &mut Vec<u8>) {
        let input = &self.input[..text.end];
        let mut at = text.start;
        while at < text.end {
            let plain = plain_end(input, at);
            to.extend_from_slice(&input[at..plain]);
            at = plain;
            if at < text.end {
                let character = unescape_one(input, &mut at).expect("escapes were checked when the string was read");
                let mut buffer = [0; 4];
                to.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            }
        }
    }

    /// Skips a number, checking its form.
    pub fn number(&mut self) -> Result<(), Problem> {
        let begin = self.at;
        self.take(b'-');
        if self.take(b'0') {
            if self.peek().is_ascii_digit() {
                return Err(self.bad(begin, "a number begins with a superfluous 0"));
            }
        } else {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Problem> {
        let begin = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == begin { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    /// Takes the literal `word` (`true`, `false`, `null`), whose first letter is next.
    pub fn literal(&mut self, word: &str) -> Result<(), Problem> {
        if self.input[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.bad(self.at, "a word that is none of true, false, null (strings need quotes)"))
        }
    }

    /// Skips one value of any kind, checking it.
    pub fn value(&mut self) -> Result<(), Problem> {
        // One bit per open level: 1 for an object, 0 for an array.
        let mut levels: u128 = 0;
        let mut depth = 0;
        loop {
            self.blanks();
            let opened = match self.peek() {
                b'"' => self.string().map(|_| false)?,
                b'-' | b'0'..=b'9' => self.number().map(|()| false)?,
                open @ (b'{' | b'[') => {
                    if depth == DEPTH_MAX {
                        return Err(self.bad(self.at, &format!("nested deeper than {DEPTH_MAX} levels")));
                    }
                    levels = levels << 1 | u128::from(open == b'{');
                    depth += 1;
                    self.at += 1;
                    self.opened(open)?
                }
                b't' => self.literal("true").map(|()| false)?,
                b'f' => self.literal("false").map(|()| false)?,
                b'n' => self.literal("null").map(|()| false)?,
                _ => return Err(self.unexpected("a value")),
            };
            if !opened && self.after_value(&mut levels, &mut depth)? {
                return Ok(());
            }
        }
    }

    /// Behind an opening bracket: true if a value is next, false at the closing bracket (which is left there).
    #[inline]
    fn opened(&mut self, open: u8) -> Result<bool, Problem> {
        self.blanks();
        if open == b'[' {
            return Ok(self.peek() != b']');
        }
        if self.peek() == b'}' {
            return Ok(false);
        }
        self.member_name().map(|_| true)
    }

    /// A member's name and the colon behind it.
    #[inline]
    pub fn member_name(&mut self) -> Result<Text, Problem> {
        if self.peek() != b'"' {
            return Err(self.unexpected("a member name in quotes"));
        }
        let name = self.string()?;
        if self.peek() != b':' {
            self.blanks();
        }
        if self.take(b':') { Ok(name) } else { Err(self.unexpected("a colon")) }
    }

    /// Behind an opening brace: whether a member follows; the closing brace is taken.
    #[inline]
    pub fn first_member(&mut self) -> bool {
        self.blanks();
        !self.take(b'}')
    }

    /// Behind a member: whether another one follows; the comma or the closing brace is taken.
    #[inline]
    pub fn another_member(&mut self) -> Result<bool, Problem> {
        self.blanks();
        if self.take(b'}') {
            return Ok(false);
        }
        if !self.take(b',') {
            return Err(self.unexpected("a comma or }"));
        }
        self.blanks();
        Ok(true)
    }

    /// Behind a value: closes what ends here; true once everything is closed, false if another value follows.
    #[inline]
    fn after_value(&mut self, levels: &mut u128, depth: &mut u32) -> Result<bool, Problem> {
        while *depth > 0 {
            self.blanks();
            let in_object = *levels & 1 == 1;
            match self.peek() {
                // A just opened level that closes at once comes here too: its bracket is next.
                b'}' if in_object => {}
                b']' if !in_object => {}
                b',' => {
                    self.at += 1;
                    if in_object {
                        self.blanks();
                        self.member_name()?;
                    }
                    return Ok(false);
                }
                _ => return Err(self.unexpected(if in_object { "a comma or }" } else { "a comma or ]" })),
            }
            self.at += 1;
            *levels >>= 1;
            *depth -= 1;
        }
        Ok(true)
    }
}

/// Whether `bytes` are one sound JSON object or array, blanks around it allowed.
pub fn is_object_or_array(bytes: &[u8]) -> bool {
    if !matches!(bytes.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'[')) {
        return false;
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut scanner = Scanner::new(text);
    scanner.value().is_ok() && scanner.at_end()
}

/// The first position from `at` on that holds a quote, a backslash or a control character, or the end. Eight bytes at
/// a time: most of what is sent is text within strings.
#[inline]
fn plain_end(input: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    while let Some(chunk) = input.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes were taken"));
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        // The lowest bit that is set in each term is exact; higher ones may be carried over, which does not matter.
        let hits = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let hits = hits & HIGHS;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = input.get(at) {
        if *byte < 0x20 || matches!(byte, b'"' | b'\\') {
            break;
        }
        at += 1;
    }
    at
}

/// Reads the escape at `at` and goes on behind it.
fn unescape_one(input: &[u8], at: &mut usize) -> Result<char, &'static str> {
    let letter = input.get(*at + 1).copied().unwrap_or(0);
    let plain = match letter {
        b'"' | b'\\' | b'/' => char::from(letter),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (character, len) = unescape_unicode(&input[*at..])?;
            *at += len;
            return Ok(character);
        }
        _ => return Err("a backslash in a string is followed by something else than \" \\ / b f n r t u"),
    };
    *at += 2;
    Ok(plain)
}

/// Reads `\uXXXX`, or a pair of them that stands for one character; gives it and the bytes taken.
fn unescape_unicode(escape: &[u8]) -> Result<(char, usize), &'static str> {
    const LONE: &str = "a lone surrogate (\\ud800 to \\udfff) stands for no character; send bytes as {\"base64\": …}";
    let first = four_digits(escape, 2)?;
    if !(0xd800..0xe000).contains(&first) {
        return Ok((char::from_u32(first).ok_or(LONE)?, 6));
    }
    if first >= 0xdc00 || escape.get(6..8) != Some(b"\\u") {
        return Err(LONE);
    }
    let second = four_digits(escape, 8)?;
    if !(0xdc00..0xe000).contains(&second) {
        return Err(LONE);
    }
    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Ok((char::from_u32(code).ok_or(LONE)?, 12))
}

fn four_digits(escape: &[u8], at: usize) -> Result<u32, &'static str> {
    const BROKEN: &str = "\\u is not followed by four hexadecimal digits";
    let digits = escape.get(at..at + 4).ok_or(BROKEN)?;
    digits.iter().try_fold(0, |code, digit| Ok(code * 16 + char::from(*digit).to_digit(16).ok_or(BROKEN)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sound(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.value().is_ok() && scanner.at_end()
    }

    #[test]
    fn accepts_what_the_rfc_allows() {
        for text in [
            "{}",
            "[]",
            "[{}]",
            "{\"a\":[]}",
            " [1 , 2.5e-3,-0, 0.0 ,1E+9] ",
            "\"\\u0041\\ud83d\\ude00\\/\"",
            "null",
            "{\"a\":{\"b\":[true,false,null,\"x\"]},\"a\":1}",
            "\"ünïcode\"",
            "-1",
            "[[],[[]],{}]",
            "\"\u{7f}\"",
        ] {
            assert!(sound(text), "{text}");
        }
    }

    #[test]
    fn refuses_what_the_rfc_forbids() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "tru",
            "nul",
            "True",
            "NaN",
            "Infinity",
            "'a'",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"a\nb\"",
            "\"a\u{0}\"",
            "1 2",
            "[1}",
            "{\"a\":1]",
            "[1 2]",
            "\u{feff}1",
            "[,1]",
            "// c\n1",
            "\"\\",
            "\"\\ud800\\u",
        ] {
            assert!(!sound(text), "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(sound(&nested(DEPTH_MAX as usize)));
        assert!(!sound(&nested(DEPTH_MAX as usize + 1)));
        assert!(!sound(&"[".repeat(1 << 20)));
        assert!(!sound(&"{\"a\":".repeat(1 << 20)));
    }

    proptest! {
        #[test]
        fn agrees_with_serde(text in "[\\[\\]{}\",:\\\\0-9a-fu.eE+ \\-tnrls\n]{0,40}") {
            // Serde refuses lone surrogates only when it decodes, so both decode here; it takes duplicate names too.
            let serde = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert_eq!(sound(&text), serde, "{}", text);
        }

        #[test]
        fn any_text_is_answered(text in ".{0,200}") {
            sound(&text);
            is_object_or_array(text.as_bytes());
        }

        #[test]
        fn strings_come_back(string in ".{0,60}") {
            let text = serde_json::to_string(&string).unwrap();
            let mut scanner = Scanner::new(&text);
            let found = scanner.string().unwrap();
            let mut bytes = Vec::new();
            scanner.unescape(found, &mut bytes);
            prop_assert_eq!(bytes, string.into_bytes());
            prop_assert!(scanner.at_end());
        }
    }
}
