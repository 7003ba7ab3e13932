//! A simulated node: where it is, what it stands on, which faults it has.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// How the installation of a node started: its role in the static configuration, which never
/// changes on a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Started {
    /// Installed as primary.
    Primary,
    /// Installed as standby.
    Standby,
}

/// A node of the cluster, as every node knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its address, for the database's port. Empty: its Unix socket in [`Peer::socket_dir`].
    pub address: String,
    /// The port of its database.
    pub port: u16,
    /// Its data directory, for `gs_om -t status --detail`.
    pub data_dir: PathBuf,
    /// The directory of its Unix socket.
    pub socket_dir: PathBuf,
    /// How it was installed.
    pub started: Started,
}

/// What a node's tools need to know; a file in their directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// All nodes of the cluster, in the order of installation.
    pub nodes: Vec<Peer>,
    /// Which of them this is.
    pub this: usize,
    /// The directory of the tools. `GAUSSHOME/bin` of a real installation.
    pub bin_dir: PathBuf,
    /// The directory of PostgreSQL's programs.
    pub pg_bin: PathBuf,
    /// The database's user, of the operating system and of the database.
    pub user: String,
}

/// What goes wrong with a node's tools; a file in their directory that they read each time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Faults {
    /// The tools' second: how long they wait between two looks at the server.
    pub tick_ms: u64,
    /// How long the server has to replay before it promotes itself.
    pub failover_delay_ms: u64,
    /// The server never heeds `gs_ctl failover`.
    pub failover_ignored: bool,
    /// How long `gs_om -t refreshconf` thinks.
    pub refreshconf_delay_ms: u64,
    /// `gs_om -t refreshconf` fails as it does without a way to the other node.
    pub refreshconf_fails: bool,
    /// How long `gs_om` waits for a host that does not answer.
    pub peer_timeout_ms: u64,
    /// The tools do not end.
    pub hung: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            tick_ms: 1000,
            failover_delay_ms: 0,
            failover_ignored: false,
            refreshconf_delay_ms: 0,
            refreshconf_fails: false,
            peer_timeout_ms: 3000,
            hung: false,
        }
    }
}

impl Faults {
    /// The tools' second.
    #[must_use]
    pub const fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms)
    }
}

impl Node {
    /// The name of the file that tells the tools which node they serve.
    pub const FILE: &str = "opengauss-sim.json";
    const FAULTS: &str = "opengauss-sim.faults.json";
    const TOOLS: [&str; 5] = ["gs_ctl", "gs_guc", "gs_om", "gsql", "pg_controldata"];

    /// Makes the tools' directory: a copy of the program `opengauss-sim`, a link for each tool, the
    /// node's file. Everyone may read it, so that the database's user can run the tools.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn install(&self, simulator: &Path) -> Result<()> {
        let dir = &self.bin_dir;
        let context = || format!("cannot install the tools in {}", dir.display());
        fs::create_dir_all(dir).with_context(context)?;
        fs::copy(simulator, dir.join("opengauss-sim")).with_context(context)?;
        for tool in Self::TOOLS {
            symlink("opengauss-sim", dir.join(tool)).with_context(context)?;
        }
        let text = serde_json::to_string_pretty(self)?;
        fs::write(dir.join(Self::FILE), text).with_context(context)?;
        self.set_faults(&Faults::default())?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).with_context(context)
    }

    /// The program `opengauss-sim`, beside the program that runs now or a directory above it, where
    /// cargo puts it.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn simulator() -> Result<PathBuf> {
        let me = std::env::current_exe().context("this program has no path")?;
        let candidates = me.ancestors().skip(1).take(2).map(|dir| dir.join("opengauss-sim"));
        candidates
            .into_iter()
            .find(|path| path.is_file())
            .context("opengauss-sim is not built; `cargo build -p ogha-tests --bins` does it")
    }

    /// The node whose tools are in a directory.
    ///
    /// # Errors
    /// When its file is not there or not whole.
    pub fn read(bin_dir: &Path) -> Result<Self> {
        let path = bin_dir.join(Self::FILE);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Sets the faults from now on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_faults(&self, faults: &Faults) -> Result<()> {
        let path = self.bin_dir.join(Self::FAULTS);
        let text = serde_json::to_string_pretty(faults)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The faults now; none if they cannot be read.
    #[must_use]
    pub fn faults(&self) -> Faults {
        let text = fs::read(self.bin_dir.join(Self::FAULTS)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// This node among all.
    #[must_use]
    pub fn here(&self) -> &Peer {
        &self.nodes[self.this]
    }

    /// The other nodes.
    pub fn others(&self) -> impl Iterator<Item = &Peer> {
        let others = self.nodes.iter().enumerate().filter(|(index, _)| *index != self.this);
        others.map(|(_, peer)| peer)
    }
}
