//! Virtual addresses on an interface, through rtnetlink.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;
use rtnetlink::{
    Error, Handle,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, CacheInfo},
    },
};
use tokio::runtime::Handle as Runtime;
use tracing::warn;

use super::survey::{self, HeldAddress, PROTOCOL};

/// The addresses of one interface. It is looked up by its name each time: one that was deleted and made anew
/// has another index.
#[derive(Clone, Debug)]
pub struct Addresses {
    netlink: Handle,
    interface: String,
    /// What it was when this was opened: that of an interface which was renamed since.
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

    /// Puts an address on the interface, with this prefix, usable, and nowhere else on this host.
    ///
    /// # Errors
    /// When the kernel refuses, or there is no such interface.
    pub async fn add(&self, address: IpAddr, prefix: u8) -> anyhow::Result<()> {
        let index = self.find().await?;
        let index = index.with_context(|| format!("interface {} is gone", self.interface))?;
        let held = survey::addresses(&self.netlink).await?;
        let in_place = |held: &&HeldAddress| held.index == index && held.prefix == prefix;
        let (here, elsewhere): (Vec<&HeldAddress>, Vec<&HeldAddress>) =
            held.iter().filter(|held| held.address == address).partition(in_place);
        // One that failed the check for duplicates stands in the way.
        for held in here.iter().filter(|held| !held.settled) {
            self.delete(held).await?;
        }
        if !here.iter().any(|held| held.settled) {
            self.put(index, address, prefix).await?;
        }
        for held in elsewhere {
            self.delete(held).await?;
        }
        Ok(())
    }

    /// The interface's index now; `None` if it is gone.
    async fn find(&self) -> anyhow::Result<Option<u32>> {
        let name = self.interface.clone();
        match self.netlink.link().get().match_name(name).execute().try_next().await {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(Error::NetlinkError(e)) if e.raw_code() == -libc::ENODEV => Ok(None),
            Err(e) => {
                Err(e).with_context(|| format!("cannot look up interface {}", self.interface))
            }
        }
    }

    async fn put(&self, index: u32, address: IpAddr, prefix: u8) -> anyhow::Result<()> {
        let mut request = self.netlink.address().add(index, address, prefix);
        let message = request.message_mut();
        message.attributes.push(AddressAttribute::Protocol(PROTOCOL.into()));
        if address.is_ipv6() {
            mark(message);
        }
        match request.execute().await {
            Ok(()) => Ok(()),
            Err(Error::NetlinkError(e)) if e.raw_code() == -libc::EEXIST => Ok(()),
            Err(e) => Err(e)
                .with_context(|| format!("cannot put {address}/{prefix} on {}", self.interface)),
        }
    }

    /// Takes an address with this prefix off the interface; nothing happens if it is not there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove(&self, address: IpAddr, prefix: u8) -> anyhow::Result<()> {
        let index = self.find().await?.unwrap_or(self.index);
        for held in survey::addresses(&self.netlink).await? {
            if held.index == index && held.address == address && held.prefix == prefix {
                self.delete(&held).await?;
            }
        }
        Ok(())
    }

    /// Takes an address off this host, whatever its prefix, whichever interface has it. Says whether it was
    /// there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_everywhere(&self, address: IpAddr) -> anyhow::Result<bool> {
        let mut found = false;
        for held in survey::addresses(&self.netlink).await? {
            if held.address == address {
                found = true;
                self.delete(&held).await?;
            }
        }
        Ok(found)
    }

    /// Takes those addresses off this host that an agent before this one has put on an interface, of those
    /// that are no virtual addresses any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_left(&self, left: &[IpAddr], marks: bool) -> anyhow::Result<()> {
        for held in survey::addresses(&self.netlink).await? {
            if left.contains(&held.address) && (held.protocol == PROTOCOL || !marks) {
                let HeldAddress { address, prefix, .. } = held;
                warn!("{address}/{prefix} is no virtual address any more: it is removed");
                self.delete(&held).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, held: &HeldAddress) -> anyhow::Result<()> {
        let HeldAddress { address, prefix, index, .. } = *held;
        let message = message(index, address, prefix);
        match self.netlink.address().del(message).execute().await {
            Ok(()) => Ok(()),
            Err(Error::NetlinkError(e))
                if [-libc::EADDRNOTAVAIL, -libc::ENODEV].contains(&e.raw_code()) =>
            {
                Ok(())
            }
            Err(e) => {
                Err(e).with_context(|| format!("cannot take {address}/{prefix} off this host"))
            }
        }
    }
}

/// Takes addresses off this host that a data plane which is being removed knows as its own: on a runtime of
/// its own. Returns how many there were.
///
/// # Errors
/// When the kernel refuses, or takes too long.
pub fn remove_all(addresses: &[IpAddr]) -> anyhow::Result<usize> {
    const PATIENCE: Duration = Duration::from_secs(5);
    if addresses.is_empty() {
        return Ok(0);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let open = Addresses::open("", 0, &Runtime::current())?;
        let mut removed = 0;
        let all = async {
            for &address in addresses {
                removed += usize::from(open.remove_everywhere(address).await?);
            }
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, all).await {
            Ok(done) => done.map(|()| removed),
            Err(_) => bail!("netlink did not answer within {PATIENCE:?}"),
        }
    })
}

/// Whether the kernel keeps the mark of who has added an address (`IFA_PROTO`).
#[must_use]
pub fn marks_are_kept() -> bool {
    let release =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    release.is_ok_and(|release| keeps_marks(&release))
}

fn keeps_marks(release: &str) -> bool {
    const FIRST: (u32, u32) = (5, 18);
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let (major, minor) = (numbers.next(), numbers.next());
    major.zip(minor).is_some_and(|version| version >= FIRST)
}

fn message(index: u32, address: IpAddr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = prefix;
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    message
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_kept_from_5_18_on() {
        for (release, kept) in [
            ("5.10.0-21-amd64", false),
            ("5.17.15", false),
            ("5.18.0", true),
            ("6.18.44-fc", true),
            ("6.1", true),
            ("unknown", false),
        ] {
            assert_eq!(keeps_marks(release), kept, "{release}");
        }
    }
}
