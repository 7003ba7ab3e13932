//! The programs' log: a line for each packet in which ogha had a say. For looking only; it costs
//! time, so the programs write it only where TRACE is on for this module when they are loaded.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use anyhow::Context as _;
use aya::Ebpf;
use aya_log::EbpfLogger;
use ogha_common::reason::Reason;
use tracing::{Level, enabled, trace};

use super::place::Place;

/// The map of the lines, named by aya. Not pinned: they are for whoever has loaded the programs.
pub(super) const MAP: &str = "AYA_LOGS";

/// Are lines wanted?
pub(super) fn is_wanted() -> bool {
    enabled!(Level::TRACE)
}

/// What the programs have to tell.
pub struct Log {
    reader: EbpfLogger<Words>,
}

impl Log {
    /// The log of programs that were loaded for these places.
    pub(super) fn of(ebpf: &mut Ebpf, places: &[Place]) -> anyhow::Result<Self> {
        let interfaces =
            places.iter().map(|at| (at.interface.index, at.interface.name.clone())).collect();
        let reader = EbpfLogger::init_with_logger(ebpf, Words { interfaces })
            .context("reading the programs' log")?;
        Ok(Self { reader })
    }

    /// Waits for lines, at most that long (to the millisecond), and passes on those that are there.
    /// On a busy network they may not end.
    ///
    /// # Errors
    ///
    /// If the kernel does not let us wait.
    pub fn forward(&mut self, patience: Duration) -> io::Result<()> {
        let mut ring =
            libc::pollfd { fd: self.reader.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one entry, which lives as long as the call.
        if unsafe { libc::poll(&raw mut ring, 1, patience) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        self.reader.flush();
        Ok(())
    }
}

/// Makes words of the numbers that the programs write.
struct Words {
    interfaces: Vec<(u32, String)>,
}

impl log::Log for Words {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        let Some((way, index, reason)) = parse(&line) else { return trace!("{line}") };
        let known = self.interfaces.iter().find(|(known, _)| *known == index);
        let interface = known.map_or("?", |(_, name)| name);
        trace!(interface, "{way}: {reason}");
    }

    fn flush(&self) {}
}

/// Which way, the index of the interface, and what was found.
fn parse(line: &str) -> Option<(&'static str, u32, Reason)> {
    let mut numbers = line.split(' ').map(str::parse::<u32>);
    let mut next = || numbers.next()?.ok();
    let way = if next()? == 0 { "in" } else { "out" };
    Some((way, next()?, Reason::from_number(next()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_words() {
        let shut = Reason::GateShut;
        assert_eq!(parse(&format!("1 7 {}", shut.number())), Some(("out", 7, shut)));
        assert_eq!(parse("0 7 99"), None);
        assert_eq!(parse("0 7"), None);
        assert_eq!(parse("hello"), None);
    }
}
