//! A line from EDN, and back.
//!
//! Reading is by name, whatever the order of the members, and skips members that it doesn't know; keywords may be
//! strings, as in JSON. What is known must have the right form: a checker that guesses finds nothing.

use crate::history::edn::{Edn, is_name};
use crate::history::line::{
    Append, ErrorText, F, GroupValue, Key, Kind, Line, LogKey, Message, Micro, Offset, Place, Polled, Process, Value,
};
use std::fmt;
use std::fmt::Write;

/// What is wrong with a line.
pub type Wrong = String;

/// Takes a line apart; `counted` is its index where it doesn't say one.
pub fn line(edn: Edn, counted: u64) -> Result<Line, Wrong> {
    let Edn::Map(members) = edn else { return Err("a line is a map".to_owned()) };
    let (mut process, mut kind, mut f, mut value) = (None, None, None, None);
    let (mut index, mut time) = (None, None);
    let mut line = Line {
        index: 0,
        time: 0,
        process: Process::Nemesis,
        kind: Kind::Info,
        f: F::Crash,
        value: Value::Nil,
        error: None,
        seek_to_beginning: false,
        linearizable: false,
        rebalanced: vec![],
    };
    for (name, member) in members {
        match name.name() {
            Some("index") => index = Some(member.uint().ok_or("an :index is a natural number")?),
            // Jepsen's own histories have a few from before their clock began.
            Some("time") => time = Some(uint_or_zero(&member).ok_or("a :time is an integer")?),
            Some("process") => process = Some(read_process(&member)?),
            Some("type") => kind = Some(read_kind(&member)?),
            Some("f") => f = Some(F::named(member.name().ok_or("an :f is a keyword")?)),
            Some("value") => value = Some(member),
            Some("error") => {
                line.error = Some(member).filter(|error| *error != Edn::Nil).map(|error| ErrorText(error.into()))
            }
            Some("seek-to-beginning?") => line.seek_to_beginning = member == Edn::Bool(true),
            Some("consistency") => line.linearizable = member.name() == Some("linearizable"),
            Some("rebalance-log") => line.rebalanced = read_rebalanced(&member)?,
            _ => {}
        }
    }
    line.index = index.unwrap_or(counted);
    line.time = time.unwrap_or(0);
    line.process = process.ok_or("no :process")?;
    line.kind = kind.ok_or("no :type")?;
    line.f = f.ok_or("no :f")?;
    line.value = read_value(line.process, line.kind, &line.f, value.unwrap_or(Edn::Nil))?;
    Ok(line)
}

fn uint_or_zero(edn: &Edn) -> Option<u64> {
    match edn {
        Edn::Int(number) => Some(u64::try_from(*number).unwrap_or(0)),
        _ => None,
    }
}

fn read_process(edn: &Edn) -> Result<Process, Wrong> {
    match (edn, edn.name()) {
        (Edn::Int(number), _) => {
            u64::try_from(*number).map(Process::Client).map_err(|_| "a negative :process".to_owned())
        }
        (_, Some(_)) => Ok(Process::Nemesis),
        _ => Err("a :process is an integer or a keyword".to_owned()),
    }
}

fn read_kind(edn: &Edn) -> Result<Kind, Wrong> {
    match edn.name() {
        Some("invoke") => Ok(Kind::Invoke),
        Some("ok") => Ok(Kind::Ok),
        Some("fail") => Ok(Kind::Fail),
        Some("info") => Ok(Kind::Info),
        _ => Err(format!("a :type is :invoke, :ok, :fail or :info, not {edn}")),
    }
}

fn read_rebalanced(edn: &Edn) -> Result<Vec<Key>, Wrong> {
    let mut keys = Vec::new();
    for entry in edn.items().ok_or("a :rebalance-log is a vector")? {
        keys.extend(read_keys(entry.get("keys").ok_or("a :rebalance-log's entry has :keys")?)?);
    }
    Ok(keys)
}

fn read_value(process: Process, kind: Kind, f: &F, value: Edn) -> Result<Value, Wrong> {
    if process == Process::Nemesis {
        return Ok(if value == Edn::Nil { Value::Nil } else { Value::Other(value) });
    }
    match (f, value) {
        (_, Edn::Nil) => Ok(Value::Nil),
        (F::Send | F::Poll | F::Txn, value) => {
            let micros = value.items().ok_or_else(|| format!("a {}'s value is a vector", f.name()))?;
            let micros: Vec<Micro> = micros.iter().map(read_micro).collect::<Result<_, _>>()?;
            let fits = |micro: &Micro| match micro {
                Micro::Send { .. } => *f != F::Poll,
                Micro::Poll(_) => *f != F::Send,
            };
            if micros.iter().all(fits) { Ok(Value::Micros(micros)) } else { Err(format!("a {} of both", f.name())) }
        }
        (F::Assign | F::Subscribe, value) => read_keys(&value).map(Value::Keys),
        // What comes back is not checked.
        (F::DebugTopicPartitions, value) if kind == Kind::Invoke => read_keys(&value).map(Value::Keys),
        (F::Append, value) => read_append(&value),
        (F::End, value) => {
            let (key, detail) = log_key(&value)?;
            Ok(Value::End(key, natural_or_nil(detail)?))
        }
        (F::Own | F::Commit | F::Committed, value) => read_group(&value).map(Value::Group),
        (_, value) => Ok(Value::Other(value)),
    }
}

fn natural(edn: &Edn) -> Result<u64, Wrong> {
    edn.uint().ok_or_else(|| format!("not a natural number: {edn}"))
}

fn natural_or_nil(edn: &Edn) -> Result<Option<u64>, Wrong> {
    if *edn == Edn::Nil { Ok(None) } else { natural(edn).map(Some) }
}

fn read_keys(edn: &Edn) -> Result<Vec<Key>, Wrong> {
    let items = edn.items().ok_or_else(|| format!("not a vector of keys: {edn}"))?;
    items.iter().map(|key| natural(key).map(Key)).collect()
}

fn read_micro(edn: &Edn) -> Result<Micro, Wrong> {
    let wrong = || format!("neither [:send k v] nor [:poll …]: {edn}");
    let items = edn.items().ok_or_else(wrong)?;
    match (items.first().and_then(Edn::name), &items[1.min(items.len())..]) {
        (Some("send"), [key, placed]) => {
            let key = Key(natural(key)?);
            match placed {
                Edn::Vector(pair) => {
                    let [offset, message] = &pair[..] else { return Err(wrong()) };
                    let place = natural_or_nil(offset)?.map_or(Place::Untold, |offset| Place::At(Offset(offset)));
                    Ok(Micro::Send { key, message: Message(natural(message)?), place })
                }
                message => Ok(Micro::Send { key, message: Message(natural(message)?), place: Place::Asked }),
            }
        }
        (Some("poll"), [] | [Edn::Nil]) => Ok(Micro::Poll(None)),
        (Some("poll"), [Edn::Map(keys)]) => {
            Ok(Micro::Poll(Some(keys.iter().map(read_polled).collect::<Result<_, _>>()?)))
        }
        _ => Err(wrong()),
    }
}

fn read_polled((key, messages): &(Edn, Edn)) -> Result<Polled, Wrong> {
    let pair = |pair: &Edn| match pair.items() {
        Some([offset, message]) => Ok((Offset(natural(offset)?), Message(natural(message)?))),
        _ => Err(format!("not [offset value]: {pair}")),
    };
    let messages = messages.items().ok_or_else(|| format!("not a vector of messages: {messages}"))?;
    Ok(Polled { key: Key(natural(key)?), messages: messages.iter().map(pair).collect::<Result<_, _>>()? })
}

fn log_key(edn: &Edn) -> Result<(LogKey, &Edn), Wrong> {
    let Some([key, detail]) = edn.items() else { return Err(format!("not [key detail]: {edn}")) };
    let key = match (key.uint(), key.name()) {
        (Some(number), _) => LogKey::Number(number),
        (_, Some(name)) => LogKey::Name(name.into()),
        _ => return Err(format!("a key is a natural number or a string, not {key}")),
    };
    Ok((key, detail))
}

fn read_append(edn: &Edn) -> Result<Value, Wrong> {
    let (key, detail) = log_key(edn)?;
    let member = |name: &str| detail.get(name).map_or(Ok(None), natural_or_nil);
    let append =
        Append { n: member("n")?.unwrap_or(1), at: member("at")?, offset: member("offset")?, end: member("end")? };
    Ok(Value::Append(key, append))
}

fn read_group(edn: &Edn) -> Result<GroupValue, Wrong> {
    let text = |name: &str| edn.get(name).and_then(Edn::name).unwrap_or_default().to_owned();
    let mut value = GroupValue { group: text("group"), member: text("member"), ..GroupValue::default() };
    value.generation = edn.get("generation").map_or(Ok(None), natural_or_nil)?;
    value.keys = edn.get("keys").map_or(Ok(vec![]), read_keys)?;
    if let Some(Edn::Map(offsets)) = edn.get("offsets") {
        let pair = |(key, offset): &(Edn, Edn)| Ok((Key(natural(key)?), Offset(natural(offset)?)));
        value.offsets = offsets.iter().map(pair).collect::<Result<_, Wrong>>()?;
    }
    Ok(value)
}

/// Writes the line, without its end.
impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{{:index {} :time {} :process ", self.index, self.time)?;
        match self.process {
            Process::Client(number) => write!(out, "{number}")?,
            Process::Nemesis => out.write_str(":nemesis")?,
        }
        write!(out, " :type :{} :f {}", self.kind.name(), Keyword(self.f.name()))?;
        write!(out, " :value {}", self.value)?;
        if self.seek_to_beginning {
            out.write_str(" :seek-to-beginning? true")?;
        }
        if self.linearizable {
            out.write_str(" :consistency :linearizable")?;
        }
        if !self.rebalanced.is_empty() {
            write!(out, " :rebalance-log [{{:keys {}}}]", Keys(&self.rebalanced))?;
        }
        if let Some(error) = &self.error {
            write!(out, " :error {error}")?;
        }
        out.write_char('}')
    }
}

/// A keyword, or a string where the text can't be one.
struct Keyword<'a>(&'a str);

impl fmt::Display for Keyword<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_name(self.0) {
            write!(out, ":{}", self.0)
        } else {
            write!(out, "{}", crate::history::edn::Quoted(self.0))
        }
    }
}

struct Keys<'a>(&'a [Key]);

impl fmt::Display for Keys<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        spaced(out, '[', self.0, ']')
    }
}

fn spaced<T: fmt::Display>(
    out: &mut fmt::Formatter<'_>,
    open: char,
    items: impl IntoIterator<Item = T>,
    close: char,
) -> fmt::Result {
    out.write_char(open)?;
    for (at, item) in items.into_iter().enumerate() {
        let space = if at > 0 { " " } else { "" };
        write!(out, "{space}{item}")?;
    }
    out.write_char(close)
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => out.write_str("nil"),
            Value::Micros(micros) => spaced(out, '[', micros, ']'),
            Value::Keys(keys) => write!(out, "{}", Keys(keys)),
            Value::Append(key, append) => write!(out, "[{} {append}]", Shown(key)),
            Value::End(key, Some(end)) => write!(out, "[{} {end}]", Shown(key)),
            Value::End(key, None) => write!(out, "[{} nil]", Shown(key)),
            Value::Group(group) => write!(out, "{group}"),
            Value::Other(edn) => write!(out, "{edn}"),
        }
    }
}

struct Shown<'a>(&'a LogKey);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            LogKey::Number(number) => write!(out, "{number}"),
            LogKey::Name(name) => write!(out, "{}", crate::history::edn::Quoted(name)),
        }
    }
}

impl fmt::Display for Micro {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Micro::Send { key, message, place: Place::Asked } => write!(out, "[:send {key} {message}]"),
            Micro::Send { key, message, place: Place::Untold } => write!(out, "[:send {key} [nil {message}]]"),
            Micro::Send { key, message, place: Place::At(offset) } => write!(out, "[:send {key} [{offset} {message}]]"),
            Micro::Poll(None) => out.write_str("[:poll]"),
            Micro::Poll(Some(keys)) => {
                out.write_str("[:poll ")?;
                spaced(out, '{', keys, '}')?;
                out.write_char(']')
            }
        }
    }
}

impl fmt::Display for Polled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} [", self.key)?;
        for (at, (offset, message)) in self.messages.iter().enumerate() {
            let space = if at > 0 { " " } else { "" };
            write!(out, "{space}[{offset} {message}]")?;
        }
        out.write_char(']')
    }
}

impl fmt::Display for Append {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{{:n {}", self.n)?;
        for (name, number) in [("at", self.at), ("offset", self.offset), ("end", self.end)] {
            if let Some(number) = number {
                write!(out, " :{name} {number}")?;
            }
        }
        out.write_char('}')
    }
}

impl fmt::Display for GroupValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::history::edn::Quoted;
        write!(out, "{{:group {} :member {}", Quoted(&self.group), Quoted(&self.member))?;
        if let Some(generation) = self.generation {
            write!(out, " :generation {generation}")?;
        }
        if !self.keys.is_empty() {
            write!(out, " :keys {}", Keys(&self.keys))?;
        }
        if !self.offsets.is_empty() {
            out.write_str(" :offsets ")?;
            spaced(out, '{', self.offsets.iter().map(|(key, offset)| format!("{key} {offset}")), '}')?;
        }
        out.write_char('}')
    }
}
