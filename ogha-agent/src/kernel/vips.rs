//! The virtual addresses: the map of them, and the slots by which the programs find them faster.

use std::{net::IpAddr, path::Path};

use anyhow::{Context as _, bail};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use ogha_common::maps::{SLOT_SHARED, VIP_SLOTS, Vip, VipKey, VipSlot, name};

use super::Plain;

/// `VIPS`, and `VIP_SLOTS`, which follows it.
pub struct Vips {
    addresses: HashMap<MapData, Plain<VipKey>, Plain<Vip>>,
    slots: Array<MapData, Plain<VipSlot>>,
}

impl Vips {
    pub fn new(
        addresses: HashMap<MapData, Plain<VipKey>, Plain<Vip>>,
        slots: Array<MapData, Plain<VipSlot>>,
    ) -> Self {
        Self { addresses, slots }
    }

    /// The addresses of the instance as they are.
    ///
    /// # Errors
    /// If one of those that are wanted is another's, or the kernel refuses.
    pub fn of(&self, instance: u32, wanted: &[IpAddr]) -> anyhow::Result<Vec<VipKey>> {
        let mut old = Vec::new();
        for (address, vip) in self.all()? {
            if vip.instance == instance {
                old.push(address);
            } else if let Some(other) = wanted.iter().find(|wanted| key(**wanted) == address) {
                bail!("{other} is an address of another instance too");
            }
        }
        Ok(old)
    }

    /// Puts these in the place of the instance's `old` ones.
    pub fn replace(&mut self, old: &[VipKey], new: &[IpAddr], vip: Vip) -> anyhow::Result<()> {
        for address in new {
            self.addresses
                .insert(Plain(key(*address)), Plain(vip), 0)
                .with_context(|| format!("adding {address} to the virtual addresses"))?;
        }
        let kept = |old: &VipKey| new.iter().any(|new| key(*new) == *old);
        for key in old.iter().filter(|old| !kept(old)) {
            self.addresses.remove(&Plain(*key)).context("removing a virtual address")?;
        }
        self.fill_slots()
    }

    /// Tells of the instance's port.
    pub fn set_port(&mut self, instance: u32, port: u16) -> anyhow::Result<()> {
        for (key, vip) in self.all()? {
            if vip.instance == instance && vip.port != port {
                self.addresses
                    .insert(Plain(key), Plain(Vip { port, ..vip }), 0)
                    .context("setting the port of a virtual address")?;
            }
        }
        self.fill_slots()
    }

    fn all(&self) -> anyhow::Result<Vec<(VipKey, Vip)>> {
        self.addresses
            .iter()
            .map(|entry| entry.map(|(Plain(key), Plain(vip))| (key, vip)))
            .collect::<Result<_, MapError>>()
            .context("reading the virtual addresses")
    }

    /// Makes the slots say what the map of the addresses does.
    pub fn fill_slots(&mut self) -> anyhow::Result<()> {
        let all = self.all()?;
        for octet in 0..VIP_SLOTS as u32 {
            let own: Vec<_> =
                all.iter().copied().filter(|(key, _)| u32::from(key.slot()) == octet).collect();
            let slot = VipSlot::of(&own);
            let Plain(old) = self.slots.get(&octet, 0).context("reading a slot")?;
            if old == slot {
                continue;
            }
            // A program may look while the kernel copies: it asks `VIPS` until all has been copied.
            for state in [SLOT_SHARED, slot.state] {
                let slot = VipSlot { state, ..slot };
                self.slots.set(octet, Plain(slot), 0).context("filling a slot")?;
            }
        }
        Ok(())
    }
}

/// An address as the maps hold it.
pub fn key(address: IpAddr) -> VipKey {
    match address {
        IpAddr::V4(address) => VipKey::v4(address.octets()),
        IpAddr::V6(address) => VipKey { address: address.octets() },
    }
}

/// The virtual addresses that a pinned data plane knows: those of the agent that lives, or last lived,
/// there. None where nothing is pinned, or another version's.
#[must_use]
pub fn pinned_addresses(bpf_dir: &Path) -> Vec<IpAddr> {
    let read = || {
        let map = MapData::from_pin(bpf_dir.join(name::VIPS)).ok()?;
        let map: HashMap<MapData, Plain<VipKey>, Plain<Vip>> = Map::HashMap(map).try_into().ok()?;
        Some(map.keys().filter_map(Result::ok).map(|Plain(key)| address(key)).collect())
    };
    read().unwrap_or_default()
}

/// The address that the maps hold as that.
fn address(key: VipKey) -> IpAddr {
    std::net::Ipv6Addr::from(key.address).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_address() {
        for text in ["192.0.2.10", "fd00:59::c000:20a"] {
            let wanted: IpAddr = text.parse().unwrap();
            assert_eq!(address(key(wanted)), wanted);
        }
    }
}
