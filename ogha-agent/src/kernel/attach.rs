//! Where the packets of each interface are seen: at native XDP where that is proved to work, else
//! at generic XDP, else, behind another's XDP program, at TCX ingress.

use std::{path::Path, thread, time::Duration};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{Array, MapData},
    programs::{SchedClassifier, Xdp, XdpMode},
};
use ogha_common::maps::{Proof, name};

use super::{
    Plain,
    links::{self, Attempt},
    place::{Hook, Place, program},
    prove::{self, ProofOutcome},
    take,
};
use crate::{config, net::interface::Interface};

/// After its last name is gone, a link holds its place for a moment more.
const RELEASE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(1);

/// Attaches what sees the packets that come in.
pub struct Ingress<'a> {
    ebpf: &'a mut Ebpf,
    directory: &'a Path,
    proof: Array<MapData, Plain<Proof>>,
    /// A link of ours in another mode was there until just now.
    released: bool,
}

impl<'a> Ingress<'a> {
    pub fn new(ebpf: &'a mut Ebpf, directory: &'a Path) -> anyhow::Result<Self> {
        let proof = take(ebpf, name::PROOF)?;
        Ok(Self { ebpf, directory, proof, released: false })
    }

    /// Attaches at an interface, or replaces what is attached there.
    pub fn attach(&mut self, place: &Place) -> anyhow::Result<Hook> {
        let interface = &place.interface;
        if let Some(hook) = self.xdp(place)? {
            // Only now: a packet that both have seen was counted twice, one that neither has seen
            // might have passed a shut gate.
            if links::drop_ingress(self.directory, interface)? {
                tracing::info!(interface = interface.name, "XDP is free again; ogha took it");
            }
            return Ok(hook);
        }
        tracing::warn!(
            interface = interface.name,
            "another program holds XDP; ogha runs behind it, at TCX ingress"
        );
        let program: &mut SchedClassifier = program(self.ebpf, "ogha_ingress")?;
        if program.fd().is_err() {
            program.load().context("loading the TCX program for what comes in")?;
        }
        links::ingress(program, self.directory, interface)?;
        Ok(Hook::Tcx)
    }

    /// `None` if another program holds XDP. What is attached keeps its mode, unless the
    /// configuration or a neighbour speaks against it: a change of mode loses packets.
    fn xdp(&mut self, place: &Place) -> anyhow::Result<Option<Hook>> {
        let index = place.interface.index;
        self.released = false;
        match place.xdp {
            config::Xdp::Generic => {
                self.release(XdpMode::Driver, index)?;
                self.generic(place)
            }
            config::Xdp::Native => {
                self.release(XdpMode::Skb, index)?;
                self.native(place)
            }
            config::Xdp::Auto => {
                if self.replace("ogha_xdp", XdpMode::Skb, index)? {
                    return Ok(Some(Hook::Generic));
                }
                if self.proved(place)? {
                    return self.native(place);
                }
                self.release(XdpMode::Driver, index)?;
                self.generic(place)
            }
        }
    }

    fn generic(&mut self, place: &Place) -> anyhow::Result<Option<Hook>> {
        let attached = self.put("ogha_xdp", XdpMode::Skb, &place.interface)?;
        Ok(attached.then_some(Hook::Generic))
    }

    fn native(&mut self, place: &Place) -> anyhow::Result<Option<Hook>> {
        let attached = self.put("ogha_xdp", XdpMode::Driver, &place.interface)?;
        Ok(attached.then_some(Hook::Native))
    }

    /// Leaves the proving program attached if native XDP works; it does all that the other does.
    fn proved(&mut self, place: &Place) -> anyhow::Result<bool> {
        let Interface { name, index, .. } = &place.interface;
        let again = self.replace("ogha_prove", XdpMode::Driver, *index)?;
        if !again && place.neighbours.is_empty() {
            return Ok(false);
        }
        if !again {
            let program: &mut Xdp = loaded(self.ebpf, "ogha_prove")?;
            match links::attach_xdp(program, XdpMode::Driver, &place.interface)? {
                Attempt::Attached(link) => {
                    links::pin_xdp(link, self.directory, XdpMode::Driver, *index)?;
                }
                Attempt::Taken => return Ok(false),
                Attempt::Refused(error) => {
                    tracing::debug!(interface = name, "no native XDP: {error}");
                    return Ok(false);
                }
            }
        }
        let outcome = prove::native(&mut self.proof, place)?;
        tracing::debug!(interface = name, ?outcome, "native XDP was tried");
        if again && outcome == ProofOutcome::Unheard {
            tracing::warn!(interface = name, "replies sent by native XDP are no longer received");
        }
        // What was proved once stays in use when no peer can be asked.
        Ok(outcome == ProofOutcome::Heard || again && outcome == ProofOutcome::Silence)
    }

    fn release(&mut self, mode: XdpMode, index: u32) -> anyhow::Result<()> {
        self.released = links::drop_xdp(self.directory, mode, index)?;
        Ok(())
    }

    fn replace(&mut self, name: &str, mode: XdpMode, index: u32) -> anyhow::Result<bool> {
        links::replace_xdp(loaded(self.ebpf, name)?, self.directory, mode, index)
    }

    /// Replaces what is attached, or attaches. False if another program holds XDP.
    fn put(&mut self, name: &str, mode: XdpMode, interface: &Interface) -> anyhow::Result<bool> {
        if self.replace(name, mode, interface.index)? {
            return Ok(true);
        }
        let program: &mut Xdp = loaded(self.ebpf, name)?;
        let mut waited = Duration::ZERO;
        loop {
            match links::attach_xdp(program, mode, interface)? {
                Attempt::Attached(link) => {
                    links::pin_xdp(link, self.directory, mode, interface.index)?;
                    return Ok(true);
                }
                Attempt::Refused(error) => return Err(error.into()),
                Attempt::Taken if self.released && waited < RELEASE => {
                    thread::sleep(LOOK);
                    waited += LOOK;
                }
                Attempt::Taken => return Ok(false),
            }
        }
    }
}

/// The program of that name, in the kernel.
fn loaded<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    let program: &mut Xdp = program(ebpf, name)?;
    if program.fd().is_err() {
        program.load().with_context(|| format!("loading the XDP program {name}"))?;
    }
    Ok(program)
}
