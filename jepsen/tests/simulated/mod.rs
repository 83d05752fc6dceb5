//! A simulated store that makes no mistake, its clients, and histories of what they see.
//!
//! Operations overlap: each has a moment of invocation, one at which it takes effect, and one of completion, and the
//! history's lines are in the order of the first and the last. Sends are single or batches; some answers are lost
//! (`:info`, with or without effect), some are refused (`:fail`, without); clients crash and come back under other
//! numbers; consumers are assigned again. At the end everybody reads everything. A seed makes one history.

use jepsen::history::{
    Append, Edn, ErrorText, F, Key, Kind, Line, LogKey, Message, Micro, Offset, Place, Polled, Process, Value,
};

/// A small generator of numbers (splitmix64): a seed is enough to see a history again.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}

pub struct Plan {
    pub clients: u64,
    pub keys: u64,
    pub operations: u64,
    /// Of a thousand choices, how many are to crash and begin again under another number.
    pub crashes: u64,
}

/// What a client is about to do or to be told.
enum Doing {
    Nothing,
    /// Invoked, and not yet in effect.
    Asked(F, Value),
    /// In effect (or never to be), and not yet answered.
    Decided(F, Kind, Value),
}

struct Client {
    process: u64,
    doing: Doing,
    assigned: Vec<Key>,
    /// The next offset of each key.
    at: Vec<u64>,
}

pub struct Simulation {
    dice: Dice,
    plan: Plan,
    logs: Vec<Vec<Message>>,
    clients: Vec<Client>,
    next_process: u64,
    next_message: u64,
    /// Sends whose answer was lost before they took effect: they may, later.
    late: Vec<Vec<(Key, Message)>>,
    lines: Vec<Line>,
}

/// A history of a store that does nothing wrong.
pub fn history(seed: u64, plan: Plan) -> Vec<Line> {
    let mut simulation = Simulation::new(seed, plan);
    let mut begun = 0;
    while begun < simulation.plan.operations {
        begun += simulation.step();
    }
    simulation.finish();
    simulation.lines
}

impl Simulation {
    fn new(seed: u64, plan: Plan) -> Simulation {
        let client =
            |process| Client { process, doing: Doing::Nothing, assigned: vec![], at: vec![0; plan.keys as usize] };
        Simulation {
            dice: Dice::new(seed),
            logs: vec![vec![]; plan.keys as usize],
            clients: (0..plan.clients).map(client).collect(),
            next_process: plan.clients,
            next_message: 0,
            late: vec![],
            lines: vec![],
            plan,
        }
    }

    fn line(&mut self, process: u64, kind: Kind, f: F, value: Value) {
        let index = self.lines.len() as u64;
        let seek_to_beginning = matches!(f, F::Assign);
        self.lines.push(Line {
            index,
            time: index * 1_000,
            process: Process::Client(process),
            kind,
            f,
            value,
            error: (kind == Kind::Info).then(|| ErrorText::keyword("timeout")),
            seek_to_beginning,
            linearizable: false,
            rebalanced: vec![],
        });
    }

    /// Some client goes one step further; how many operations begin by it.
    fn step(&mut self) -> u64 {
        if !self.late.is_empty() && self.dice.percent(5) {
            let at = self.dice.below(self.late.len() as u64) as usize;
            let sends = self.late.swap_remove(at);
            for (key, message) in sends {
                self.logs[key.0 as usize].push(message);
            }
        }
        let which = self.dice.below(self.plan.clients) as usize;
        match std::mem::replace(&mut self.clients[which].doing, Doing::Nothing) {
            Doing::Nothing => {
                let (f, value) = self.choose(which);
                self.line(self.clients[which].process, Kind::Invoke, f.clone(), value.clone());
                self.clients[which].doing = Doing::Asked(f, value);
                return 1;
            }
            Doing::Asked(f, value) => {
                let (kind, answer) = self.effect(which, &f, &value);
                self.clients[which].doing = Doing::Decided(f, kind, answer);
            }
            Doing::Decided(f, kind, answer) => {
                self.line(self.clients[which].process, kind, f, answer);
                if kind == Kind::Info {
                    self.reborn(which);
                }
            }
        }
        0
    }

    fn reborn(&mut self, which: usize) {
        let client = &mut self.clients[which];
        client.process = self.next_process;
        self.next_process += 1;
        client.assigned.clear();
        client.at.fill(0);
    }

    fn choose(&mut self, which: usize) -> (F, Value) {
        if self.clients[which].assigned.is_empty() || self.dice.below(1000) < self.plan.crashes {
            // A process that has read goes on where it was, so whoever wants other keys is another process.
            let mut keys: Vec<Key> = (0..self.plan.keys).map(Key).collect();
            keys.retain(|_| !self.dice.percent(20));
            if keys.is_empty() {
                keys.push(Key(0));
            }
            if !self.clients[which].assigned.is_empty() {
                return (F::Crash, Value::Nil);
            }
            return (F::Assign, Value::Keys(keys));
        }
        if self.dice.percent(45) {
            return (F::Poll, Value::Micros(vec![Micro::Poll(None)]));
        }
        let key = Key(self.dice.below(self.plan.keys));
        let size = if self.dice.percent(20) { 1 + self.dice.below(4) } else { 1 };
        let send = |_| {
            self.next_message += 1;
            Micro::Send { key, message: Message(self.next_message), place: Place::Asked }
        };
        (F::Send, Value::Micros((0..size).map(send).collect()))
    }

    /// Lets it take place, and decides what the client is told.
    fn effect(&mut self, which: usize, f: &F, value: &Value) -> (Kind, Value) {
        match (f, value) {
            (F::Crash, _) => (Kind::Info, Value::Nil),
            (F::Assign, Value::Keys(keys)) => {
                self.clients[which].assigned = keys.clone();
                self.clients[which].at.fill(0);
                (Kind::Ok, value.clone())
            }
            (F::Poll, _) => self.poll(which),
            (_, Value::Micros(micros)) => self.send(micros),
            _ => unreachable!("no other operation is chosen"),
        }
    }

    fn poll(&mut self, which: usize) -> (Kind, Value) {
        if self.dice.percent(2) {
            return (Kind::Info, Value::Micros(vec![Micro::Poll(None)]));
        }
        let limit = 1 + self.dice.below(8) as usize;
        let client = &mut self.clients[which];
        let mut given = Vec::new();
        for key in &client.assigned {
            let at = &mut client.at[key.0 as usize];
            let messages: Vec<_> = (*at..)
                .map(Offset)
                .zip(self.logs[key.0 as usize].iter().skip(*at as usize).copied())
                .take(limit)
                .collect();
            *at += messages.len() as u64;
            if !messages.is_empty() {
                given.push(Polled { key: *key, messages });
            }
        }
        (Kind::Ok, Value::Micros(vec![Micro::Poll(Some(given))]))
    }

    fn send(&mut self, micros: &[Micro]) -> (Kind, Value) {
        if self.dice.percent(3) {
            return (Kind::Fail, Value::Micros(micros.to_vec()));
        }
        let lost_answer = self.dice.percent(4);
        if lost_answer && self.dice.percent(50) {
            if self.dice.percent(50) {
                self.late.push(micros.iter().filter_map(sent).collect());
            }
            return (Kind::Info, Value::Micros(micros.to_vec()));
        }
        let mut placed = Vec::new();
        for (key, message) in micros.iter().filter_map(sent) {
            let log = &mut self.logs[key.0 as usize];
            placed.push(Micro::Send { key, message, place: Place::At(Offset(log.len() as u64)) });
            log.push(message);
        }
        match lost_answer {
            true => (Kind::Info, Value::Micros(micros.to_vec())),
            false => (Kind::Ok, Value::Micros(placed)),
        }
    }

    /// Everybody ends what is open, crashes, and reads all from the beginning.
    fn finish(&mut self) {
        for which in 0..self.clients.len() {
            while !matches!(self.clients[which].doing, Doing::Nothing) {
                self.answer(which);
            }
        }
        for which in 0..self.clients.len() {
            let process = self.clients[which].process;
            self.line(process, Kind::Invoke, F::Crash, Value::Nil);
            self.line(process, Kind::Info, F::Crash, Value::Nil);
            self.reborn(which);
            let process = self.clients[which].process;
            let keys: Vec<Key> = (0..self.plan.keys).map(Key).collect();
            self.line(process, Kind::Invoke, F::DebugTopicPartitions, Value::Keys(keys.clone()));
            let ends =
                self.logs.iter().enumerate().map(|(key, log)| (Edn::Int(key as i64), Edn::Int(log.len() as i64)));
            let ends = Edn::Map(ends.collect());
            self.line(process, Kind::Ok, F::DebugTopicPartitions, Value::Other(ends));
            self.line(process, Kind::Invoke, F::Assign, Value::Keys(keys.clone()));
            self.line(process, Kind::Ok, F::Assign, Value::Keys(keys.clone()));
            self.clients[which].assigned = keys;
            loop {
                let end: u64 = self.logs.iter().map(|log| log.len() as u64).sum();
                if self.clients[which].at.iter().sum::<u64>() >= end {
                    break;
                }
                self.line(process, Kind::Invoke, F::Poll, Value::Micros(vec![Micro::Poll(None)]));
                let answer = loop {
                    if let (Kind::Ok, answer) = self.poll(which) {
                        break answer;
                    }
                };
                self.line(process, Kind::Ok, F::Poll, answer);
            }
        }
    }

    fn answer(&mut self, which: usize) {
        match std::mem::replace(&mut self.clients[which].doing, Doing::Nothing) {
            Doing::Nothing => {}
            Doing::Asked(f, value) => {
                let (kind, answer) = self.effect(which, &f, &value);
                self.clients[which].doing = Doing::Decided(f, kind, answer);
            }
            Doing::Decided(f, kind, answer) => self.line(self.clients[which].process, kind, f, answer),
        }
    }
}

fn sent(micro: &Micro) -> Option<(Key, Message)> {
    match micro {
        Micro::Send { key, message, .. } => Some((*key, *message)),
        Micro::Poll(_) => None,
    }
}

/// An operation on a log's end: what it asks for and, once it took effect, what it is told.
type Pending = (LogKey, u64, F, Append, Option<(Kind, Value)>);

/// A history of a log's end, of a store that makes no mistake: appends at a given end and at any, refusals, reads.
pub fn log_end(seed: u64, clients: u64, keys: u64, operations: u64) -> Vec<Line> {
    let mut dice = Dice::new(seed);
    let mut ends = vec![0u64; keys as usize];
    // Invoked; then with what it is told.
    let mut open: Vec<Option<Pending>> = vec![None; clients as usize];
    let mut processes: Vec<u64> = (0..clients).collect();
    let mut lines: Vec<Line> = Vec::new();
    let mut begun = 0;
    while begun < operations || open.iter().any(Option::is_some) {
        let who = dice.below(clients) as usize;
        match open[who].take() {
            None if begun >= operations => {}
            None => {
                begun += 1;
                let number = dice.below(keys);
                let key = LogKey::Number(number);
                let guess = ends[number as usize];
                let at = dice.percent(80).then(|| if dice.percent(10) { guess + 1 } else { guess });
                let append = Append::of(1 + dice.below(3), at);
                let (f, value) = match dice.percent(50) {
                    true => (F::Append, Value::Append(key.clone(), append)),
                    false => (F::End, Value::End(key.clone(), None)),
                };
                push(&mut lines, processes[who], Kind::Invoke, f.clone(), value);
                open[who] = Some((key, number, f, append, None));
            }
            Some((key, number, f, append, None)) => {
                let end = &mut ends[number as usize];
                let told = match f {
                    F::End => (Kind::Ok, Value::End(key.clone(), Some(*end))),
                    _ if append.at.is_some_and(|at| at != *end) => {
                        (Kind::Fail, Value::Append(key.clone(), Append { end: Some(*end), ..append }))
                    }
                    _ => {
                        let lost = dice.percent(1);
                        let offset = *end;
                        if !lost || dice.percent(50) {
                            *end += append.n;
                        }
                        let kind = if lost { Kind::Info } else { Kind::Ok };
                        let offset = (!lost).then_some(offset);
                        (kind, Value::Append(key.clone(), Append { offset, ..append }))
                    }
                };
                open[who] = Some((key, number, f, append, Some(told)));
            }
            Some((_, _, f, _, Some((kind, value)))) => {
                push(&mut lines, processes[who], kind, f, value);
                if kind == Kind::Info {
                    processes[who] += clients;
                }
            }
        }
    }
    lines
}

fn push(lines: &mut Vec<Line>, process: u64, kind: Kind, f: F, value: Value) {
    let index = lines.len() as u64;
    lines.push(Line {
        index,
        time: index * 1_000,
        process: Process::Client(process),
        kind,
        f,
        value,
        error: None,
        seek_to_beginning: false,
        linearizable: false,
        rebalanced: vec![],
    });
}
