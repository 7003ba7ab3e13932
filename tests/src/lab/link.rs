//! The cable between a host and a switch.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::link::{InfoData, InfoVeth},
};

use super::{Namespace, Switch, netlink, switch::BRIDGE};

/// A cable, plugged in when made. Cut as a whole; cutting one host off only another is a
/// matter of filters at the switch's ports and not built yet.
#[derive(Debug)]
pub struct Link {
    switch: Arc<Switch>,
    port: String,
    mac: [u8; 6],
}

/// The MAC of the host of that address, readable in a capture: `02:00` and the address.
#[must_use]
pub const fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x00, a, b, c, d]
}

/// The IPv6 address that goes with an IPv4 address of the lab: `fd00:59::` and the address.
#[must_use]
pub const fn ipv6_of(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(0xfd00, 0x59, 0, 0, 0, 0, high, low)
}

impl Link {
    /// Joins `port` of `switch` to a new `interface` in `host`, of that address in a /24, and of
    /// its [`ipv6_of`] in a /64.
    pub(super) fn plug(
        switch: &Arc<Switch>,
        port: &str,
        host: &Namespace,
        interface: &str,
        address: Ipv4Addr,
    ) -> Result<Self> {
        let mac = mac_of(address);
        let peer = LinkUnspec::new_with_name(interface)
            .address(mac.to_vec())
            .setns_by_fd(host.as_fd().as_raw_fd())
            .build();
        netlink::run(switch.namespace(), async |handle| {
            let bridge = netlink::index_of(&handle, BRIDGE).await?;
            let pair = LinkMessageBuilder::<LinkVeth>::new(port, interface)
                .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
                .controller(bridge)
                .up();
            handle.link().add(pair.build()).execute().await?;
            Ok(())
        })
        .with_context(|| format!("cannot plug {port} into the switch"))?;
        netlink::run(host, async |handle| {
            let index = netlink::index_of(&handle, interface).await?;
            handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
            handle.address().add(index, address.into(), 24).execute().await?;
            handle.address().add(index, ipv6_of(address).into(), 64).execute().await?;
            Ok(())
        })
        .with_context(|| format!("cannot give {port} the address {address}"))?;
        Ok(Self { switch: Arc::clone(switch), port: port.into(), mac })
    }

    /// Sets the switch's port down: nothing passes, and the host's carrier goes, as when the
    /// cable is pulled.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn cut(&self) -> Result<()> {
        netlink::set_up(self.switch.namespace(), &self.port, false)
    }

    /// Plugs the cable in again.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn restore(&self) -> Result<()> {
        netlink::set_up(self.switch.namespace(), &self.port, true)
    }

    /// The MAC of the host's end.
    #[must_use]
    pub const fn mac(&self) -> [u8; 6] {
        self.mac
    }
}
