//! `ogha-agent top`

use std::{fmt::Write as _, io::IsTerminal as _, path::PathBuf, thread, time::Duration};

use anyhow::anyhow;

use super::{Failure, output};
use crate::control::{
    DEFAULT_SOCKET, client,
    protocol::{Request, Response},
    view::{InstanceView, PeerView, Status},
};

/// Home, then what was there is overwritten line by line: nothing flickers.
const HOME: &str = "\x1b[H";
const CLEAR: &str = "\x1b[2J";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_PAGE: &str = "\x1b[J";
/// The length of the lease's bar.
const BAR: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    every: Duration,
    /// How many looks; without, until it is interrupted
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
    /// The agent's control socket: `agent.sock` in its run_dir
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    let terminal = std::io::stdout().is_terminal();
    let mut before: Option<Status> = None;
    // The longest lease that was seen of each instance: the whole bar.
    let mut longest: Vec<u64> = Vec::new();
    let mut looks = 0;
    loop {
        let page = match client::ask(&args.socket, &Request::Status) {
            Ok(Response::Status(status)) => {
                longest.resize(status.instances.len().max(longest.len()), 1);
                for (longest, instance) in longest.iter_mut().zip(&status.instances) {
                    *longest = instance.lease_ms.max(*longest);
                }
                let page = render(&status, before.as_ref(), &longest, args.every);
                before = Some(status);
                page
            }
            Ok(other) => return Err(Failure::failed(anyhow!("the agent gave {}", other.kind()))),
            // One that is restarted is back in a moment.
            Err(e) if terminal && before.is_some() => format!("{e:#}\n"),
            Err(e) => return Err(e.into()),
        };
        let page = if terminal { overwrite(&page, looks == 0) } else { page };
        let read_on = output::print_on(&page)?;
        looks += 1;
        if !read_on || args.count.is_some_and(|count| looks >= count) {
            return Ok(());
        }
        thread::sleep(args.every);
    }
}

fn overwrite(page: &str, first: bool) -> String {
    let lines = page.replace('\n', &format!("{REST_OF_LINE}\n"));
    format!("{}{HOME}{lines}{REST_OF_PAGE}", if first { CLEAR } else { "" })
}

fn render(status: &Status, before: Option<&Status>, longest: &[u64], every: Duration) -> String {
    let mut page = format!("node {}\n", status.node);
    for (instance, longest) in status.instances.iter().zip(longest) {
        let earlier = before.and_then(|status| {
            status.instances.iter().find(|earlier| earlier.name == instance.name)
        });
        write_instance(&mut page, &status.node, instance, *longest);
        if let Some(earlier) = earlier {
            write_rates(&mut page, instance, earlier, every);
        }
    }
    page
}

/// Writing to a string does not fail.
fn write_instance(page: &mut String, node: &str, instance: &InstanceView, longest: u64) {
    let InstanceView { name, gate, lease_ms, database, .. } = instance;
    // A router without a database has no terms.
    let term = match instance.term {
        0 if database.kind == "none" => String::new(),
        term => format!("  term {term}"),
    };
    let filled = (BAR as u64 * lease_ms / longest.max(1)).min(BAR as u64) as usize;
    let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR - filled));
    let _ = write!(
        page,
        "\n{name}{term}  gate {gate}  lease [{bar}] {lease_ms} ms  failovers {}\n",
        instance.failovers
    );
    if let Some(wait) = &instance.waits_for {
        let _ = writeln!(page, "  WAITS FOR {wait}");
    }
    if instance.paused {
        let _ = writeln!(page, "  PAUSED");
    }
    let _ = writeln!(
        page,
        "  {:<16} {:<12} {:<10} {:<8} {:>9} {:>10}",
        "NODE", "PHASE", "DATABASE", "IN SYNC", "RTT", "BEHIND"
    );
    let own = instance.in_sync.iter().any(|member| member == node);
    let yes = |yes| if yes { "yes" } else { "no" };
    let phase: String = instance.phase.chars().take(12).collect();
    let _ = writeln!(
        page,
        "  {node:<16} {phase:<12} {:<10} {:<8} {:>9} {:>10}",
        database.role,
        yes(own),
        "-",
        "-"
    );
    for PeerView { name, phase, verdict, in_sync, rtt_us, lag_bytes, .. } in &instance.peers {
        let rtt = rtt_us.map_or_else(|| "-".to_owned(), |us| format!("{us} us"));
        let behind = lag_bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes} B"));
        let verdict: String = verdict.chars().take(10).collect();
        let _ = writeln!(
            page,
            "  {name:<16} {phase:<12} {verdict:<10} {:<8} {rtt:>9} {behind:>10}",
            yes(*in_sync)
        );
    }
}

fn write_rates(page: &mut String, now: &InstanceView, before: &InstanceView, every: Duration) {
    let seconds = every.as_secs_f64().max(0.001);
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    let _ = writeln!(
        page,
        "  per second: SYN {:.0}, SYN-ACK {:.0}, RST in {:.0}, RST out {:.0}, ARP {:.0}, probes {:.0}",
        rate(now.counters.syn_in, before.counters.syn_in),
        rate(now.counters.synack_out, before.counters.synack_out),
        rate(now.counters.rst_in, before.counters.rst_in),
        rate(now.counters.rst_out, before.counters.rst_out),
        rate(now.arp.answered, before.arp.answered),
        rate(now.probes.answered, before.probes.answered),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::view::Counters;

    #[test]
    fn a_page_has_the_lease_the_nodes_and_rates() {
        let instance = |syn_in| InstanceView {
            name: "VI_1".into(),
            phase: "serving".into(),
            gate: "open".into(),
            lease_ms: 50,
            in_sync: vec!["db1".into()],
            counters: Counters { syn_in, ..Counters::default() },
            peers: vec![PeerView { name: "db2".into(), rtt_us: Some(43), ..PeerView::default() }],
            ..InstanceView::default()
        };
        let status = |syn_in| Status {
            node: "db1".into(),
            instances: vec![instance(syn_in)],
            ..Status::default()
        };
        let second = Duration::from_secs(2);
        let first = render(&status(10), None, &[100], second);
        assert!(first.contains("[##########..........] 50 ms"), "{first}");
        assert!(!first.contains("per second"), "{first}");
        let page = render(&status(30), Some(&status(10)), &[100], second);
        assert!(page.contains("SYN 10, "), "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("  db")).collect();
        assert!(rows[0].contains("serving") && rows[1].contains("43 us"), "{page}");
    }
}
