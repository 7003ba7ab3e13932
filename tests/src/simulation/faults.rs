//! What goes wrong.

use ogha_common::failover::Command;

use super::{agent::Count, clock::MS, plan::Setting, random::Random};

/// A fault, and how long it lasts, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The agent dies; the kernel's side and the database stay.
    AgentDies(usize),
    /// The agent ends in an orderly way, and comes back.
    AgentStops(usize),
    /// The agent dies after so many further steps of its work; or of those that count.
    AgentDiesAtStep(usize, u32, Count),
    /// The agent gets no processor.
    AgentStalls(usize),
    /// The agent gets no processor after so many further steps of its work.
    AgentStallsAtStep(usize, u32, Count),
    /// The host is gone, with all but its disk.
    PowerOff(usize),
    /// All hosts are.
    PowerOffAll,
    /// All agents and all databases are killed.
    KillAll,
    /// The database is killed.
    DatabaseDies(usize),
    /// The database stands still.
    DatabaseHangs(usize),
    /// What the one sends does not reach the other.
    Cut(usize, usize),
    /// The two do not reach each other.
    CutBoth(usize, usize),
    /// The node reaches no other, nor they it.
    Isolate(usize),
    /// Nor the arbiter.
    IsolateWholly(usize),
    /// The node does not reach the arbiter.
    CutArbiter(usize),
    /// Nobody does.
    ArbiterDown,
    /// The arbiter does what it is asked, and its answers get lost.
    AnswersLost,
    /// What is asked of the arbiter arrives late.
    ArbiterSlow,
    /// The arbiter says at once what makes no sense.
    ArbiterNonsense,
    /// Packets get lost, so many of a thousand.
    Loss(u64),
    /// Packets are late, and overtake each other.
    Delay(u64),
    /// Packets come twice.
    Duplicate,
    /// The standby's log comes late, though its connection stands.
    Lag(usize),
    /// The database answers no query in time, and all is well with it.
    ObservationsFail(usize),
    /// Observations end late.
    ObservationsLate(usize),
    /// What is written to the disk hangs till then.
    DiskHangs(usize),
    /// The kernel refuses what the agent writes into its maps.
    MapsRefuse(usize),
    /// Somebody resets for whom commits wait.
    SettingsByHand(usize),
    /// A server of somebody else's receives by that standby's name, and confirms all it gets.
    Clone(usize),
    /// A backend was killed: the database recovers, and is what it was.
    CrashRecovery(usize),
    /// The virtual machine is paused: neither its kernel nor its clock goes on.
    HostFrozen(usize),
    /// Nothing can be written to the disk.
    DiskFull(usize),
    /// Orders to the database fail.
    OrdersFail(usize),
    /// An operator orders something.
    Operator(usize, Command),
}

/// A fault with its time.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// When it begins.
    pub at: u64,
    /// How long it lasts.
    pub lasts: u64,
    /// What it is.
    pub fault: Fault,
}

impl Fault {
    /// Whether it keeps packets from their receivers, or may look like that to a peer.
    pub fn is_cut(self) -> bool {
        matches!(
            self,
            Self::Cut(..) | Self::CutBoth(..) | Self::Isolate(_) | Self::IsolateWholly(_)
        )
    }
}

/// Some faults for a run in that setting.
pub fn draw(random: &mut Random, setting: &Setting) -> Vec<Timed> {
    let mut faults: Vec<Timed> = match random.below(10) {
        0..=4 => (0..random.between(1, 5)).map(|_| one(random, setting)).collect(),
        5..=7 => dense(random, setting),
        _ => aimed(random, setting),
    };
    if random.permille(80) {
        faults.extend(cloned(random, setting));
    }
    faults.sort_by_key(|timed| timed.at);
    faults
}

/// A standby's name is taken, and sometimes the primary dies when that standby lacks what its name has
/// confirmed.
fn cloned(random: &mut Random, setting: &Setting) -> Vec<Timed> {
    let standby = random.between(1, setting.nodes as u64 - 1) as usize;
    let timed = |at: u64, lasts: u64, fault: Fault| Timed { at: at * MS, lasts: lasts * MS, fault };
    if random.permille(500) {
        let scale = setting.agent_timeout_ms;
        let (at, lasts) = (random.between(20, scale * 2), random.between(scale / 2, scale * 3));
        return vec![timed(at, lasts, Fault::Clone(standby))];
    }
    let long = 6000;
    vec![
        timed(20, long, Fault::Clone(standby)),
        timed(30, long, Fault::Lag(standby)),
        timed(random.between(3500, 5000), long, Fault::PowerOff(0)),
    ]
}

fn one(random: &mut Random, setting: &Setting) -> Timed {
    let scale = setting.agent_timeout_ms;
    let at = random.between(20, scale * 4) * MS;
    let lasts = random.pick(&[scale / 10, scale / 3, scale, scale * 2, scale * 3]);
    let lasts = random.between(lasts / 2, lasts) * MS;
    Timed { at, lasts, fault: kind(random, setting) }
}

/// Many short faults, one upon the other.
fn dense(random: &mut Random, setting: &Setting) -> Vec<Timed> {
    let (lease, timeout) = (setting.lease_ms, setting.agent_timeout_ms);
    let mut short = || {
        let at = random.between(20, timeout * 3 / 2) * MS;
        let lasts = random.between(lease / 3, timeout) * MS;
        Timed { at, lasts, fault: kind(random, setting) }
    };
    (0..6).map(|_| short()).collect()
}

/// Faults that belong together: what a rule is there for happens seldom by chance.
fn aimed(random: &mut Random, setting: &Setting) -> Vec<Timed> {
    let (lease, timeout) = (setting.lease_ms, setting.agent_timeout_ms);
    let other = random.between(1, setting.nodes as u64 - 1) as usize;
    let at = random.between(lease, timeout);
    let timed = |at: u64, lasts: u64, fault: Fault| Timed { at: at * MS, lasts: lasts * MS, fault };
    let stall = |steps: u32| Fault::AgentStallsAtStep(0, steps, Count::Weighty);
    let long = timeout * 4;
    let back = random.between(lease / 2, lease * 4);
    let away = random.pick(&[
        Fault::CutBoth(0, other),
        Fault::DatabaseDies(other),
        Fault::AgentDies(other),
        Fault::PowerOff(other),
    ]);
    let end = random.pick(&[Fault::PowerOff(0), Fault::DatabaseDies(0), Fault::Isolate(0)]);
    match random.below(5) {
        // A primary that stops in the middle of closing its gate.
        0 => vec![
            timed(at, timeout, stall(random.below(3) as u32)),
            timed(
                at + random.between(1, 20),
                long,
                random.pick(&[Fault::DatabaseDies(0), Fault::DatabaseHangs(0)]),
            ),
        ],
        // A standby that comes back and has not everything when the primary goes.
        1 => vec![
            timed(20, long, Fault::Lag(other)),
            timed(30, back, away),
            timed(at + back, long, end),
        ],
        // A primary that takes a standby back, and stops in the middle of it.
        2 => vec![
            timed(30, back, away),
            timed(30 + back, timeout, stall(random.below(5) as u32)),
            timed(30 + back + random.between(lease / 2, lease * 3), lease, Fault::AgentDies(other)),
            timed(30 + back + random.between(lease, lease * 4), timeout, Fault::CutBoth(0, other)),
        ],
        // A primary that is partitioned, and to which the last answers are still on their way.
        3 => vec![
            timed(at, lease * 2, Fault::Delay(lease * 9 / 10)),
            timed(at + random.between(lease / 4, lease), long, Fault::IsolateWholly(0)),
        ],
        // A primary that comes back when another serves, and hears it late.
        _ => vec![
            timed(20, long, Fault::Delay(setting.probe_ms / 2)),
            timed(at, random.between(lease * 2, timeout), Fault::PowerOff(0)),
        ],
    }
}

fn kind(random: &mut Random, setting: &Setting) -> Fault {
    let nodes = setting.nodes as u64;
    let node = random.below(nodes) as usize;
    // The node that serves at the beginning is the one whose faults matter most.
    let node = if random.permille(300) { 0 } else { node };
    let other = (node + random.between(1, nodes - 1) as usize) % setting.nodes;
    let count = if random.permille(600) { Count::Weighty } else { Count::All };
    let most = if count == Count::Weighty { 6 } else { 60 };
    let steps = random.below(most) as u32;
    match random.below(38) {
        0 => Fault::AgentDies(node),
        1 => Fault::AgentStops(node),
        2 | 3 => Fault::AgentDiesAtStep(node, steps, count),
        4 => Fault::AgentStalls(node),
        5 | 6 => Fault::AgentStallsAtStep(node, steps, count),
        7 | 8 => Fault::PowerOff(node),
        9 => Fault::PowerOffAll,
        10 => Fault::KillAll,
        11 | 12 => Fault::DatabaseDies(node),
        13 => Fault::DatabaseHangs(node),
        14 => Fault::Cut(node, other),
        15 => Fault::CutBoth(node, other),
        16 => Fault::Isolate(node),
        17 => Fault::IsolateWholly(node),
        18 => Fault::CutArbiter(node),
        19 => Fault::ArbiterDown,
        20 => Fault::AnswersLost,
        21 => Fault::ArbiterSlow,
        22 => Fault::Loss(random.between(50, 600)),
        23 => Fault::Delay(random.between(5, 200)),
        24 => Fault::Duplicate,
        25 => Fault::DiskFull(node),
        26 => Fault::OrdersFail(node),
        27 => Fault::Lag(node),
        28 => Fault::ObservationsFail(node),
        29 => Fault::ObservationsLate(node),
        30 => Fault::DiskHangs(node),
        31 => Fault::MapsRefuse(node),
        32 => Fault::SettingsByHand(node),
        33 => Fault::CrashRecovery(node),
        34 => Fault::HostFrozen(node),
        35 => Fault::ArbiterNonsense,
        _ => Fault::Operator(node, command(random, setting)),
    }
}

fn command(random: &mut Random, setting: &Setting) -> Command {
    match random.below(10) {
        0..=5 => {
            let to = random.below(setting.nodes as u64 * 2) as usize;
            Command::Switchover { to: setting.ids().get(to).copied() }
        }
        6 => Command::Pause,
        7 => Command::Resume,
        8 => Command::Rejoin,
        _ if setting.may_lose => Command::Force,
        _ => Command::Switchover { to: None },
    }
}
