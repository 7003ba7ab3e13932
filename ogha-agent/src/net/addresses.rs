//! Virtual addresses on an interface, through rtnetlink.

use std::net::IpAddr;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use rtnetlink::{
    Error, Handle,
    packet_route::address::{
        AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, CacheInfo,
    },
};
use tokio::runtime::Handle as Runtime;

/// The addresses of one interface.
#[derive(Clone, Debug)]
pub struct Addresses {
    netlink: Handle,
    interface: String,
    index: u32,
}

impl Addresses {
    /// Opens a netlink socket in the current network namespace, served on this runtime.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn open(interface: &str, index: u32, runtime: &Runtime) -> anyhow::Result<Self> {
        let _context = runtime.enter();
        let (connection, netlink, _) =
            rtnetlink::new_connection().context("cannot open a netlink socket")?;
        runtime.spawn(connection);
        Ok(Self { netlink, interface: interface.to_owned(), index })
    }

    /// Puts an address on the interface; nothing happens if it is there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add(&self, address: IpAddr, prefix: u8) -> anyhow::Result<()> {
        let mut request = self.netlink.address().add(self.index, address, prefix);
        if address.is_ipv6() {
            mark(request.message_mut());
        }
        match request.execute().await {
            Ok(()) => Ok(()),
            Err(Error::NetlinkError(e)) if e.raw_code() == -libc::EEXIST => Ok(()),
            Err(e) => Err(e)
                .with_context(|| format!("cannot put {address}/{prefix} on {}", self.interface)),
        }
    }

    /// Takes an address off the interface; nothing happens if it is not there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove(&self, address: IpAddr, prefix: u8) -> anyhow::Result<()> {
        let cannot = || format!("cannot take {address}/{prefix} off {}", self.interface);
        let mut held = self.netlink.address().get().set_link_index_filter(self.index).execute();
        while let Some(message) = held.try_next().await.with_context(cannot)? {
            if message.header.prefix_len == prefix && named(&message) == Some(address) {
                match self.netlink.address().del(message).execute().await {
                    Ok(()) => {}
                    Err(Error::NetlinkError(e)) if e.raw_code() == -libc::EADDRNOTAVAIL => {}
                    Err(e) => return Err(e).with_context(cannot),
                }
            }
        }
        Ok(())
    }
}

/// What only IPv6 has to be told.
///
/// No duplicate address detection (RFC 4862 section 5.4): it would keep the address from being used
/// for a second of each takeover, and for ever where the old holder has not let go yet. Who holds
/// the address is decided elsewhere. And deprecated from the start (section 5.5.4): connections to
/// the address work, but nothing on this host chooses it as the source of a connection of its own,
/// which would break when the address moves.
fn mark(message: &mut AddressMessage) {
    let mut lifetimes = CacheInfo::default();
    lifetimes.ifa_preferred = 0;
    lifetimes.ifa_valid = u32::MAX;
    message.header.flags |= AddressHeaderFlags::Nodad;
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
}

/// The address that a message is about. Over IPv6 the kernel tells `IFA_LOCAL` only where the
/// link has two ends.
fn named(message: &AddressMessage) -> Option<IpAddr> {
    let find =
        |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    let local = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    };
    let address = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    };
    find(local).or_else(|| find(address))
}
