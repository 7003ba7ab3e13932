//! Shows failovers of real databases, measured at a client.

use std::{fs, path::PathBuf, process::ExitCode, thread};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use nix::sys::signal::{SigSet, Signal};
use ogha_tests::{
    demo::{self, Fault, Plan},
    lab::{Lab, agent::Kind},
};

/// Two hosts in network namespaces, a real PostgreSQL primary and standby, an agent on each, and
/// a client that writes through the virtual address: the primary is killed, then its host is
/// powered off. Ends with a table of what the client lost by it, beside the floor, a promotion
/// alone. Needs root.
#[derive(Parser)]
#[command(name = "ogha-demo")]
struct Arguments {
    /// Also write the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each fault; the table shows the median.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    runs: usize,
    /// How often the floor is measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one)]
    floors: usize,
    /// Whose tools stand in front of the databases (openGauss's are simulated).
    #[arg(long, value_enum, default_value_t = KindName::Postgresql)]
    kind: KindName,
    /// Only this fault; may be given more than once.
    #[arg(long, value_enum)]
    fault: Vec<FaultName>,
}

#[derive(Clone, Copy, ValueEnum)]
enum KindName {
    Postgresql,
    Opengauss,
}

#[derive(Clone, Copy, ValueEnum)]
enum FaultName {
    DatabaseKilled,
    HostPowerOff,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    remove_the_lab_on_interrupt()?;
    let report = demo::run(&plan(arguments))?;
    println!("\n{report}");
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report.is_good())
}

fn plan(arguments: &Arguments) -> Plan {
    let faults = arguments.fault.iter().map(|fault| match fault {
        FaultName::DatabaseKilled => Fault::DatabaseKilled,
        FaultName::HostPowerOff => Fault::HostPowerOff,
    });
    let faults: Vec<_> = faults.collect();
    Plan {
        faults: if faults.is_empty() { Fault::all().to_vec() } else { faults },
        runs: arguments.runs,
        floors: arguments.floors,
        kind: match arguments.kind {
            KindName::Postgresql => Kind::Postgresql,
            KindName::Opengauss => Kind::Opengauss,
        },
    }
}

/// A thread takes the signals; every other thread, started later, leaves them to it.
fn remove_the_lab_on_interrupt() -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    thread::spawn(move || {
        let signal = signals.wait();
        eprintln!("\ninterrupted: removing the lab");
        if let Err(error) = Lab::remove_own() {
            eprintln!("{error:#}");
        }
        std::process::exit(128 + signal.map_or(0, |signal| signal as i32));
    });
    Ok(())
}
