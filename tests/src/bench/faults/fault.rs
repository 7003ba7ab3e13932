//! What goes wrong, and how it is mended.

use std::{fs, io::Write as _, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
};

use super::place::Place;

/// How long a cut, or an arbiter's absence, lasts.
const LASTS: Duration = Duration::from_secs(4);
/// How long a machine takes to boot here.
const BOOT: Duration = Duration::from_secs(1);

/// What goes wrong. The first node is the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// `kill -9` of the primary's main process.
    DatabaseKilled,
    /// All processes of the primary are stopped (SIGSTOP).
    Hang,
    /// The primary's host loses its power, and does not come back.
    PowerOff,
    /// `kill -9` of the primary's agent; it is started again later.
    AgentKilled,
    /// The primary's agent is stopped, and goes on later.
    AgentStopped,
    /// Nothing passes between the nodes; clients and the arbiter see both.
    CutBetween,
    /// Nothing passes from or to the primary's host.
    NodeCutOff,
    /// Nothing passes from the primary's host to the standby's.
    OneWayCut,
    /// The arbiter is gone.
    ArbiterLost,
    /// Both hosts lose their power, and boot.
    BothRebooted,
    /// The primary's host loses its power, and boots when the other has taken over; its database
    /// is started as what it was.
    OldPrimaryReturns,
    /// The disks with the state directories are full, and the primary is killed.
    DiskFull,
    /// No fault: an operator hands the role to the standby.
    Switchover,
}

impl Fault {
    /// All of them.
    #[must_use]
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// As the report and the command line have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DatabaseKilled => "database-killed",
            Self::Hang => "hang",
            Self::PowerOff => "power-off",
            Self::AgentKilled => "agent-killed",
            Self::AgentStopped => "agent-stopped",
            Self::CutBetween => "cut-between",
            Self::NodeCutOff => "node-cut-off",
            Self::OneWayCut => "one-way-cut",
            Self::ArbiterLost => "arbiter-lost",
            Self::BothRebooted => "both-rebooted",
            Self::OldPrimaryReturns => "old-primary-returns",
            Self::DiskFull => "disk-full",
            Self::Switchover => "switchover",
        }
    }

    /// Before the agents start.
    pub(super) fn prepare(self, place: &Place) -> Result<()> {
        if self == Self::DiskFull {
            for node in &place.pair.nodes {
                let directory = node.host.state_dir();
                fs::create_dir_all(&directory)?;
                let kind = Some("tmpfs");
                mount(kind, &directory, kind, MsFlags::empty(), Some("size=64k"))?;
            }
        }
        Ok(())
    }

    pub(super) fn strike(self, place: &mut Place) -> Result<()> {
        let [first, second] = &place.pair.nodes;
        match self {
            Self::DatabaseKilled => first.database.kill(),
            Self::Hang => first.database.pause(),
            Self::PowerOff | Self::OldPrimaryReturns => first.host.power_off(),
            Self::AgentKilled => first.agent.kill(),
            Self::AgentStopped => first.agent.signal(Signal::SIGSTOP),
            Self::CutBetween => place.pair.switch.cut_between(&first.host, &second.host),
            Self::NodeCutOff => first.host.link().cut(),
            Self::OneWayCut => place.pair.switch.cut_one_way(&first.host, &second.host),
            Self::ArbiterLost => place.lose_arbiter(),
            Self::BothRebooted => {
                first.host.power_off()?;
                second.host.power_off()
            }
            Self::DiskFull => {
                fill(&first.host.state_dir())?;
                fill(&second.host.state_dir())?;
                first.database.kill()
            }
            Self::Switchover => {
                let output = first.agent.command(&["switchover"])?;
                let said = String::from_utf8_lossy(&output.stderr);
                ensure!(output.status.success(), "refused: {}", said.trim());
                Ok(())
            }
        }
    }

    /// What lasts is ended; what was switched off and comes back is switched on.
    pub(super) fn mend(self, place: &mut Place) -> Result<()> {
        let [first, second] = &place.pair.nodes;
        match self {
            Self::DatabaseKilled
            | Self::Hang
            | Self::PowerOff
            | Self::DiskFull
            | Self::Switchover => Ok(()),
            Self::AgentKilled => {
                thread::sleep(LASTS);
                first.agent.start()
            }
            Self::AgentStopped => {
                thread::sleep(LASTS);
                first.agent.signal(Signal::SIGCONT)
            }
            Self::CutBetween | Self::OneWayCut => {
                thread::sleep(LASTS);
                place.pair.switch.heal()
            }
            Self::NodeCutOff => {
                thread::sleep(LASTS);
                first.host.link().restore()
            }
            Self::ArbiterLost => {
                thread::sleep(LASTS);
                place.restore_arbiter()
            }
            Self::BothRebooted => {
                thread::sleep(BOOT);
                [first, second].into_iter().try_for_each(boot)
            }
            Self::OldPrimaryReturns => {
                thread::sleep(LASTS);
                boot(first)
            }
        }
    }
}

/// The host comes up, and starts its database as what it was, and its agent.
fn boot(node: &crate::lab::pair::Node) -> Result<()> {
    node.host.power_on()?;
    node.database.start().context("the database does not start after the boot")?;
    node.agent.start()
}

fn fill(directory: &std::path::Path) -> Result<()> {
    let mut file = fs::File::create(directory.join("filler"))?;
    while file.write_all(&[1; 512]).is_ok() {}
    Ok(())
}
