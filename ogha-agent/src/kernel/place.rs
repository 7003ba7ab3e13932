//! What is attached where: the interfaces, what is wanted there, and the programs by name.

use std::{fmt, net::Ipv4Addr};

use anyhow::Context as _;
use aya::Ebpf;

use crate::{
    config,
    net::{interface::Interface, neighbours},
};

/// An interface, and what is wanted there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The interface.
    pub interface: Interface,
    /// Native, generic, or what works.
    pub xdp: config::Xdp,
    /// This host's own address there, by which neighbours are asked.
    pub own: Option<Ipv4Addr>,
    /// Whom to ask whether native XDP is heard.
    pub neighbours: Vec<Ipv4Addr>,
}

impl Place {
    /// At generic XDP, which needs nobody's proof.
    #[must_use]
    pub fn generic(interface: &Interface) -> Self {
        let interface = interface.clone();
        Self { interface, xdp: config::Xdp::Generic, own: None, neighbours: Vec::new() }
    }

    /// With the interface's gateway and these peers as the neighbours to ask.
    #[must_use]
    pub fn new(
        interface: &Interface,
        xdp: config::Xdp,
        own: Option<Ipv4Addr>,
        peers: impl IntoIterator<Item = Ipv4Addr>,
    ) -> Self {
        let neighbours = to_ask(&interface.name, peers);
        Self { interface: interface.clone(), xdp, own, neighbours }
    }
}

/// Where what comes in is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP, run by the driver.
    Native,
    /// XDP, run by the kernel's stack.
    Generic,
    /// TCX ingress, behind another's XDP program.
    Tcx,
}

impl Hook {
    /// As `status` shows it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "xdp-native",
            Self::Generic => "xdp-generic",
            Self::Tcx => "tcx",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where what comes in is seen, by the interface's name.
pub type Hooks = Vec<(String, Hook)>;

/// Neighbours that may be asked: the gateway, which is nearly always there, and then the peers.
fn to_ask(interface: &str, peers: impl IntoIterator<Item = Ipv4Addr>) -> Vec<Ipv4Addr> {
    let mut all: Vec<_> = neighbours::gateway(interface).into_iter().collect();
    for peer in peers {
        if !all.contains(&peer) {
            all.push(peer);
        }
    }
    all
}

/// The program of that name.
pub fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program =
        ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    program.try_into().with_context(|| format!("{name} is of another kind"))
}
