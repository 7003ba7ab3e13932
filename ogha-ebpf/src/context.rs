//! The packet at the hook where the program runs: the same code sees it at XDP and at TCX ingress.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{
        bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes, bpf_xdp_adjust_tail,
        bpf_xdp_load_bytes, bpf_xdp_store_bytes,
    },
    programs::{TcContext, XdpContext},
};

use crate::packet::Frame;

/// What a hook can do with its packet. A [`Frame`] holds until the packet is resized or stored to.
pub trait Context {
    /// The bytes that can be read and written directly.
    fn frame(&self) -> Frame;
    /// The index of the interface.
    fn interface(&self) -> u32;
    /// For helpers that look up sockets.
    fn as_ptr(&self) -> *mut c_void;
    /// Makes the packet so long, or a little longer: what follows the end that its IP header tells is
    /// padding. What is added at its end is zero. Returns whether it was done.
    fn resize(&self, length: usize) -> bool;
    /// Copies bytes of the packet. Returns whether it has them.
    ///
    /// # Safety
    /// `to` has room for `length` bytes.
    unsafe fn load(&self, offset: u32, to: *mut c_void, length: u32) -> bool;
    /// Writes bytes of the packet. Returns whether it has them.
    ///
    /// # Safety
    /// `from` has `length` bytes.
    unsafe fn store(&self, offset: u32, from: *const c_void, length: u32) -> bool;
}

impl Context for XdpContext {
    #[inline(always)]
    fn frame(&self) -> Frame {
        // What a driver has taken out of the frame no XDP program sees, but for native ones that ask
        // their driver.
        Frame::new(self.data(), self.data_end(), false)
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the context is the program's own.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        aya_ebpf::EbpfContext::as_ptr(self)
    }

    #[inline(always)]
    fn resize(&self, length: usize) -> bool {
        let missing = length as i32 - self.frame().len() as i32;
        // SAFETY: the context is the program's own.
        unsafe { bpf_xdp_adjust_tail(self.ctx, missing) == 0 }
    }

    #[inline(always)]
    unsafe fn load(&self, offset: u32, to: *mut c_void, length: u32) -> bool {
        // SAFETY: the context is the program's own; the caller's word for the buffer.
        unsafe { bpf_xdp_load_bytes(self.ctx, offset, to, length) == 0 }
    }

    #[inline(always)]
    unsafe fn store(&self, offset: u32, from: *const c_void, length: u32) -> bool {
        // SAFETY: the context is the program's own; the caller's word for the buffer.
        unsafe { bpf_xdp_store_bytes(self.ctx, offset, from.cast_mut(), length) == 0 }
    }
}

impl Context for TcContext {
    #[inline(always)]
    fn frame(&self) -> Frame {
        const VLAN: u32 = 0xfff;
        // SAFETY: the context is the program's own.
        let tag = unsafe {
            let skb = self.skb.skb;
            if (*skb).vlan_present == 0 { 0 } else { (*skb).vlan_tci }
        };
        Frame::new(self.data(), self.data_end(), tag & VLAN != 0)
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the context is the program's own.
        unsafe { (*self.skb.skb).ifindex }
    }

    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        aya_ebpf::EbpfContext::as_ptr(self)
    }

    #[inline(always)]
    fn resize(&self, length: usize) -> bool {
        /// Up to the checksum of TCP, behind a VLAN tag and an IP header with all options.
        const KEPT: u32 = 14 + 4 + 60 + 18;
        let old = self.len();
        // SAFETY: the context is the program's own.
        let set = |length| unsafe { bpf_skb_change_tail(self.skb.skb, length, 0) == 0 };
        // The kernel cuts no deeper than what it has taken for headers, which may be longer than
        // those of a reply without options.
        set(length as u32) || (length as u32) < old && (old <= KEPT || set(KEPT))
    }

    #[inline(always)]
    unsafe fn load(&self, offset: u32, to: *mut c_void, length: u32) -> bool {
        // SAFETY: the context is the program's own; the caller's word for the buffer.
        unsafe { bpf_skb_load_bytes(self.skb.skb.cast(), offset, to, length) == 0 }
    }

    #[inline(always)]
    unsafe fn store(&self, offset: u32, from: *const c_void, length: u32) -> bool {
        // SAFETY: the context is the program's own; the caller's word for the buffer.
        unsafe { bpf_skb_store_bytes(self.skb.skb.cast(), offset, from, length, 0) == 0 }
    }
}
