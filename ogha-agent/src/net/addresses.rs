//! Virtual addresses on an interface, through rtnetlink.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use rtnetlink::{
    Error, Handle,
    packet_route::address::{AddressAttribute, AddressMessage},
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
    pub async fn add(&self, address: Ipv4Addr, prefix: u8) -> anyhow::Result<()> {
        let request = self.netlink.address().add(self.index, IpAddr::V4(address), prefix);
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
    pub async fn remove(&self, address: Ipv4Addr, prefix: u8) -> anyhow::Result<()> {
        let cannot = || format!("cannot take {address}/{prefix} off {}", self.interface);
        let mut held =
            self.netlink.address().get().set_link_index_filter(self.index).execute();
        while let Some(message) = held.try_next().await.with_context(cannot)? {
            if message.header.prefix_len == prefix && names(&message, address) {
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

fn names(message: &AddressMessage, address: Ipv4Addr) -> bool {
    let wanted = AddressAttribute::Local(IpAddr::V4(address));
    message.attributes.contains(&wanted)
}
