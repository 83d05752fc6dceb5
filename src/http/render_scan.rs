//! Is this text JSON, and of which kind? The check that decides whether a record's value is shown as JSON.
//!
//! It follows the grammar of RFC 8259 to the letter and builds nothing: one pass, no allocation, a fixed stack of
//! [`DEPTH_MAX`] bits. Deeper text counts as not JSON. Escapes of
//! unpaired surrogates count as not JSON either, though the grammar has them: strict readers would refuse the whole
//! answer. It does not check UTF-8 (its input is a `str`), and does not look for duplicate names.

/// The deepest nesting that is shown as JSON: what a request may have, too.
pub const DEPTH_MAX: u32 = 128;

/// What the text turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonText {
    /// An object or an array; otherwise a string, a number, `true`, `false` or `null`.
    pub container: bool,
    /// An object whose members are all named `base64`: what stands for bytes in a record, so it cannot stand for itself.
    pub only_base64: bool,
    /// Has line breaks between its tokens (within strings they are always escaped).
    pub line_breaks: bool,
}

/// Checks `text`; `None` when it is not JSON, or nested too deeply.
pub fn scan(text: &str) -> Option<JsonText> {
    let mut scanner =
        Scanner { bytes: text.as_bytes(), at: 0, line_breaks: false, depth: 0, objects: 0, names: Names::None };
    scanner.space();
    let container = matches!(scanner.peek(), Some(b'{' | b'['));
    scanner.document()?;
    let only_base64 = scanner.names == Names::Base64;
    Some(JsonText { container, only_base64, line_breaks: scanner.line_breaks })
}

/// Where the first byte is that a JSON string cannot hold as it is: a quote, a backslash or a control character.
/// Eight bytes at a time (SWAR), since strings are most of what is read and written here.
pub fn find_special(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("a chunk of eight bytes"));
        let quote = word ^ (LOW * u64::from(b'"'));
        let backslash = word ^ (LOW * u64::from(b'\\'));
        // A borrow may mark a byte above a real hit, but never below the first one, so the lowest mark is exact.
        let marks = (quote.wrapping_sub(LOW) & !quote
            | backslash.wrapping_sub(LOW) & !backslash
            | word.wrapping_sub(LOW * 0x20) & !word)
            & HIGH;
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    bytes[at..].iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20).map(|found| at + found)
}

/// What the names of the outermost object's members are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    None,
    Base64,
    Other,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    line_breaks: bool,
    depth: u32,
    /// One bit per open container, the innermost lowest: 1 is an object.
    objects: u128,
    names: Names,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.line_breaks = true,
                _ => return,
            }
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn document(&mut self) -> Option<()> {
        loop {
            self.space();
            let closed = match self.peek()? {
                b'{' => self.open_object()?,
                b'[' => self.open_array()?,
                b'"' => self.string().map(|_| true)?,
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => self.number().map(|()| true)?,
            };
            if closed && self.close()? {
                return (self.at == self.bytes.len()).then_some(());
            }
        }
    }

    /// Whether the object is empty, and closed thereby.
    fn open_object(&mut self) -> Option<bool> {
        self.push(1)?;
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            self.pop();
            return Some(true);
        }
        self.name()?;
        Some(false)
    }

    fn open_array(&mut self) -> Option<bool> {
        self.push(0)?;
        self.space();
        if self.peek()? == b']' {
            self.at += 1;
            self.pop();
            return Some(true);
        }
        Some(false)
    }

    fn push(&mut self, object: u128) -> Option<()> {
        if self.depth == DEPTH_MAX {
            return None;
        }
        self.at += 1;
        self.depth += 1;
        self.objects = self.objects << 1 | object;
        Some(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
    }

    /// Behind a value: closes what ends here. `true` at the end of the outermost value, `false` where the next value begins.
    fn close(&mut self) -> Option<bool> {
        loop {
            self.space();
            if self.depth == 0 {
                return Some(true);
            }
            let object = self.objects & 1 == 1;
            match self.peek()? {
                b',' => {
                    self.at += 1;
                    if object {
                        self.space();
                        self.name()?;
                    }
                    return Some(false);
                }
                b'}' if object => {}
                b']' if !object => {}
                _ => return None,
            }
            self.at += 1;
            self.pop();
        }
    }

    /// A member's name and the colon behind it.
    fn name(&mut self) -> Option<()> {
        let (from, to) = self.string()?;
        if self.depth == 1 && self.names != Names::Other {
            self.names = if is_base64(&self.bytes[from..to]) { Names::Base64 } else { Names::Other };
        }
        self.space();
        self.expect(b':')
    }

    /// A string; gives what is between the quotes.
    fn string(&mut self) -> Option<(usize, usize)> {
        self.expect(b'"')?;
        let from = self.at;
        loop {
            self.at += find_special(&self.bytes[self.at..])?;
            match self.bytes[self.at] {
                b'"' => {
                    self.at += 1;
                    return Some((from, self.at - 1));
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let length = match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' => match self.unit(self.at)? {
                0xd800..=0xdbff => matches!(self.unit(self.at + 6), Some(0xdc00..=0xdfff)).then_some(12)?,
                0xdc00..=0xdfff => return None,
                _ => 6,
            },
            _ => return None,
        };
        self.at += length;
        Some(())
    }

    /// The UTF-16 unit of the escape `\uXXXX` at `at`, if there is one.
    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)? as u16))
    }

    fn word(&mut self, word: &[u8]) -> Option<bool> {
        self.bytes[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            true
        })
    }

    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }
}

/// Whether a name, as it stands between its quotes, reads `base64` (escapes count as what they stand for).
fn is_base64(raw: &[u8]) -> bool {
    if !raw.contains(&b'\\') {
        return raw == b"base64";
    }
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice::<String>(&quoted).is_ok_and(|name| name == "base64")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_json(text: &str) -> bool {
        scan(text).is_some()
    }

    #[test]
    fn grammar_is_followed_to_the_letter() {
        for text in [
            "{}",
            "[]",
            "0",
            "-0",
            "-1.5e+30",
            "1E5",
            "\"\"",
            "\"\\u00e9\\n\\/\"",
            "\"\\ud83d\\ude00\"",
            "true",
            "false",
            "null",
            " \t\r\n[ ] ",
            "{\"a\":[1,{\"b\":null}],\"c\":\"d\"}",
            "[[],{},[[{}]]]",
            "123456789012345678901234567890",
            "\"\u{e9}\u{1f600}\"",
        ] {
            assert!(is_json(text), "{text}");
        }
        for text in [
            "",
            " ",
            "{",
            "[",
            "]",
            "{]",
            "[}",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "{1:1}",
            "[1 2]",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "nul",
            "truee",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12",
            "\"\n\"",
            "[1]]",
            "{} {}",
            "'a'",
            "NaN",
            "\u{feff}{}",
            "[1,,2]",
            "\"\\ud83d\"",
            "\"\\ud83dx\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "{\"a\":1 \"b\":2}",
            "//",
            "\"a\tb\"",
        ] {
            assert!(!is_json(text), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_json(&nested(128)));
        assert!(!is_json(&nested(129)));
        assert!(!is_json(&"[".repeat(1_000_000)));
        assert!(is_json(&format!("[{}]", vec!["[[]]"; 1000].join(","))), "closing gives depth back");
    }

    #[test]
    fn objects_that_stand_for_bytes_are_known_however_spelled() {
        let only = |text: &str| scan(text).expect("JSON").only_base64;
        assert!(only("{\"base64\":\"aGk=\"}"));
        assert!(only(" { \"base64\" : 1 } "));
        assert!(only("{\"b\\u0061se64\":null}"));
        assert!(only("{\"base64\":1,\"base64\":2}"), "parsers see one member");
        assert!(!only("{}"));
        assert!(!only("{\"base64\":1,\"a\":2}"));
        assert!(!only("{\"a\":2,\"base64\":1}"));
        assert!(!only("{\"a\":{\"base64\":1}}"));
        assert!(!only("[{\"base64\":1}]"));
        assert!(!only("{\"Base64\":1}"));
    }

    #[test]
    fn kinds_and_line_breaks() {
        assert_eq!(scan("[1,\n2]"), Some(JsonText { container: true, only_base64: false, line_breaks: true }));
        assert_eq!(scan("\"\\n\""), Some(JsonText { container: false, only_base64: false, line_breaks: false }));
        assert_eq!(scan("7\r"), Some(JsonText { container: false, only_base64: false, line_breaks: true }));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}:,\"\\\\a1e.\\- \n\u{e9}u0]{0,24}") {
            prop_assert_eq!(is_json(&text), serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok());
        }

        #[test]
        fn special_bytes_are_found_where_they_are(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let slow = bytes.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
            prop_assert_eq!(find_special(&bytes), slow);
        }
    }
}
