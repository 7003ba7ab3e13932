//! Runs a program of the data plane on a frame, without a wire (`BPF_PROG_TEST_RUN`).

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

use ogha_tests::lab::Host;

use crate::XDP_IS_TAKEN;

/// Of the program for what comes in: nobody gets the packet (`XDP_DROP`, `TC_ACT_SHOT`).
pub const DROP: u32 = if XDP_IS_TAKEN { 2 } else { 1 };
/// The host gets it (`XDP_PASS`, `TC_ACT_UNSPEC`).
pub const PASS: u32 = if XDP_IS_TAKEN { u32::MAX } else { 2 };
/// It goes back (`XDP_TX`, `TC_ACT_REDIRECT`).
pub const RETURN: u32 = if XDP_IS_TAKEN { 7 } else { 3 };

const BPF_OBJ_GET: i32 = 7;
const BPF_PROG_TEST_RUN: i32 = 10;
const BPF_PROG_GET_FD_BY_ID: i32 = 13;
const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;

/// A program that is attached to a host.
pub struct TestRun {
    program: OwnedFd,
}

impl TestRun {
    /// The program for what comes in.
    pub fn ingress(host: &Host) -> Self {
        Self::open(host, if XDP_IS_TAKEN { "tcx_ingress_" } else { "xdp_" })
    }

    /// The program of the first pinned link whose name begins so.
    fn open(host: &Host, prefix: &str) -> Self {
        let links = fs::read_dir(host.bpf_dir().join("links")).unwrap();
        let path = links
            .map(|entry| entry.unwrap().path())
            .find(|path| path.file_name().unwrap().as_bytes().starts_with(prefix.as_bytes()))
            .expect("there is such a link");
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        let link = file(BPF_OBJ_GET, &[path.as_ptr() as u64, 0]);
        // `bpf_link_info`: the kind, the link, the program.
        let mut info = [0_u32; 64];
        let what = [
            u64::from(link.as_raw_fd() as u32) | (size_of_val(&info) as u64) << 32,
            info.as_mut_ptr() as u64,
        ];
        call(BPF_OBJ_GET_INFO_BY_FD, &what);
        Self { program: file(BPF_PROG_GET_FD_BY_ID, &[u64::from(info[2])]) }
    }

    /// What the program says to a frame.
    pub fn once(&self, frame: &[u8]) -> u32 {
        self.run(frame, 1, &mut Vec::new()).0
    }

    /// What the program says to a frame, and what it makes of it.
    pub fn on(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut out = Vec::new();
        let (verdict, _) = self.run(frame, 1, &mut out);
        (verdict, out)
    }

    /// Runs it again and again; what the last run has made of the frame comes out.
    pub fn run(&self, frame: &[u8], repeat: u32, out: &mut Vec<u8>) -> (u32, usize) {
        out.clear();
        out.resize(frame.len() + 256, 0);
        let size = |length: usize| length as u64;
        let mut test = [
            u64::from(self.program.as_raw_fd() as u32),
            size(frame.len()) | size(out.len()) << 32,
            frame.as_ptr() as u64,
            out.as_mut_ptr() as u64,
            u64::from(repeat),
            0,
            0,
            0,
            0,
            0,
        ];
        // SAFETY: the attributes name buffers that live as long as the call.
        let result = unsafe {
            let size = size_of_val(&test);
            libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, test.as_mut_ptr(), size)
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        out.truncate((test[1] >> 32) as usize);
        ((test[0] >> 32) as u32, out.len())
    }
}

fn file(command: i32, attributes: &[u64]) -> OwnedFd {
    // SAFETY: the kernel has just made the descriptor, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(call(command, attributes) as i32) }
}

fn call(command: i32, attributes: &[u64]) -> i64 {
    // SAFETY: the attributes are read only, and name what lives as long as the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes))
    };
    assert!(result >= 0, "bpf({command}): {}", io::Error::last_os_error());
    result
}
