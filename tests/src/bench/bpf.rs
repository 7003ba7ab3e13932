//! The commands of `bpf(2)` that aya has no words for: running a program on a packet, and getting at
//! one that is attached already.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};

/// `BPF_PROG_TYPE_XDP`.
const TYPE_XDP: u32 = 6;
/// `BPF_XDP`, as aya loads XDP programs: both ends of a tail call must have the same.
const ATTACH_XDP: u32 = 37;
/// `BPF_MAP_TYPE_PROG_ARRAY`.
const MAP_PROGRAMS: u32 = 3;

/// `enum bpf_cmd`.
#[derive(Clone, Copy)]
enum Command {
    MapCreate = 0,
    MapUpdate = 2,
    ProgLoad = 5,
    ObjGet = 7,
    ProgTestRun = 10,
    ProgById = 13,
    ObjInfo = 15,
    LinkCreate = 28,
}

/// How XDP is attached: `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE` of the kernel.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// By the kernel's stack.
    Generic = 2,
    /// By the driver.
    Native = 4,
}

/// An XDP program that the kernel has.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// Loads instructions as they are.
    ///
    /// # Errors
    /// If the kernel refuses them.
    pub fn load(code: &[u64]) -> Result<Self> {
        #[repr(C)]
        #[derive(Default)]
        struct Load {
            kind: u32,
            instructions: u32,
            code: u64,
            license: u64,
            log_level: u32,
            log_size: u32,
            log: u64,
            kernel: u32,
            flags: u32,
            name: [u8; 16],
            interface: u32,
            attach: u32,
        }
        let mut load = Load {
            kind: TYPE_XDP,
            instructions: code.len() as u32,
            code: code.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            attach: ATTACH_XDP,
            ..Load::default()
        };
        // SAFETY: the layout is the kernel's; code and licence outlive the call.
        let program = unsafe { descriptor(Command::ProgLoad, &mut load) };
        program.map(Self).context("the kernel refuses a program of the benchmark")
    }

    /// Attaches the program to an interface of this namespace, until what is returned is dropped.
    ///
    /// # Errors
    /// If the kernel refuses, as it does where another program is attached.
    pub fn attach(&self, interface: u32, mode: Mode) -> io::Result<OwnedFd> {
        let mut link = [self.0.as_raw_fd() as u32, interface, ATTACH_XDP, mode as u32];
        // SAFETY: the layout is the kernel's: program, target, kind, flags.
        unsafe { descriptor(Command::LinkCreate, &mut link) }
    }

    /// The program that a pinned link attaches.
    ///
    /// # Errors
    /// If no link is pinned there, or the kernel does not hand it out.
    pub fn of_link(pin: &Path) -> Result<Self> {
        #[repr(C)]
        struct Info {
            fd: u32,
            length: u32,
            info: u64,
        }
        let get = || -> io::Result<OwnedFd> {
            let link = pinned(pin)?;
            // `struct bpf_link_info` begins with its kind, its id and that of the program.
            let mut found = [0_u32; 3];
            let mut info = Info {
                fd: link.as_raw_fd() as u32,
                length: size_of_val(&found) as u32,
                info: (&raw mut found) as u64,
            };
            // SAFETY: the layout is the kernel's, which writes no more than `length` bytes.
            unsafe { call(Command::ObjInfo, &mut info) }?;
            let mut id = [found[2], 0, 0];
            // SAFETY: the layout is the kernel's: id, next id, flags.
            unsafe { descriptor(Command::ProgById, &mut id) }
        };
        get().map(Self).with_context(|| format!("getting the program of {}", pin.display()))
    }

    /// Runs the program `repeat` times on one packet, which keeps what the program makes of it.
    /// Returns what it returned last.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn run(&self, packet: &[u8], repeat: u32) -> io::Result<u32> {
        #[repr(C)]
        #[derive(Default)]
        struct Run {
            program: u32,
            returned: u32,
            length: u32,
            length_out: u32,
            packet: u64,
            packet_out: u64,
            repeat: u32,
            duration: u32,
            context: [u32; 2],
            contexts: [u64; 2],
            flags: u32,
            cpu: u32,
            batch: u32,
            zero: u32,
        }
        let mut run = Run {
            program: self.0.as_raw_fd() as u32,
            length: packet.len() as u32,
            packet: packet.as_ptr() as u64,
            repeat,
            ..Run::default()
        };
        // SAFETY: the layout is the kernel's, which copies the packet before it runs anything.
        unsafe { call(Command::ProgTestRun, &mut run) }?;
        Ok(run.returned)
    }
}

/// A map of one program, for tail calls into it. It keeps the program.
#[derive(Debug)]
pub struct Jump(OwnedFd);

impl Jump {
    /// To that program.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn to(program: &Program) -> Result<Self> {
        #[repr(C)]
        struct Update {
            map: u32,
            zero: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let make = || -> io::Result<OwnedFd> {
            // Kind, bytes of a key, bytes of a value, entries, flags.
            let mut create = [MAP_PROGRAMS, 4, 4, 1, 0];
            // SAFETY: the layout is the kernel's.
            let map = unsafe { descriptor(Command::MapCreate, &mut create) }?;
            let (key, value) = (0_u32, program.0.as_raw_fd());
            let mut update = Update {
                map: map.as_raw_fd() as u32,
                zero: 0,
                key: (&raw const key) as u64,
                value: (&raw const value) as u64,
                flags: 0,
            };
            // SAFETY: the layout is the kernel's; key and value are as long as the map's.
            unsafe { call(Command::MapUpdate, &mut update) }?;
            Ok(map)
        };
        make().map(Self).context("making a tail call for the benchmark")
    }

    /// What an instruction names it by.
    pub fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// What is pinned there.
///
/// # Errors
/// If nothing is, or the kernel does not hand it out.
pub fn pinned(pin: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Get {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut get = Get { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the layout is the kernel's; the path outlives the call.
    unsafe { descriptor(Command::ObjGet, &mut get) }
}

/// # Safety
/// `attributes` must be laid out as the kernel's `union bpf_attr` for that command, and what it
/// points to must be valid for it.
unsafe fn call<T>(command: Command, attributes: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: as the caller has promised.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, &raw mut *attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// # Safety
/// As for [`call`], and the command must be one that returns a descriptor.
unsafe fn descriptor<T>(command: Command, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller has promised; the descriptor is new and nobody else's.
    unsafe { call(command, attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}
