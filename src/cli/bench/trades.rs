//! `balsa bench trades`: a feed of stock trades made from a seed, and the check that all of it came back.
//!
//! The same seed gives the same trades for ever: what is printed on one machine can be checked on another. Each trade
//! carries its number among those of its symbol, so that order and completeness can be seen from the output alone.

use crate::cli::exit::{Failure, Outcome};
use crate::cli::servers::grouped;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::{self, BufRead, BufReader, BufWriter, Write};

#[derive(clap::Args)]
pub struct Arguments {
    /// The same seed gives the same trades
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Only a part of the symbols, as PART/PARTS: all trades of a symbol are in one part
    #[arg(long, default_value = "1/1", value_name = "K/N", value_parser = part)]
    part: (u64, u64),
    /// Read records (as `balsa consume -o json` prints them) and check that they are these trades: none lost, none
    /// twice, none changed, in order for each symbol
    #[arg(long)]
    check: bool,
}

const SYMBOLS: usize = 500;
/// 2026-01-02 14:30 UTC: a stock exchange opens.
const OPENING_MS: u64 = 1_767_364_200_000;

fn part(text: &str) -> Result<(u64, u64), String> {
    let numbers = text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    numbers.filter(|(part, parts)| (1..=*parts).contains(part)).ok_or_else(|| "expected K/N with 1 ≤ K ≤ N".to_owned())
}

pub fn run(arguments: &Arguments) -> Outcome {
    if arguments.check { check(arguments, &mut io::stdin().lock()) } else { print(arguments) }
}

fn print(arguments: &Arguments) -> Outcome {
    let mut out = BufWriter::with_capacity(256 * 1024, io::stdout().lock());
    let mut feed = Feed::new(arguments.seed);
    let mut line = Vec::with_capacity(256);
    let mut write = || {
        for _ in 0..arguments.count {
            let symbol = feed.next(&mut line);
            if is_in_part(symbol, arguments.part) {
                out.write_all(&line)?;
            }
        }
        out.flush()
    };
    write().map_err(|error| Failure::output(&error))
}

fn is_in_part(symbol: usize, (part, parts): (u64, u64)) -> bool {
    symbol as u64 % parts == part - 1
}

/// SplitMix64: small, and defined here, so that no library's new version changes the trades.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

struct Symbol {
    name: [u8; 4],
    price_cents: u64,
    trades: u64,
}

/// The trades, one after the other.
struct Feed {
    random: Generator,
    symbols: Vec<Symbol>,
    time_ms: u64,
}

impl Feed {
    fn new(seed: u64) -> Feed {
        let mut random = Generator(seed);
        let symbols = (0..SYMBOLS)
            .map(|number| {
                // Distinct by construction: base 26 of the number, spread over the alphabet.
                let code = number * 911 % (26 * 26 * 26 * 26);
                let letter = |power: usize| b'A' + (code / power % 26) as u8;
                let name = [letter(26 * 26 * 26), letter(26 * 26), letter(26), letter(1)];
                Symbol { name, price_cents: 500 + random.below(50_000), trades: 0 }
            })
            .collect();
        Feed { random, symbols, time_ms: OPENING_MS }
    }

    /// Puts the next trade into `line`, as a record with its line end; gives its symbol.
    fn next(&mut self, line: &mut Vec<u8>) -> usize {
        // Two draws, the smaller one taken: some symbols are traded much more than others.
        let chosen = self.random.below(SYMBOLS as u64).min(self.random.below(SYMBOLS as u64)) as usize;
        let symbol = &mut self.symbols[chosen];
        let step = self.random.below(21) as i64 - 10;
        symbol.price_cents = symbol.price_cents.saturating_add_signed(step).max(100);
        symbol.trades += 1;
        let quantity = (1 + self.random.below(100)) * 10;
        self.time_ms += u64::from(self.random.below(25) == 0);
        let name = std::str::from_utf8(&symbol.name).expect("names are made of letters");
        let (units, cents) = (symbol.price_cents / 100, symbol.price_cents % 100);
        let (trade, time_ms) = (symbol.trades, self.time_ms);
        line.clear();
        let written = writeln!(
            line,
            "{{\"key\":\"{name}\",\"value\":{{\"symbol\":\"{name}\",\"trade\":{trade},\"price\":{units}.{cents:02},\
             \"quantity\":{quantity},\"time_ms\":{time_ms}}}}}"
        );
        written.expect("memory takes all that is written");
        chosen
    }
}

#[derive(Deserialize)]
struct Consumed<'a> {
    partition: u64,
    offset: u64,
    key: String,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// Compares what was read with what the feed makes.
fn check(arguments: &Arguments, input: &mut dyn io::Read) -> Outcome {
    let mut expected = expected_values(arguments);
    let mut lines = BufReader::with_capacity(256 * 1024, input);
    let (mut line, mut checked) = (Vec::new(), 0u64);
    loop {
        line.clear();
        let count =
            lines.read_until(b'\n', &mut line).map_err(|error| Failure::failed(format_args!("the input: {error}")))?;
        if count == 0 {
            break;
        }
        let record: Consumed<'_> = serde_json::from_slice(&line)
            .map_err(|error| Failure::failed(format_args!("line {}: not a record ({error})", checked + 1)))?;
        let Consumed { partition, offset, key, value } = record;
        let place = format!("partition {partition}, offset {offset}, symbol {key}");
        let (values, seen) = expected
            .get_mut(&key)
            .ok_or_else(|| Failure::failed(format_args!("{place}: no such symbol in this feed")))?;
        let (next, have) = (values.get(*seen).map(String::as_str), compact(value.get()));
        if next != Some(have.as_str()) {
            let should = next.unwrap_or("no more trades");
            return Err(Failure::failed(format_args!("{place}: expected {should}, found {have}")));
        }
        *seen += 1;
        checked += 1;
    }
    for (key, (values, seen)) in &expected {
        if *seen != values.len() {
            let (have, should) = (grouped(*seen as u64), grouped(values.len() as u64));
            return Err(Failure::failed(format_args!("symbol {key}: {have} of {should} trades were there")));
        }
    }
    let text = format!("{} trades: none lost, none twice, none changed, each symbol in order\n", grouped(checked));
    crate::cli::servers::print(&text)
}

/// By symbol, its values in order, and how many of them were seen.
type Expected = std::collections::BTreeMap<String, (Vec<String>, usize)>;

fn expected_values(arguments: &Arguments) -> Expected {
    let mut feed = Feed::new(arguments.seed);
    let mut line = Vec::new();
    let mut expected = Expected::new();
    for _ in 0..arguments.count {
        let symbol = feed.next(&mut line);
        if !is_in_part(symbol, arguments.part) {
            continue;
        }
        let key = String::from_utf8_lossy(&feed.symbols[symbol].name).into_owned();
        // {"key":"ABCD","value": is 22 bytes long, and }\n stands behind the value.
        let value = String::from_utf8_lossy(&line[22..line.len() - 2]).into_owned();
        expected.entry(key).or_default().0.push(value);
    }
    expected
}

/// JSON without the spaces that a server or a tool may have put between its tokens (no string here has any).
fn compact(json: &str) -> String {
    json.chars().filter(|c| !c.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(part: (u64, u64)) -> Arguments {
        Arguments { seed: 1, count: 2000, part, check: true }
    }

    fn feed(count: usize) -> Vec<String> {
        let (mut feed, mut line) = (Feed::new(1), Vec::new());
        let mut next = || {
            feed.next(&mut line);
            let record = String::from_utf8(line.clone()).unwrap();
            format!("{{\"partition\":0,\"offset\":0,{}", &record[1..])
        };
        (0..count).map(|_| next()).collect()
    }

    fn checked(lines: &[String]) -> Result<(), String> {
        check(&arguments((1, 1)), &mut lines.concat().as_bytes()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_feed_never_changes() {
        let expected = "{\"partition\":0,\"offset\":0,\"key\":\"GNUW\",\"value\":{\"symbol\":\"GNUW\",\"trade\":1,";
        assert!(feed(1)[0].starts_with(expected), "{}", feed(1)[0]);
        let sum =
            feed(1000).concat().bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        assert_eq!(sum, 1_850_041_974_507_404_199);
        let names: std::collections::BTreeSet<[u8; 4]> =
            Feed::new(1).symbols.iter().map(|symbol| symbol.name).collect();
        assert_eq!(names.len(), SYMBOLS);
    }

    #[test]
    fn the_check_bites() {
        let mut lines = feed(2000);
        checked(&lines).unwrap();
        let last = lines.pop().unwrap();
        assert!(checked(&lines).unwrap_err().contains("trades were there"));
        lines.extend([last.clone(), last]);
        assert!(checked(&lines).unwrap_err().contains("expected no more trades"));
        lines.pop();
        lines.reverse();
        assert!(checked(&lines).unwrap_err().contains("expected {"));
    }

    #[test]
    fn parts_together_are_the_whole() {
        let counts: Vec<usize> = [(1, 1), (1, 2), (2, 2)]
            .map(|part| expected_values(&arguments(part)).values().map(|(values, _)| values.len()).sum())
            .to_vec();
        assert_eq!(counts[0], counts[1] + counts[2]);
        assert_eq!(counts[0], 2000);
        assert!(part("3/2").is_err() && part("0/2").is_err() && part("x").is_err());
    }
}
