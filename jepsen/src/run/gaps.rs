//! The time without an acknowledged write after each kill of a leader, from the acknowledgements themselves: for each
//! kill the longest pause on any partition that the node led, if the pause has to do with the kill.

use crate::report::run_file::FaultWindow;
use std::collections::BTreeMap;
use std::time::Duration;

/// A pause that begins later than this after the kill has another cause.
const BEGINS_WITHIN: Duration = Duration::from_millis(500);

/// Acknowledgements of partitions, by name, in nanoseconds, rising.
pub type Acknowledged = BTreeMap<String, Vec<u64>>;

/// A pause for each kill of a leader, in the order of the kills.
pub fn pauses(windows: &[FaultWindow], acknowledged: &Acknowledged) -> Vec<Duration> {
    let kills = windows.iter().filter(|window| window.kind == "kill-leader");
    kills.filter_map(|kill| pause(kill, acknowledged)).collect()
}

fn pause(kill: &FaultWindow, acknowledged: &Acknowledged) -> Option<Duration> {
    let led = kill.detail.strip_prefix("led ")?.split(' ');
    led.filter_map(|partition| longest(kill.from_ns, acknowledged.get(partition)?)).max()
}

/// The longest pause that is on at the time of the kill, or begins soon after.
fn longest(kill: u64, acknowledged: &[u64]) -> Option<Duration> {
    let latest = kill + u64::try_from(BEGINS_WITHIN.as_nanos()).unwrap_or(u64::MAX);
    let pairs = acknowledged.windows(2).filter(|pair| pair[1] > kill && pair[0] < latest);
    pairs.map(|pair| Duration::from_nanos(pair[1] - pair[0].max(kill))).max()
}

/// The value below which so many of a hundred are.
pub fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn kill(from_ms: u64, detail: &str) -> FaultWindow {
        let kind = "kill-leader".to_owned();
        FaultWindow { kind, from_ns: from_ms * MS, detail: detail.to_owned(), ..FaultWindow::default() }
    }

    #[test]
    fn the_pause_is_the_one_that_the_kill_made_on_what_the_node_led() {
        let times = |ms: &[u64]| ms.iter().map(|ms| ms * MS).collect::<Vec<u64>>();
        let acknowledged = Acknowledged::from([
            // Two came in after the kill that had been on their way.
            ("t/0".to_owned(), times(&[900, 990, 1003, 1004, 1500, 1510, 9000])),
            ("t/1".to_owned(), times(&[990, 1600, 1610])),
            ("t/2".to_owned(), times(&[100, 8000])),
        ]);
        let windows = [kill(1000, "led t/0 t/1"), kill(1000, "led t/0"), kill(2000, "led nothing")];
        let ms = Duration::from_millis;
        assert_eq!(pauses(&windows, &acknowledged), [ms(600), ms(496)]);
    }

    #[test]
    fn percentiles() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Some(Duration::from_millis(50)));
        assert_eq!(percentile(&sorted, 99), Some(Duration::from_millis(99)));
        assert_eq!(percentile(&sorted[..1], 50), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 50), None);
    }
}
