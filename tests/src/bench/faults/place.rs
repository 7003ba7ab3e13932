//! Where a fault strikes: a pair of nodes, a client, and the host of the arbiter.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::Result;
use clap::ValueEnum;

use crate::lab::{Etcd, Host, Pair, agent::Settings, config};

/// Where the arbiter is.
const WITNESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);

/// Who decides when the nodes lose each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arbiter {
    /// Nobody.
    None,
    /// A host that answers ARP and ICMP.
    Gateway,
    /// An etcd of one member.
    Etcd,
}

impl Arbiter {
    /// All of them.
    #[must_use]
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// As `[instance.arbiter]` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gateway => "gateway",
            Self::Etcd => "etcd",
        }
    }

    fn configured(self) -> config::Arbiter {
        match self {
            Self::None => config::Arbiter::None,
            Self::Gateway => config::Arbiter::Gateway(vec![WITNESS.into()]),
            Self::Etcd => config::Arbiter::Etcd(vec![format!("http://{WITNESS}:2379")]),
        }
    }
}

/// The pair, its agents not started yet, and what it asks.
#[derive(Debug)]
pub(super) struct Place {
    etcd: Option<Etcd>,
    witness: Arc<Host>,
    pub(super) pair: Pair,
}

impl Place {
    pub(super) fn new(name: &str, arbiter: Arbiter, restart_attempts: u8) -> Result<Self> {
        let arbiter_settings = arbiter.configured();
        let settings = Settings {
            arbiter: arbiter_settings,
            rejoin: true,
            restart_attempts,
            ..Settings::default()
        };
        let pair = Pair::without_agents(name, &settings)?;
        let witness = pair.lab.host("witness", &pair.switch, WITNESS)?;
        let etcd = match arbiter {
            Arbiter::Etcd => Some(Etcd::start(&[Arc::clone(&witness)])?),
            Arbiter::None | Arbiter::Gateway => None,
        };
        Ok(Self { etcd, witness, pair })
    }

    pub(super) fn lose_arbiter(&mut self) -> Result<()> {
        match &mut self.etcd {
            Some(etcd) => etcd.kill(0),
            None => self.witness.link().cut(),
        }
    }

    pub(super) fn restore_arbiter(&mut self) -> Result<()> {
        match &mut self.etcd {
            Some(etcd) => etcd.launch(0),
            None => self.witness.link().restore(),
        }
    }
}
