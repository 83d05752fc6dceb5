//! `balsa bench create`: how long a topic with many partitions takes.

use super::report::{Report, Times};
use super::target::Target;
use crate::cli::exit::Failure;
use std::time::Instant;

#[derive(clap::Args, Clone, Debug)]
pub struct Plan {
    #[arg(short, long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub partitions: u32,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { partitions: 1000, rounds: 3 }
    }
}

/// Makes and deletes a topic, some times over.
pub async fn measure(target: &Target, plan: &Plan) -> Result<Report, Failure> {
    let partitions = plan.partitions;
    let mut report = Report::new(format!("create a topic of {partitions} partitions, until it takes writes"));
    let mut times = Times::new();
    for _ in 0..plan.rounds {
        let begun = Instant::now();
        let topic = target.create_topic(partitions).await?;
        times.add(begun.elapsed());
        target.delete_topic(&topic).await?;
    }
    report.times = Some(times);
    Ok(report)
}
