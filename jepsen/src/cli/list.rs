//! `jepsen list`.

use crate::cli::exit::{Outcome, Verdict};
use crate::cluster::capabilities::{self, Capabilities};
use crate::{fault, workload};

#[derive(clap::Args)]
pub struct Arguments {
    /// As for a run with the same flag
    #[arg(long)]
    no_namespaces: bool,
}

/// Lists workloads and faults, and tries what this machine can do.
pub fn run(arguments: Arguments) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let scratch = std::env::temp_dir();
    let found = runtime.block_on(Capabilities::probe(&scratch, arguments.no_namespaces))?;
    println!("workloads:");
    for workload in workload::ALL {
        println!("  {:12} {}", workload.name(), workload.about());
    }
    println!("faults:");
    for fault in fault::ALL {
        println!("  {:12} {}", fault.name(), fault.about());
        if let Some(reason) = fault::not_done(fault, &found) {
            println!("  {:12} NOT DONE here: {reason}", "");
        }
    }
    println!("this machine:");
    for capability in capabilities::ALL {
        let state = found.missing(capability).map_or("yes".to_owned(), |reason| format!("no: {reason}"));
        println!("  {:40} {state}", capability.name());
    }
    Ok(Verdict::Clean)
}
