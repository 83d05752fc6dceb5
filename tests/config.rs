//! The configuration as an operator meets it: one documented file, and errors that fit in a line.

use balsa::config::keys::KEYS;
use balsa::config::{Config, FlagValue, Sources};
use balsa::types::NodeId;
use std::collections::BTreeSet;

const DOCUMENTED: &str = include_str!("../deploy/balsa.toml");

fn keys_of(table: &toml::Table, prefix: &str, into: &mut BTreeSet<String>) {
    for (name, value) in table {
        let name = format!("{prefix}{name}");
        match value {
            toml::Value::Table(inner) if name != "peers" => keys_of(inner, &format!("{name}."), into),
            _ => assert!(into.insert(name)),
        }
    }
}

fn load_text(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("balsa.toml");
    std::fs::write(&path, text).unwrap();
    let error_path = path.display().to_string();
    let sources = Sources { file: Some(path), ..Sources::default() };
    Config::load(&sources).map_err(|error| error.to_string().replace(&error_path, "FILE"))
}

fn load_variable(name: &str, value: &str) -> Result<Config, String> {
    let environment = vec![("PATH".to_owned(), "/bin".to_owned()), (name.to_owned(), value.to_owned())];
    Config::load(&Sources { environment, ..Sources::default() }).map_err(|error| error.to_string())
}

#[test]
fn the_documented_file_is_the_default() {
    assert_eq!(load_text(DOCUMENTED).unwrap(), Config::default());
}

#[test]
fn file_table_and_structs_have_the_same_keys() {
    let known: BTreeSet<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    let mut documented = BTreeSet::new();
    keys_of(&DOCUMENTED.parse().unwrap(), "", &mut documented);
    assert_eq!(documented, known);
    let mut typed = BTreeSet::new();
    keys_of(&Config::default().to_toml().parse().unwrap(), "", &mut typed);
    assert_eq!(typed, known);
}

#[test]
fn every_documented_key_has_its_reason_above_it() {
    let lines: Vec<&str> = DOCUMENTED.lines().collect();
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#')) {
        // A pair of keys may share one comment.
        let explained = lines[number.saturating_sub(2)..number].iter().any(|above| above.starts_with("# "));
        assert!(explained, "{line} has no reason above it");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut config = Config { rack: Some("a".to_owned()), ..Config::default() };
    config.peers.insert(NodeId(1), "10.0.0.1:9192".to_owned());
    config.kafka.listen = None;
    assert_eq!(load_text(&config.to_toml()).unwrap(), config);
}

#[test]
fn flags_win_over_variables_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("balsa.toml");
    std::fs::write(&path, "default_partitions = 2\nnode_id = 2\n[log]\nlevel = \"warn\"\n").unwrap();
    let environment = vec![
        ("BALSA_CONFIG".to_owned(), path.display().to_string()),
        ("BALSA_NODE_ID".to_owned(), "3".to_owned()),
        ("BALSA_LOG_LEVEL".to_owned(), "debug".to_owned()),
        ("BALSA_STORAGE_SEGMENT_BYTES".to_owned(), "1 MiB".to_owned()),
    ];
    let flags = vec![
        FlagValue { flag: "--node-id", key: "node_id", value: "4".to_owned() },
        FlagValue { flag: "--peers", key: "peers", value: "1=a:1, 4=[::1]:2".to_owned() },
    ];
    let config = Config::load(&Sources { file: None, environment, flags }).unwrap();
    assert_eq!((config.default_partitions, config.node_id, config.log.level.as_str()), (2, NodeId(4), "debug"));
    assert_eq!(config.storage.segment_bytes, 1024 * 1024);
    assert_eq!(config.peers.values().collect::<Vec<_>>(), ["a:1", "[::1]:2"]);
}

#[test]
fn errors_name_source_key_value_and_what_is_accepted() {
    let cases = [
        ("nodeid = 1", "FILE: there is no key nodeid (did you mean node_id?)"),
        ("[http]\nlisten_on = \"127.0.0.1:1\"", "FILE: there is no key http.listen_on (did you mean http.listen?)"),
        ("colour = 1", "FILE: there is no key colour"),
        ("node_id = 0", "FILE: node_id = 0: expected a whole number from 1 to 4294967295"),
        ("node_id = \"one\"", "FILE: node_id = \"one\": expected a whole number from 1 to 4294967295"),
        ("auto_create_topics = 1", "FILE: auto_create_topics = 1: expected true or false"),
        ("http = 3", "FILE: there is no key http"),
        ("[log]\nformat = \"xml\"", "FILE: log.format = \"xml\": expected one of text, json"),
        ("a =\nb = 1", "FILE: line 1: not TOML:"),
    ];
    for (text, expected) in cases {
        let error = load_text(text).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let error = load_text("[http]\nlisten = \"somewhere\"").unwrap_err();
    assert!(error.starts_with("FILE: http.listen = \"somewhere\": expected an IP address and port"), "{error}");
    let error = load_variable("BALSA_PEERS", "1").unwrap_err();
    assert!(error.starts_with("BALSA_PEERS: peers = \"1\": expected node ids"), "{error}");
    let error = Config::load(&Sources { file: Some("/nowhere/balsa.toml".into()), ..Sources::default() }).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/balsa.toml: the configuration file cannot be read: "), "{error}");
}

#[test]
fn unknown_variables_are_refused_by_name() {
    let error = load_variable("BALSA_NODEID", "1").unwrap_err();
    assert_eq!(error, "BALSA_NODEID: no such setting (did you mean BALSA_NODE_ID?)");
    for harmless in ["BALSA_SERVER", "BALSA_SERVICE_HOST", "BALSA_PORT_8082_TCP_ADDR", "BALSA_PORT", "BALSAM"] {
        load_variable(harmless, "x").unwrap();
    }
}

#[test]
fn settings_must_fit_together() {
    let cases = [
        ("[peers]\n2 = \"a:1\"", "node_id = 1: peers has only 2"),
        ("[peers]\n1 = \"a:1\"\n2 = \"a:1\"", "peers = a:1: nodes 1 and 2 have the same address"),
        ("[http]\nlisten = \"0.0.0.0:8082\"", "http.listen = 0.0.0.0:8082: not a loopback address"),
        ("[peer]\nlisten = \"127.0.0.1:8082\"", "peer.listen = 127.0.0.1:8082: http.listen has the same address"),
        ("[raft]\nelection_timeout_min_ms = 150", "raft.election_timeout_min_ms = 150: expected at least twice"),
        ("[raft]\nelection_timeout_max_ms = 1500", "raft.election_timeout_max_ms = 1500: expected more than"),
        ("[liveness]\nsilent_after_ms = 150", "liveness.silent_after_ms = 150: expected at least twice"),
        ("[limits]\nrecord_bytes = \"9 MiB\"", "limits.record_bytes = 9437184: expected at most limits.batch_bytes"),
    ];
    for (text, expected) in cases {
        let error = load_text(text).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    load_text("allow_insecure_listener = true\n[http]\nlisten = \"0.0.0.0:8082\"").unwrap();
}

#[test]
fn a_node_knows_how_others_reach_it() {
    let mut config = Config::default();
    assert_eq!(config.http_advertised(), "127.0.0.1:8082");
    assert_eq!(config.members()[&NodeId(1)], "127.0.0.1:9192");
    config.http.listen = "0.0.0.0:8082".parse().unwrap();
    config.peers.insert(NodeId(1), "balsa-1.example:9192".to_owned());
    assert_eq!(config.http_advertised(), "balsa-1.example:8082");
    config.http.advertised = Some("public.example:80".to_owned());
    assert_eq!(config.http_advertised(), "public.example:80");
}
