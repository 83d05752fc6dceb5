//! The lines that a history mostly consists of, bytes-wise: polls that delivered something, as our own writer has them.
//!
//! A shortcut only: what is not exactly of that form is left to the reader of EDN, which gives the same for those too.

use crate::history::line::{F, Key, Kind, Line, Message, Micro, Offset, Polled, Process, Value};

/// The line, if it is `{:index … :type :ok :f :poll :value [[:poll {…}]]}` and nothing else.
pub fn poll(bytes: &[u8]) -> Option<Line> {
    let mut cursor = Cursor { rest: bytes };
    cursor.skip(b"{:index ")?;
    let index = cursor.number()?;
    cursor.skip(b" :time ")?;
    let time = cursor.number()?;
    cursor.skip(b" :process ")?;
    let process = Process::Client(cursor.number()?);
    cursor.skip(b" :type :ok :f :poll :value [[:poll {")?;
    let mut keys = Vec::new();
    loop {
        cursor.space();
        if cursor.skip(b"}]]}").is_some() {
            break;
        }
        keys.push(cursor.key()?);
    }
    cursor.space();
    let line = Line {
        index,
        time,
        process,
        kind: Kind::Ok,
        f: F::Poll,
        value: Value::Micros(vec![Micro::Poll(Some(keys))]),
        error: None,
        seek_to_beginning: false,
        linearizable: false,
        rebalanced: vec![],
    };
    cursor.rest.is_empty().then_some(line)
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn skip(&mut self, text: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    fn space(&mut self) {
        while let [b' ' | b',' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Up to 18 digits, so that no sum overflows; what has more is left to the other reader.
    fn number(&mut self) -> Option<u64> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=18).contains(&digits) {
            return None;
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        Some(number.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    }

    /// `7 [[0 40] [1 41]]`
    fn key(&mut self) -> Option<Polled> {
        let key = Key(self.number()?);
        self.skip(b" [")?;
        let mut messages = Vec::new();
        loop {
            self.space();
            if self.skip(b"]").is_some() {
                return Some(Polled { key, messages });
            }
            self.skip(b"[")?;
            let offset = Offset(self.number()?);
            self.skip(b" ")?;
            messages.push((offset, Message(self.number()?)));
            self.skip(b"]")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{edn_read, typed};
    use proptest::prelude::*;

    fn slowly(text: &str) -> Option<Line> {
        typed::line(edn_read::read_line(text).ok()??, 0).ok()
    }

    #[test]
    fn it_reads_what_the_writer_writes() {
        let text = "{:index 3 :time 9 :process 2 :type :ok :f :poll :value [[:poll {1 [[0 40] [1 41]] 2 [[7 3]]}]]}\n";
        assert_eq!(poll(text.as_bytes()), slowly(text));
        assert!(poll(text.as_bytes()).is_some());
        assert_eq!(format!("{}\n", poll(text.as_bytes()).unwrap()), text);
        assert_eq!(poll(text.replace("}\n", " :error :timeout}\n").as_bytes()), None);
    }

    proptest! {
        /// Whatever it takes, the reader of EDN takes for the same.
        #[test]
        fn it_agrees_with_the_reader_of_edn(tail in "[0-9 ,\\[\\]{}:a]{0,40}") {
            let text = format!("{{:index 3 :time 9 :process 2 :type :ok :f :poll :value [[:poll {{1 [[0 40] {tail}");
            if let Some(line) = poll(text.as_bytes()) {
                prop_assert_eq!(Some(line), slowly(&text));
            }
        }
    }
}
