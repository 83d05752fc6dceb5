//! `balsa bench failover`: kill -9 of the leader, while writers go on through the nodes that live.

use super::local::{LocalCluster, Options};
use super::report::{Report, Times};
use super::target::{Target, problem_text};
use super::wire::{self, Wire};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::servers::Output;
use futures::future::join_all;
use std::cell::RefCell;
use std::time::Duration;
use tokio::time::Instant;

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Writers, each with one record under way
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// Written before the kill, so that all is in its usual state.
const BEFORE: Duration = Duration::from_millis(1000);
/// Written after the first acknowledgement behind the kill.
const AFTER: Duration = Duration::from_millis(500);
const ROUND_TIME_MAX: Duration = Duration::from_secs(60);

pub async fn run(arguments: Arguments) -> Outcome {
    measure(arguments.rounds, arguments.connections).await?.print(arguments.output)
}

/// Kills leaders, one after the other; each comes back before the next is killed.
pub async fn measure(rounds: u32, connections: u16) -> Result<Report, Failure> {
    let mut cluster = LocalCluster::start(&Options::default()).await?;
    let report = measure_on(&mut cluster, rounds, connections).await;
    cluster.stop().await;
    report
}

async fn measure_on(cluster: &mut LocalCluster, rounds: u32, connections: u16) -> Result<Report, Failure> {
    let mut report = Report::new(format!(
        "leader killed with -9, {rounds} rounds: longest time without an acknowledged record, {connections} writers"
    ));
    let topic = cluster.target()?.create_topic(1).await?;
    let mut times = Times::new();
    for _ in 0..rounds {
        let watch = round(cluster, &topic, connections).await?;
        times.add(watch.longest);
        report.records += watch.acknowledged;
        for error in watch.errors {
            *report.errors.entry(error).or_default() += 1;
        }
    }
    report.records = 0;
    report.more.insert("median_ms".to_owned(), serde_json::json!(times.quantile_ms(0.5)));
    report.more.insert("worst_ms".to_owned(), serde_json::json!(times.max_ms()));
    report.times = Some(times);
    Ok(report)
}

/// What the writers of one round see.
struct Watch {
    killed: Option<Instant>,
    last: Instant,
    /// Between two acknowledgements, of which the second came after the kill.
    longest: Duration,
    /// After the kill.
    acknowledged: u64,
    errors: Vec<String>,
}

impl Watch {
    fn acknowledged(&mut self) {
        let now = Instant::now();
        if self.killed.is_some() {
            self.longest = self.longest.max(now - self.last);
            self.acknowledged += 1;
        }
        self.last = now;
    }
}

async fn round(cluster: &mut LocalCluster, topic: &str, connections: u16) -> Result<Watch, Failure> {
    let everyone = cluster.target()?;
    everyone.write_one(topic, 0).await?;
    let leader = everyone.leaders(topic).await?.first().copied().flatten();
    let leader = leader.ok_or_else(|| Failure::failed("the partition has no leader"))?;
    let survivors = cluster.target_without(leader)?;
    let watch = RefCell::new(Watch {
        killed: None,
        last: Instant::now(),
        longest: Duration::ZERO,
        acknowledged: 0,
        errors: Vec::new(),
    });
    let writers = join_all((0..usize::from(connections)).map(|number| write(&survivors, number, topic, &watch)));
    let kill = async {
        tokio::time::sleep(BEFORE).await;
        let killed_pid = cluster.kill(leader)?;
        watch.borrow_mut().killed = Some(Instant::now());
        let deadline = Instant::now() + ROUND_TIME_MAX;
        // Those that were under way may still be acknowledged by the others: what counts is that it goes on.
        let goes_on = || {
            let watch = watch.borrow();
            watch.killed.is_some_and(|killed| watch.last > killed + AFTER)
        };
        while !goes_on() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if goes_on() {
            Ok(killed_pid)
        } else {
            Err(Failure::failed("no record was acknowledged after a leader was killed"))
        }
    };
    let killed_pid = tokio::select! {
        outcome = kill => outcome?,
        _ = writers => return Err(Failure::failed("the writers ended early")),
    };
    cluster.replaced(killed_pid).await?;
    Ok(watch.into_inner())
}

/// Writes one record after the other, for ever.
async fn write(target: &Target, number: usize, topic: &str, watch: &RefCell<Watch>) {
    let authority = target.authority(number);
    let path = format!("/v1/topics/{topic}/partitions/0/records");
    let request = wire::request("POST", "balsa", &path, &[("Content-Type", "application/octet-stream")], b"failover");
    let mut wire: Option<Wire> = None;
    loop {
        let error = match exchange(&mut wire, &authority, &request).await {
            Ok(answer) if answer.head.is_ok() => {
                watch.borrow_mut().acknowledged();
                continue;
            }
            Ok(answer) => problem_text(answer.head.status, &answer.body),
            Err(error) => {
                wire = None;
                error.to_string()
            }
        };
        watch.borrow_mut().errors.push(error);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn exchange(wire: &mut Option<Wire>, authority: &str, request: &[u8]) -> std::io::Result<wire::Answer> {
    let open = match wire {
        Some(open) => open,
        None => wire.insert(Wire::connect(authority).await?),
    };
    open.exchange(request, false).await
}
