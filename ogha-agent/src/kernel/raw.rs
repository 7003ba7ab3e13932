//! The calls of bpf(2) by which pinned objects are compared, pinned again, and attached again. (What loads
//! programs and reads maps is aya's.)

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const LINK_CREATE: libc::c_int = 28;

/// `BPF_F_BEFORE`: without another program to be before, before all.
const BEFORE_ALL: u32 = 1 << 3;

/// Where a program is attached (`enum bpf_attach_type`), and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP, with these flags (`XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE`).
    Xdp(u32),
    /// TCX, what comes in.
    Ingress,
    /// TCX, what leaves.
    Egress,
}

/// What the kernel says of a link (`struct bpf_link_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// The link's number.
    pub id: u32,
    /// The program's.
    pub program: u32,
    /// The interface; 0 if it was detached, or is none of an interface.
    pub index: u32,
}

/// Opens what is pinned there.
pub fn get(path: &Path) -> io::Result<OwnedFd> {
    let name = name(path)?;
    let mut attributes = Pin { name: name.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: laid out as the kernel has it, the name outlives the call, and the descriptor that it
    // returns is nobody else's.
    unsafe { Ok(OwnedFd::from_raw_fd(bpf(OBJ_GET, &mut attributes)?)) }
}

/// Pins an object.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = name(path)?;
    let fd = object.as_raw_fd().cast_unsigned();
    let mut attributes = Pin { name: name.as_ptr() as u64, fd, flags: 0 };
    // SAFETY: laid out as the kernel has it, and the name outlives the call.
    unsafe { bpf(OBJ_PIN, &mut attributes) }.map(drop)
}

/// A map's number (`struct bpf_map_info`).
pub fn map_id(map: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(inform(map)?[1])
}

/// What a link attaches, and where.
pub fn link_state(link: BorrowedFd<'_>) -> io::Result<LinkState> {
    let info = inform(link)?;
    Ok(LinkState { id: info[1], program: info[2], index: info[4] })
}

/// Attaches the program of that number to an interface.
pub fn attach(program: u32, index: u32, hook: Hook) -> io::Result<OwnedFd> {
    let (kind, flags) = match hook {
        Hook::Xdp(flags) => (37, flags),
        Hook::Ingress => (46, BEFORE_ALL),
        Hook::Egress => (47, BEFORE_ALL),
    };
    // SAFETY: the kernel reads three words, and the descriptor that it returns is nobody else's.
    let program = unsafe { OwnedFd::from_raw_fd(bpf(PROG_GET_FD_BY_ID, &mut [program, 0, 0])?) };
    let mut attributes = [0_u32; 16];
    attributes[0] = program.as_raw_fd().cast_unsigned();
    attributes[1..4].copy_from_slice(&[index, kind, flags]);
    // SAFETY: laid out as the kernel has it, and the descriptor that it returns is nobody else's.
    unsafe { Ok(OwnedFd::from_raw_fd(bpf(LINK_CREATE, &mut attributes)?)) }
}

/// `union bpf_attr` for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Pin {
    name: u64,
    fd: u32,
    flags: u32,
}

/// `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    address: u64,
}

fn name(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// The first words of what the kernel says of an object; the second is its number.
fn inform(object: BorrowedFd<'_>) -> io::Result<[u32; 32]> {
    // The kernel copies words of 8 octets.
    let mut words = [0_u64; 16];
    let mut info = Info {
        fd: object.as_raw_fd().cast_unsigned(),
        length: size_of_val(&words) as u32,
        address: (&raw mut words) as u64,
    };
    // SAFETY: the kernel writes no more than `length` octets.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut info) }?;
    Ok(bytemuck::cast(words))
}

/// # Safety
/// `attributes` must be laid out as the kernel's `union bpf_attr` for that command, and what it points to
/// must be valid for it.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: as the caller has promised.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
