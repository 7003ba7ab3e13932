//! In what two nodes contradict each other.

use core::{fmt, time::Duration};

use super::{Name, PAGES, Profile, Software, arbiter_kind, database_kind, page};

/// Something that two nodes of an instance must agree about, and do not. Where both are named, this node's
/// comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Contradiction {
    /// It runs another version.
    Software(Software, Software),
    /// Its virtual addresses are others.
    Addresses,
    /// Its instance has another name.
    Instance,
    /// It has another list of nodes.
    Nodes,
    /// Another `lease`.
    Lease(Duration, Duration),
    /// Another `agent_timeout`.
    AgentTimeout(Duration, Duration),
    /// Another `probe_interval`.
    ProbeInterval(Duration, Duration),
    /// Another `detect_multiplier`.
    DetectMultiplier(u8, u8),
    /// Another `synchronous`.
    Synchronous(bool, bool),
    /// Another kind of arbiter.
    Arbiter(u8, u8),
    /// The same kind of arbiter, which keeps the record at another place.
    ArbiterScope,
    /// Another kind of database.
    DatabaseKind(u8, u8),
    /// Another port of the database.
    DatabasePort(u16, u16),
    /// Another version of VRRP.
    Vrrp(u8, u8),
    /// Another transport of adverts.
    Transport(bool, bool),
    /// Another `advert_interval`, in centiseconds.
    AdvertInterval(u16, u16),
    /// Its database is no copy of the one here.
    System(u64, u64),
    /// Its probes are signed by another key.
    Key,
    /// Its probes are of an earlier format, which is not heard.
    Format,
    /// It sends probes of this virtual router.
    Vrid(u8),
    /// It calls itself by this node's name.
    OwnName,
    /// It calls itself so.
    OtherName(Name),
    /// It calls this node by another name.
    CallsUsOtherwise,
    /// Its term is so far ahead that it cannot be true.
    Leap,
    /// Its probes say nothing of its configuration.
    Untold,
}

/// A contradiction that must keep a standby from being promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Danger {
    /// Another node has this node's name.
    SameName,
    /// The databases are no copies of each other.
    OtherDatabase,
    /// The agent of the peer's host lives, and is configured to be another node, or of another virtual
    /// router: it is not dead, though it is not heard.
    OtherNode,
}

impl fmt::Display for Danger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SameName => "another node calls itself by this node's name",
            Self::OtherDatabase => {
                "the database here has another system identifier than that of the peer: the two are no \
                 copies of each other"
            }
            Self::OtherNode => {
                "the agent of the peer's host lives, and is configured as another node or for another \
                 virtual router"
            }
        })
    }
}

impl Contradiction {
    /// Whether it must keep a standby from being promoted.
    #[must_use]
    pub const fn danger(&self) -> Option<Danger> {
        match self {
            Self::OwnName => Some(Danger::SameName),
            Self::System(..) => Some(Danger::OtherDatabase),
            Self::OtherName(_) | Self::Vrid(_) | Self::CallsUsOtherwise => Some(Danger::OtherNode),
            _ => None,
        }
    }

    /// Whether it is as it should be for a while: during an upgrade, two versions run.
    #[must_use]
    pub const fn is_harmless(&self) -> bool {
        matches!(self, Self::Software(..) | Self::Untold)
    }
}

/// A list of contradictions of one peer, in a fixed order.
pub type Contradictions = [Option<Contradiction>; 17];

impl Profile {
    /// In what a peer contradicts this node, by the pages that were heard of it.
    #[must_use]
    pub fn compare(&self, heard: &[u64; PAGES]) -> Contradictions {
        use Contradiction as C;
        let own = self.pages();
        let get = |number: u8| (own[number as usize], heard[number as usize]);
        // Those that both say, and say differently.
        let known = |number| Some(get(number)).filter(|&(own, its)| own != 0 && its != 0);
        let bits = |number: u8, shift: u32, width: u32| {
            let cut = |word: u64| word >> shift & ((1 << width) - 1);
            known(number).map(|(own, its)| (cut(own), cut(its))).filter(|(own, its)| own != its)
        };
        let octets = |number, shift| bits(number, shift, 8).map(|(o, i)| (o as u8, i as u8));
        let shorts = |number, shift| bits(number, shift, 16).map(|(o, i)| (o as u16, i as u16));
        let ms = |shift, width| {
            let time = Duration::from_millis;
            bits(page::TIMES, shift, width).map(|(own, its)| (time(own), time(its)))
        };
        let differs = |number, what| known(number).filter(|(o, i)| o != i).map(|_| what);
        let arbiters = octets(page::SETTINGS, 48);
        let micros = |(own, its)| (Duration::from_micros(own), Duration::from_micros(its));
        [
            bits(page::SOFTWARE, 16, 48)
                .map(|_| get(page::SOFTWARE))
                .map(|(own, its)| C::Software(Software::of_page(own), Software::of_page(its))),
            differs(page::INSTANCE, C::Instance),
            differs(page::NODES, C::Nodes),
            differs(page::ADDRESSES, C::Addresses),
            ms(48, 16).map(|(own, its)| C::Lease(own, its)),
            ms(24, 24).map(|(own, its)| C::AgentTimeout(own, its)),
            bits(page::TIMES, 0, 24).map(micros).map(|(own, its)| C::ProbeInterval(own, its)),
            octets(page::SETTINGS, 32).map(|(own, its)| C::DetectMultiplier(own, its)),
            octets(page::SETTINGS, 40).map(|(own, its)| C::Synchronous(own != 0, its != 0)),
            arbiters.map(|(own, its)| C::Arbiter(own, its)),
            differs(page::ARBITER, C::ArbiterScope).filter(|_| arbiters.is_none()),
            octets(page::SETTINGS, 56).map(|(own, its)| C::DatabaseKind(own, its)),
            shorts(page::SETTINGS, 16).map(|(own, its)| C::DatabasePort(own, its)),
            octets(page::VRRP, 56).map(|(own, its)| C::Vrrp(own, its)),
            octets(page::VRRP, 48).map(|(own, its)| C::Transport(own != 0, its != 0)),
            shorts(page::VRRP, 32).map(|(own, its)| C::AdvertInterval(own, its)),
            known(page::SYSTEM).filter(|(own, its)| own != its).map(|(o, i)| C::System(o, i)),
        ]
    }
}

/// After the peer's name, as the subject of the sentence.
impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = |multicast| if multicast { "multicast" } else { "unicast" };
        match *self {
            Self::Software(own, its) => {
                write!(f, "runs ogha {its}, this node {own}: finish the upgrade")
            }
            Self::Addresses => f.write_str(
                "has other virtual addresses or prefixes: compare virtual_addresses in both files",
            ),
            Self::Instance => f.write_str(
                "calls this instance by another name, so that an arbiter would keep two records: compare \
                 name in [[instance]] of both files",
            ),
            Self::Nodes => f.write_str(
                "has another list of nodes: compare node.name and [[instance.peer]] in both files",
            ),
            Self::Lease(own, its) => times(f, "lease", own, its),
            Self::AgentTimeout(own, its) => times(f, "agent_timeout", own, its),
            Self::ProbeInterval(own, its) => times(f, "probe_interval", own, its),
            Self::DetectMultiplier(own, its) => {
                write!(f, "has detect_multiplier = {its}, this node {own}: set the same on both")
            }
            Self::Synchronous(own, its) => write!(
                f,
                "has synchronous = {its} in [instance.failover], this node {own}: set the same on both"
            ),
            Self::Arbiter(own, its) => write!(
                f,
                "has arbiter kind {}, this node {}: set the same on both, for they do not decide together",
                arbiter_kind(its),
                arbiter_kind(own)
            ),
            Self::ArbiterScope => f.write_str(
                "keeps the record elsewhere in etcd: compare prefix in [instance.arbiter] of both files",
            ),
            Self::DatabaseKind(own, its) => write!(
                f,
                "has database kind {}, this node {}: set the same on both",
                database_kind(its),
                database_kind(own)
            ),
            Self::DatabasePort(own, its) => write!(
                f,
                "has database port {its}, this node {own}: clients and ogha expect one port, set the same \
                 on both"
            ),
            Self::Vrrp(own, its) => {
                write!(f, "speaks version {its} of VRRP, this node {own}: set the same on both")
            }
            Self::Transport(own, its) => write!(
                f,
                "sends adverts by {}, this node by {}: set the same transport on both",
                transport(its),
                transport(own)
            ),
            Self::AdvertInterval(own, its) => {
                let time = |centis: u16| Duration::from_millis(10 * u64::from(centis));
                times(f, "advert_interval", time(own), time(its))
            }
            Self::System(own, its) => write!(
                f,
                "has a database with system identifier {its}, this node {own}: they are no copies of each \
                 other. This node is not promoted; build one of them anew from the other"
            ),
            Self::Key => f.write_str(
                "signs its probes with another key (or belongs to another cluster): copy the key_file of \
                 one node to the other",
            ),
            Self::Format => {
                f.write_str("sends probes of an earlier format, which is not heard: upgrade ogha there")
            }
            Self::Vrid(vrid) => write!(
                f,
                "sends probes of virtual router {vrid}, which is not this instance's: compare \
                 virtual_router_id in both files"
            ),
            Self::OwnName => f.write_str(
                "calls itself by this node's name: give each node a node.name of its own. This node is \
                 not promoted until then",
            ),
            Self::OtherName(name) if name.is_unknown() => f.write_str(
                "calls itself by another name: compare node.name there with the name of [[instance.peer]] \
                 here",
            ),
            Self::OtherName(name) => write!(
                f,
                "calls itself {name}: compare node.name there with the name of [[instance.peer]] here"
            ),
            Self::CallsUsOtherwise => f.write_str(
                "calls this node by another name: compare the name of [[instance.peer]] there with \
                 node.name here",
            ),
            Self::Untold => f.write_str(
                "runs a version of ogha that does not tell its configuration, so that it cannot be \
                 compared: finish the upgrade",
            ),
            Self::Leap => f.write_str(
                "names a term that is too far ahead to be true: is its state_dir of another cluster?",
            ),
        }
    }
}

fn times(f: &mut fmt::Formatter<'_>, key: &str, own: Duration, its: Duration) -> fmt::Result {
    write!(f, "has {key} = {its:?}, this node {own:?}: set the same on both")
}
