//! `ogha.toml` for a host of the lab.

use std::{
    fmt::{Display, Write as _},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Host, Postgres,
    host::INTERFACE,
    ipv6_of,
    postgres::{BIN, PORT},
    template::USER,
};

/// Whose tools stand in front of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL's own.
    #[default]
    Postgresql,
    /// openGauss's, simulated.
    Opengauss,
}

impl Kind {
    /// As `[instance.database] kind` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Opengauss => "opengauss",
        }
    }
}

/// Of which families the virtual addresses and the peers' are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// All IPv4.
    #[default]
    V4,
    /// All IPv6.
    V6,
    /// A virtual address of each; the peers' IPv6.
    Both,
}

impl Families {
    /// The virtual addresses that go with an IPv4 address; clients use the first.
    #[must_use]
    pub fn virtual_addresses(self, vip: Ipv4Addr) -> Vec<IpAddr> {
        match self {
            Self::V4 => vec![vip.into()],
            Self::V6 => vec![ipv6_of(vip).into()],
            Self::Both => vec![vip.into(), ipv6_of(vip).into()],
        }
    }

    /// The address of the host that has this IPv4 address, for its peers.
    #[must_use]
    pub const fn own(self, address: Ipv4Addr) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(address),
            Self::V6 | Self::Both => IpAddr::V6(ipv6_of(address)),
        }
    }
}

/// Who decides when the nodes lose each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Arbiter {
    /// Nobody.
    #[default]
    None,
    /// These addresses.
    Gateway(Vec<IpAddr>),
    /// A register at these endpoints.
    Etcd(Vec<String>),
}

/// What a scenario may choose in `ogha.toml`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `kind` of the database.
    pub kind: Kind,
    /// Of the VRRP adverts.
    pub advert_interval: Duration,
    /// Of the gate.
    pub lease: Duration,
    /// How long an agent may be silent to its kernel.
    pub agent_timeout: Duration,
    /// Real-time priority for the agent.
    pub realtime: bool,
    /// Of the addresses.
    pub families: Families,
    /// `[instance.arbiter]`.
    pub arbiter: Arbiter,
    /// Whether a database that lost its role rejoins by itself.
    pub rejoin: bool,
    /// How often a database that died is started again in place.
    pub restart_attempts: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::Postgresql,
            advert_interval: Duration::from_millis(10),
            lease: Duration::from_millis(100),
            agent_timeout: Duration::from_secs(1),
            realtime: true,
            families: Families::V4,
            arbiter: Arbiter::None,
            rejoin: false,
            restart_attempts: 0,
        }
    }
}

impl Settings {
    /// For scenarios about the order of events, on a machine that may be busy: nobody who is only
    /// late is taken for dead.
    #[must_use]
    pub fn patient(kind: Kind) -> Self {
        Self {
            kind,
            advert_interval: Duration::from_millis(300),
            lease: Duration::from_secs(3),
            agent_timeout: Duration::from_secs(5),
            ..Self::default()
        }
    }
}

/// The other node, as `[[instance.peer]]` has it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its own address.
    pub address: Ipv4Addr,
}

/// Where the tools are that the agent calls for that database.
pub(super) fn bin_dir(kind: Kind, host: &Host) -> PathBuf {
    match kind {
        Kind::Postgresql => BIN.into(),
        Kind::Opengauss => host.directory().join("gauss-bin"),
    }
}

/// The file for the node with that database, and for a virtual address that stands for those of
/// [`Families::virtual_addresses`]; what is not in [`Settings`] stands as an operator
/// would write it, or is left to its default.
pub(super) fn text(
    database: &Postgres,
    key: &Path,
    peer: &Peer,
    vip: Ipv4Addr,
    priority: u8,
    settings: &Settings,
) -> String {
    let host = database.host();
    let mut file = File::default();
    file.table("[node]").text("name", host.name());
    file.text("state_dir", host.state_dir().display()).text("run_dir", host.run_dir().display());
    file.text("bpf_dir", host.bpf_dir().display()).plain("realtime", settings.realtime);
    file.table("[[instance]]").text("name", "VI_1").text("interface", INTERFACE);
    file.plain("virtual_router_id", 59).plain("priority", priority);
    let vips = settings.families.virtual_addresses(vip);
    file.list("virtual_addresses", &vips);
    file.table("[instance.vrrp]").time("advert_interval", settings.advert_interval);
    file.table("[[instance.peer]]").text("name", &peer.name);
    file.text("address", settings.families.own(peer.address));
    file.table("[instance.liveness]").time("lease", settings.lease);
    file.time("agent_timeout", settings.agent_timeout).text("key_file", key.display());
    file.table("[instance.database]").text("kind", settings.kind.name()).plain("port", PORT);
    file.text("data_dir", database.data_dir().display()).text("user", USER);
    file.text("bin_dir", bin_dir(settings.kind, host).display());
    file.text("socket_dir", database.socket_dir().display());
    file.table("[instance.failover]").plain("restart_attempts", settings.restart_attempts);
    file.text("rejoin", if settings.rejoin { "auto" } else { "manual" });
    file.table("[instance.arbiter]");
    match &settings.arbiter {
        Arbiter::None => file.text("kind", "none"),
        Arbiter::Gateway(addresses) => file.text("kind", "gateway").list("addresses", addresses),
        Arbiter::Etcd(endpoints) => file.text("kind", "etcd").list("endpoints", endpoints),
    };
    file.0
}

/// TOML, as much of it as is needed. Writing to a string does not fail.
#[derive(Default)]
struct File(String);

impl File {
    fn table(&mut self, header: &str) -> &mut Self {
        let _ = writeln!(self.0, "\n{header}");
        self
    }

    fn plain(&mut self, key: &str, value: impl Display) -> &mut Self {
        let _ = writeln!(self.0, "{key} = {value}");
        self
    }

    fn text(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.plain(key, format_args!("\"{value}\""))
    }

    fn list(&mut self, key: &str, values: &[impl Display]) -> &mut Self {
        let quoted: Vec<_> = values.iter().map(|value| format!("\"{value}\"")).collect();
        self.plain(key, format_args!("[{}]", quoted.join(", ")))
    }

    fn time(&mut self, key: &str, value: Duration) -> &mut Self {
        self.text(key, format_args!("{}ms", value.as_millis()))
    }
}
