//! Packet sockets (packet(7)).

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::Context as _;

use super::interface::Interface;

/// Opens a socket that does not block, for whole frames of one interface. It hears those of that
/// EtherType, from now on; with 0, none.
///
/// # Errors
/// When the kernel refuses; it asks for `CAP_NET_RAW`.
pub(super) fn open(interface: &Interface, ethertype: u16) -> anyhow::Result<OwnedFd> {
    let cannot = || format!("cannot open a packet socket on {}", interface.name);
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // With a protocol, it would hear every interface until it is bound.
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).with_context(cannot);
    }
    // SAFETY: the kernel has just given us this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: interface.index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: `address` is a whole `sockaddr_ll` of the length given.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    if bound != 0 {
        return Err(io::Error::last_os_error()).with_context(cannot);
    }
    Ok(socket)
}
