//! `ogha.toml` for a host of the lab.

use std::{
    fmt::{Display, Write as _},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};

use super::{
    Postgres,
    host::INTERFACE,
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
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::Postgresql,
            advert_interval: Duration::from_millis(10),
            lease: Duration::from_millis(100),
            agent_timeout: Duration::from_secs(1),
            realtime: true,
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
fn bin_dir(kind: Kind) -> Result<PathBuf> {
    match kind {
        Kind::Postgresql => Ok(BIN.into()),
        Kind::Opengauss => bail!("openGauss's tools are not simulated yet"),
    }
}

/// The file for the node with that database; what is not in [`Settings`] stands as an operator
/// would write it, or is left to its default.
pub(super) fn text(
    database: &Postgres,
    key: &Path,
    peer: &Peer,
    vip: Ipv4Addr,
    priority: u8,
    settings: &Settings,
) -> Result<String> {
    let host = database.host();
    let mut file = File::default();
    file.table("[node]").text("name", host.name());
    file.text("state_dir", host.state_dir().display()).text("run_dir", host.run_dir().display());
    file.text("bpf_dir", host.bpf_dir().display()).plain("realtime", settings.realtime);
    file.table("[[instance]]").text("name", "VI_1").text("interface", INTERFACE);
    file.plain("virtual_router_id", 59).plain("priority", priority);
    file.plain("virtual_addresses", format!("[\"{vip}/32\"]"));
    file.table("[instance.vrrp]").time("advert_interval", settings.advert_interval);
    file.table("[[instance.peer]]").text("name", &peer.name).text("address", peer.address);
    file.table("[instance.liveness]").time("lease", settings.lease);
    file.time("agent_timeout", settings.agent_timeout).text("key_file", key.display());
    file.table("[instance.database]").text("kind", settings.kind.name()).plain("port", PORT);
    file.text("data_dir", database.data_dir().display()).text("user", USER);
    file.text("bin_dir", bin_dir(settings.kind)?.display());
    file.text("socket_dir", database.socket_dir().display());
    file.table("[instance.arbiter]").text("kind", "none");
    Ok(file.0)
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

    fn time(&mut self, key: &str, value: Duration) -> &mut Self {
        self.text(key, format_args!("{}ms", value.as_millis()))
    }
}
