//! Histories as files: what is written is read again, what was torn is said, and no bytes make the reader panic.

use flate2::Compression;
use flate2::write::GzEncoder;
use jepsen::history::{
    Append, Edn, ErrorText, F, GroupValue, History, Key, Kind, Line, LogKey, Message, Micro, Offset, Place, Polled,
    Process, Recorder, Unusable, Value,
};
use proptest::prelude::*;
use std::io::Write;
use std::time::{Duration, Instant};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..20u64, 0..=i64::MAX as u64]
}

fn edn() -> impl Strategy<Value = Edn> {
    let leaf = prop_oneof![
        Just(Edn::Nil),
        any::<bool>().prop_map(Edn::Bool),
        any::<i64>().prop_map(Edn::Int),
        any::<f64>().prop_filter("NaN is not itself", |number| !number.is_nan()).prop_map(Edn::Float),
        any::<char>().prop_map(Edn::Char),
        any::<String>().prop_map(Edn::Text),
        "[a-z][a-z0-9?!*-]{0,8}".prop_map(Edn::Keyword),
        "[g-m][a-z0-9?!*-]{0,8}".prop_map(Edn::Symbol),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Edn::Vector),
            prop::collection::vec(inner.clone(), 0..5).prop_map(Edn::List),
            prop::collection::vec(inner.clone(), 0..5).prop_map(Edn::Set),
            prop::collection::vec((inner.clone(), inner.clone()), 0..5).prop_map(Edn::Map),
            ("[a-z]{1,5}", inner).prop_map(|(tag, value)| Edn::Tagged(tag, Box::new(value))),
        ]
    })
}

fn micro() -> impl Strategy<Value = Micro> {
    let place = prop_oneof![Just(Place::Asked), Just(Place::Untold), number().prop_map(|at| Place::At(Offset(at)))];
    let pair = (number(), number()).prop_map(|(offset, message)| (Offset(offset), Message(message)));
    let polled = (number(), prop::collection::vec(pair, 0..4));
    let polled = polled.prop_map(|(key, messages)| Polled { key: Key(key), messages });
    prop_oneof![
        (number(), number(), place).prop_map(|(key, message, place)| Micro::Send {
            key: Key(key),
            message: Message(message),
            place
        }),
        prop::option::of(prop::collection::vec(polled, 0..4)).prop_map(Micro::Poll),
    ]
}

/// What is done, with a value that fits.
fn operation() -> impl Strategy<Value = (F, Value)> {
    let send = |micro: &Micro| matches!(micro, Micro::Send { .. });
    let keys = prop::collection::vec(number().prop_map(Key), 0..4);
    let log_key =
        || prop_oneof![number().prop_map(LogKey::Number), "[a-z]{1,5}".prop_map(|name| LogKey::Name(name.into()))];
    let optional = || prop::option::of(number());
    let append = (log_key(), number(), optional(), optional(), optional())
        .prop_map(|(key, n, at, offset, end)| (F::Append, Value::Append(key, Append { n, at, offset, end })));
    let group = ("[a-z]{1,4}", "[a-z]{1,4}", optional(), prop::collection::vec((number(), number()), 0..3));
    let group = group.prop_map(|(group, member, generation, offsets)| {
        let offsets = offsets.into_iter().map(|(key, offset)| (Key(key), Offset(offset))).collect();
        (F::Commit, Value::Group(GroupValue { group, member, generation, keys: vec![], offsets }))
    });
    prop_oneof![
        prop::collection::vec(micro().prop_filter("sends", send), 0..4)
            .prop_map(|micros| (F::Send, Value::Micros(micros))),
        prop::collection::vec(micro().prop_filter("polls", move |one| !send(one)), 0..3)
            .prop_map(|micros| (F::Poll, Value::Micros(micros))),
        prop::collection::vec(micro(), 0..4).prop_map(|micros| (F::Txn, Value::Micros(micros))),
        keys.prop_map(|keys| (F::Assign, Value::Keys(keys))),
        Just((F::Crash, Value::Nil)),
        append,
        (log_key(), optional()).prop_map(|(key, end)| (F::End, Value::End(key, end))),
        group,
    ]
}

fn line() -> impl Strategy<Value = Line> {
    let kind = prop_oneof![Just(Kind::Invoke), Just(Kind::Ok), Just(Kind::Fail), Just(Kind::Info)];
    let error = prop::option::of(edn().prop_filter("nil is none", |edn| *edn != Edn::Nil));
    let marks = (any::<bool>(), any::<bool>(), prop::collection::vec(number().prop_map(Key), 0..3));
    (number(), number(), number(), kind, operation(), error, marks).prop_map(
        |(index, time, process, kind, (f, value), error, (seek_to_beginning, linearizable, rebalanced))| Line {
            index,
            time,
            process: Process::Client(process),
            kind,
            f,
            value,
            error: error.map(|error| ErrorText(Box::new(error))),
            seek_to_beginning,
            linearizable,
            rebalanced,
        },
    )
}

fn read(bytes: &[u8]) -> Result<History, Unusable> {
    History::from_reader(bytes)
}

proptest! {
    #[test]
    fn a_line_is_read_as_it_was_written(line in line()) {
        let text = format!("; a comment\n\n{line} ; and another\n");
        prop_assert!(!text.trim_end().contains('\n') || text.lines().count() == 3);
        let history = read(text.as_bytes()).unwrap();
        prop_assert_eq!(history.lines, vec![line]);
        prop_assert_eq!(history.notes, Vec::<String>::new());
    }

    #[test]
    fn a_value_of_edn_is_read_as_it_was_written(edn in edn()) {
        let text = format!("{{:process :nemesis, :time 0, :type :info, :f :fault, :value [{edn}]}}\n");
        let history = read(text.as_bytes()).unwrap();
        prop_assert_eq!(&history.lines[0].value, &Value::Other(Edn::Vector(vec![edn])));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn nor_do_characters_of_edn(text in "[\\[\\]{}()#\"\\\\:;,_ n0-9a-u\n+.-]{0,120}") {
        let _ = read(text.as_bytes());
        let _ = read(format!("{{:index 0 :time 1 :process 0 :type :ok :f :send :value {text}}}\n").as_bytes());
    }

    /// Wherever a killed run's file ends, the whole lines are there, and a torn one is told.
    #[test]
    fn a_file_may_end_anywhere(lines in prop::collection::vec(line(), 1..5), cut in 0usize..2000) {
        let mut lines = lines;
        for (at, line) in lines.iter_mut().enumerate() {
            line.index = at as u64;
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let cut = cut.min(text.len());
        let history = read(&text.as_bytes()[..cut]).unwrap();
        let whole = text.as_bytes()[..cut].iter().filter(|byte| **byte == b'\n').count();
        prop_assert!(history.lines.len() == whole || history.lines.len() == whole + 1 && history.notes.is_empty());
        prop_assert_eq!(&history.lines[..], &lines[..history.lines.len()]);
    }
}

const THREE: &str = "{:index 0 :time 1 :process 0 :type :invoke :f :send :value [[:send 1 4]]}\n\
                     {:index 1 :time 2 :process :nemesis :type :info :f :kill :value [\"n1\"]}\n\
                     {:index 2 :time 3 :process 0 :type :ok :f :send :value [[:send 1 [0 4]]]}\n";

#[test]
fn a_torn_last_line_is_left_out_with_a_note() {
    let history = read(&THREE.as_bytes()[..THREE.len() - 9]).unwrap();
    assert_eq!(history.lines.len(), 2);
    assert!(history.notes[0].contains("torn"), "{:?}", history.notes);
}

#[test]
fn a_torn_line_in_the_middle_makes_it_unusable() {
    let text = THREE.replace(":value [\"n1\"]}", ":value [");
    let error = read(text.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("line 2: "), "{error}");
}

#[test]
fn lines_out_of_order_make_it_unusable() {
    let text = THREE.replace(":index 2", ":index 1");
    assert!(read(text.as_bytes()).unwrap_err().to_string().contains("order"), "{text}");
}

#[test]
fn lines_without_an_index_are_counted() {
    let text = THREE.replace(":index 0 ", "").replace(":index 1 ", "").replace(":index 2 ", "");
    assert_eq!(read(text.as_bytes()).unwrap(), read(THREE.as_bytes()).unwrap());
}

#[test]
fn a_compressed_file_is_read_and_one_that_is_cut_as_far_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.edn.gz");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for round in 0..2000 {
        let line = "{:time 1 :process 0 :type :invoke :f :crash :value nil}\n";
        encoder.write_all(format!("; {round}\n{line}").as_bytes()).unwrap();
    }
    let bytes = encoder.finish().unwrap();
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(History::read(&path).unwrap().lines.len(), 2000);
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let history = History::read(&path).unwrap();
    assert!(!history.lines.is_empty() && history.lines.len() < 2000);
    assert!(history.notes[0].contains("ends early"), "{:?}", history.notes);
}

#[test]
fn the_history_of_a_logs_end_may_be_json() {
    let text = r#"{"index":0,"time":5,"process":0,"type":"invoke","f":"append","value":["orders",{"at":5}]}
{"index":1,"time":6,"process":0,"type":"fail","f":"append","value":["orders",{"n":1,"at":5,"end":7}],"error":"wrong-offset"}
{"index":2,"time":7,"process":"nemesis","type":"info","f":"kill","value":null}
"#;
    let history = read(text.as_bytes()).unwrap();
    let append = Append { n: 1, at: Some(5), offset: None, end: Some(7) };
    assert_eq!(history.lines[1].value, Value::Append(LogKey::Name("orders".into()), append));
    assert!(history.lines[1].error.as_ref().unwrap().is("wrong-offset"));
    assert_eq!(history.lines[2].process, Process::Nemesis);
}

fn send(message: u64, place: Place) -> Value {
    Value::Micros(vec![Micro::Send { key: Key(1), message: Message(message), place }])
}

#[test]
fn a_recorder_writes_what_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.edn");
    let recorder = Recorder::create(&path, Instant::now()).unwrap();
    let one = recorder.invoke(Process::Client(0), F::Send, send(4, Place::Asked));
    let other = recorder.clone().invoke(Process::Client(1), F::Send, send(5, Place::Asked));
    recorder.nemesis("kill", Value::names(["n1", "n2"]));
    recorder.complete(one, Kind::Ok, send(4, Place::At(Offset(0))), None);
    recorder.unknown(other, ErrorText::http(504, "no \"answer\"\n"));
    let assign = recorder.invoke_assign(Process::Client(0), vec![Key(1)], true);
    recorder.complete(assign, Kind::Ok, Value::Keys(vec![Key(1)]), None);
    let _open = recorder.invoke(Process::Client(0), F::Send, send(6, Place::Asked));
    recorder.close().unwrap();
    recorder.nemesis("late", Value::Nil);

    let lines = History::read(&path).unwrap().lines;
    assert_eq!(lines.len(), 9);
    assert!(lines.iter().enumerate().all(|(at, line)| line.index == at as u64));
    assert!(lines.windows(2).all(|pair| pair[0].time <= pair[1].time));
    assert_eq!((lines[2].process, lines[2].f.name()), (Process::Nemesis, "kill"));
    assert_eq!((lines[4].kind, &lines[4].value), (Kind::Info, &send(5, Place::Asked)));
    assert!(lines[4].error.as_ref().unwrap().is("http") && lines[5].seek_to_beginning && lines[6].seek_to_beginning);
    let last = lines.last().unwrap();
    assert_eq!((last.kind, last.process, &last.value), (Kind::Info, Process::Client(0), &send(6, Place::Asked)));
}

#[test]
fn what_was_recorded_is_in_the_file_soon_without_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.edn");
    let recorder = Recorder::create(&path, Instant::now()).unwrap();
    let _open = recorder.invoke(Process::Client(0), F::Send, send(4, Place::Asked));
    let began = Instant::now();
    while History::read(&path).unwrap().lines.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(10), "nothing reaches the file");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[should_panic(expected = "invokes send while")]
fn a_process_has_one_operation_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(&dir.path().join("history.edn"), Instant::now()).unwrap();
    let _one = recorder.invoke(Process::Client(0), F::Send, send(4, Place::Asked));
    let _other = recorder.invoke(Process::Client(0), F::Send, send(5, Place::Asked));
}
