//! The death watch: a listener appears or goes, a process exits. And: is there a listener now?
//!
//! The programs of the watch see all network namespaces of the host. Where a field stands in the kernel's
//! structures depends on its build: the loader reads it from the kernel's BTF.

use aya_ebpf::{
    bindings::bpf_sock_tuple,
    helpers::{
        bpf_probe_read_kernel,
        generated::{bpf_sk_release, bpf_skc_lookup_tcp, bpf_skc_to_tcp_sock},
    },
    programs::BtfTracePointContext,
};
use ogha_common::maps::{
    EVENT_LISTENER_GONE, EVENT_LISTENER_UP, EVENT_PROCESS_EXIT, MAX_INSTANCES, Watch,
};

use crate::{
    context::Context,
    events, gate,
    maps::{SELF, WATCHES},
    packet::Address,
};

/// The kernel's states of TCP sockets.
const TCP_CLOSE: i32 = 7;
const TCP_LISTEN: i32 = 10;
const IPPROTO_TCP: u16 = 6;

/// Byte offsets of fields in the kernel's structures, written by the loader.
macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        $($(#[$doc])* #[unsafe(no_mangle)] static $name: u32 = 0;)+
    };
}

offsets! {
    /// `sock.sk_protocol`, 16 bits.
    SOCK_PROTOCOL,
    /// `sock.__sk_common.skc_num`, 16 bits: the local port, host order.
    SOCK_PORT,
    /// `sock.__sk_common.skc_net.net`, a pointer to `net`.
    SOCK_NET,
    /// `sock.sk_ack_backlog`, 32 bits: connections that wait to be accepted.
    SOCK_QUEUE,
    /// `sock.sk_max_ack_backlog`, 32 bits: how many may.
    SOCK_QUEUE_LIMIT,
    /// `net.ns.inum`, 32 bits.
    NET_INUM,
    /// `task_struct.signal`, a pointer to `signal_struct`.
    TASK_SIGNAL,
    /// `signal_struct.live.counter`, 32 bits: threads that have not exited.
    SIGNAL_LIVE,
    /// `signal_struct.pids`, pointers to `pid`: of the process, its group and its session.
    SIGNAL_PIDS,
    /// `pid.level`, 32 bits: how deep its PID namespace lies below the first.
    PID_LEVEL,
    /// `pid.numbers`, a `upid` for each PID namespace that sees the process, from the first on.
    PID_NUMBERS,
    /// `upid.nr`, 32 bits: the process id there.
    UPID_NR,
    /// `upid.ns`, a pointer to `pid_namespace`.
    UPID_NS,
    /// `pid_namespace.ns.inum`, 32 bits.
    PIDNS_INUM,
}

/// Bytes of `upid`, a number and a pointer, on the 64-bit kernels that we run on.
const UPID: usize = 16;
/// Where `PIDTYPE_TGID` stands in `signal_struct.pids`, in bytes.
const TGID: usize = size_of::<*const u8>();
/// `MAX_PID_NS_LEVEL` of the kernel.
const DEEPEST: u32 = 32;

/// `inet_sock_set_state(sk, oldstate, newstate)`.
///
/// A listener only ever goes to CLOSE. From LISTEN to SYN_RECV goes each new connection, whose
/// socket begins as a copy of the listener.
#[inline(always)]
pub fn state_changed(ctx: &BtfTracePointContext) -> Option<()> {
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let kind = match (old, new) {
        (_, TCP_LISTEN) => EVENT_LISTENER_UP,
        (TCP_LISTEN, TCP_CLOSE) => EVENT_LISTENER_GONE,
        _ => return None,
    };
    let sock: *const u8 = ctx.arg(0);
    if read::<u16>(sock, &raw const SOCK_PROTOCOL)? != IPPROTO_TCP {
        return None;
    }
    let port = u32::from(read::<u16>(sock, &raw const SOCK_PORT)?);
    let net: *const u8 = read(sock, &raw const SOCK_NET)?;
    let netns: u32 = read(net, &raw const NET_INUM)?;
    let detail = u64::from(netns);
    notify(kind, detail, |watch| port != 0 && watch.port == port && watch.netns == netns);
    Some(())
}

/// `sched_process_exit(task)`, in the context of the task that exits.
///
/// A process has a number in each PID namespace that sees it: its own, and those above. The agent
/// reads numbers as its own namespace counts, which may be a container's. So all of them are
/// compared, each with the watches of its namespace: a process of the host that has the database's
/// number by chance is none of our business, and a database in a namespace below the agent's is.
/// (`bpf_get_ns_current_pid_tgid` knows the innermost only.)
#[inline(always)]
pub fn task_exited(ctx: &BtfTracePointContext) -> Option<()> {
    let task: *const u8 = ctx.arg(0);
    let signal: *const u8 = read(task, &raw const TASK_SIGNAL)?;
    // The tracepoint's own `group_dead` is younger than the kernels we support.
    if read::<i32>(signal, &raw const SIGNAL_LIVE)? != 0 {
        return None;
    }
    let pid: *const u8 = read(signal.wrapping_add(TGID), &raw const SIGNAL_PIDS)?;
    let level: u32 = read(pid, &raw const PID_LEVEL)?;
    for depth in 0..=DEEPEST {
        if depth > level {
            break;
        }
        let upid = pid.wrapping_add(field(&raw const PID_NUMBERS) + depth as usize * UPID);
        let number: u32 = read(upid, &raw const UPID_NR)?;
        let namespace: *const u8 = read(upid, &raw const UPID_NS)?;
        let pidns: u32 = read(namespace, &raw const PIDNS_INUM)?;
        process_exited(pidns, number);
    }
    Some(())
}

/// The database of an instance was that process, or the agent: then the peers will be told.
#[inline(always)]
fn process_exited(pidns: u32, tgid: u32) {
    if tgid == 0 {
        return;
    }
    for instance in 0..MAX_INSTANCES as u32 {
        let Some(watch) = WATCHES.get(instance) else { continue };
        if watch.pidns != pidns {
            continue;
        }
        if watch.tgid == tgid {
            events::emit(EVENT_PROCESS_EXIT, instance, gate::now(), u64::from(tgid));
        }
        if watch.agent == tgid
            && let Some(offer) = SELF.get_ptr_mut(instance)
        {
            // SAFETY: the element is there while the program runs; a word is written at once.
            unsafe { (&raw mut (*offer).exited).write_volatile(1) };
        }
    }
}

/// A listener, or its absence.
#[derive(Default)]
pub struct Listener {
    /// There is one.
    pub present: bool,
    /// Connections that wait to be accepted, at most 65535.
    pub queue: u16,
    /// How many may wait, at most 65535.
    pub queue_limit: u16,
}

/// Who listens on a TCP port of our own address, in the network namespace of the interface?
#[inline(always)]
pub fn at<A: Address>(ctx: &impl Context, own: A, port: u16) -> Listener {
    /// `bpf_sock_tuple.ipv4` or `.ipv6`, which the kernel tells by the size, network order. Nobody connects from port 0, so that no connection
    /// is found in the listener's stead.
    #[repr(C)]
    struct Tuple<A> {
        source: A,
        destination: A,
        source_port: u16,
        destination_port: u16,
    }
    const THIS_NAMESPACE: u64 = -1i32 as u64;
    let mut tuple =
        Tuple { source: own, destination: own, source_port: 0, destination_port: port.to_be() };
    let mut found = Listener::default();
    // SAFETY: the context is the program's own and the tuple as long as is said; the socket is
    // ours until it is released.
    unsafe {
        let tuple: *mut bpf_sock_tuple = (&raw mut tuple).cast();
        let size = size_of::<Tuple<A>>() as u32;
        let sock = bpf_skc_lookup_tcp(ctx.as_ptr(), tuple, size, THIS_NAMESPACE, 0);
        if sock.is_null() {
            return found;
        }
        if (*sock).state == TCP_LISTEN as u32 {
            found.present = true;
            let whole: *const u8 = bpf_skc_to_tcp_sock(sock.cast()).cast();
            if !whole.is_null() {
                found.queue = saturated(read(whole, &raw const SOCK_QUEUE));
                found.queue_limit = saturated(read(whole, &raw const SOCK_QUEUE_LIMIT));
            }
        }
        bpf_sk_release(sock.cast());
    }
    found
}

#[inline(always)]
fn saturated(number: Option<u32>) -> u16 {
    match number {
        Some(number) if number > u32::from(u16::MAX) => u16::MAX,
        Some(number) => number as u16,
        None => 0,
    }
}

/// Wakes the agent for each instance whose watch matches.
#[inline(always)]
fn notify(kind: u32, detail: u64, matches: impl Fn(&Watch) -> bool) {
    for instance in 0..MAX_INSTANCES as u32 {
        if let Some(watch) = WATCHES.get(instance)
            && matches(watch)
        {
            events::emit(kind, instance, gate::now(), detail);
        }
    }
}

/// Reads a field of a kernel structure at an offset that the loader has written.
#[inline(always)]
fn read<T>(structure: *const u8, offset: *const u32) -> Option<T> {
    let field = structure.wrapping_add(field(offset));
    // SAFETY: the helper copes with any address.
    unsafe { bpf_probe_read_kernel(field.cast::<T>()).ok() }
}

#[inline(always)]
fn field(offset: *const u32) -> usize {
    // SAFETY: `offset` is one of the statics above; volatile, for the loader has written another
    // value than the compiler sees.
    unsafe { offset.read_volatile() as usize }
}
