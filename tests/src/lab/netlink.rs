//! Requests to the kernel's network configuration, in a namespace.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressMessage},
        link::LinkMessage,
        neighbour::{NeighbourAddress, NeighbourAttribute},
    },
};

use super::Namespace;

/// Runs `request` with a netlink socket of `namespace`.
pub(super) fn run<T: Send>(
    namespace: &Namespace,
    request: impl AsyncFnOnce(Handle) -> Result<T> + Send,
) -> Result<T> {
    namespace.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            let connection = tokio::spawn(connection);
            let answer = request(handle).await;
            connection.abort();
            answer
        })
    })
}

/// The index of the interface `name`.
pub(super) async fn index_of(handle: &Handle, name: &str) -> Result<u32> {
    let mut links = handle.link().get().match_name(name).execute();
    let link: LinkMessage =
        links.try_next().await?.with_context(|| format!("there is no interface {name}"))?;
    Ok(link.header.index)
}

/// Sets the interface `name` up or down.
pub(super) fn set_up(namespace: &Namespace, name: &str, up: bool) -> Result<()> {
    run(namespace, async |handle| {
        let link: LinkMessageBuilder<LinkUnspec> =
            LinkUnspec::new_with_index(index_of(&handle, name).await?);
        let link = if up { link.up() } else { link.down() };
        handle.link().set(link.build()).execute().await?;
        Ok(())
    })
    .with_context(|| format!("cannot set {name} {}", if up { "up" } else { "down" }))
}

/// The addresses of the interface `name`.
pub(super) fn addresses(namespace: &Namespace, name: &str) -> Result<Vec<IpAddr>> {
    run(namespace, async |handle| {
        let index = index_of(&handle, name).await?;
        let mut found = Vec::new();
        let mut messages = handle.address().get().set_link_index_filter(index).execute();
        while let Some(message) = messages.try_next().await? {
            found.extend(named(&message));
        }
        Ok(found)
    })
}

/// Takes every address but those `kept` off the interface `name`.
pub(super) fn remove_addresses_but(
    namespace: &Namespace,
    name: &str,
    kept: &[IpAddr],
) -> Result<()> {
    run(namespace, async |handle| {
        let index = index_of(&handle, name).await?;
        let messages: Vec<_> =
            handle.address().get().set_link_index_filter(index).execute().try_collect().await?;
        for message in messages {
            if named(&message).is_none_or(|address| !kept.contains(&address)) {
                handle.address().del(message).execute().await?;
            }
        }
        Ok(())
    })
}

/// The MAC by which the kernel reaches an address, if it knows one.
pub(super) fn neighbour(namespace: &Namespace, address: IpAddr) -> Result<Option<[u8; 6]>> {
    let (family, wanted) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    let wanted = NeighbourAttribute::Destination(wanted);
    run(namespace, async |handle| {
        let request = handle.neighbours().get().set_address_family(family);
        let all: Vec<_> = request.execute().try_collect().await?;
        let found = all.iter().find(|message| message.attributes.contains(&wanted));
        Ok(found.and_then(|message| message.attributes.iter().find_map(mac)))
    })
}

fn mac(attribute: &NeighbourAttribute) -> Option<[u8; 6]> {
    match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    }
}

/// The address that a message is about: on a link with many ends the kernel names it so in both
/// families.
fn named(message: &AddressMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })
}
