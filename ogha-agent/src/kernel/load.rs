//! From the object file to attached programs and pinned maps.

use std::{path::Path, sync::OnceLock};

use anyhow::Context as _;
use aya::{
    Btf, Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{BtfTracePoint, SchedClassifier, Xdp},
};
use ogha_common::maps::{MAX_INTERFACES, mac_number, name};

use super::{
    attach::Ingress,
    btf::Types,
    layout::{self, Next},
    links, log,
    place::{Hooks, Place, program},
};

/// The programs, built by `build.rs`.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ogha"));

/// Programs, the tracepoints that they see, and their pins.
const TRACEPOINTS: [(&str, &str, &str); 2] = [
    ("ogha_listener", "inet_sock_set_state", links::TRACEPOINTS[0]),
    ("ogha_exit", "sched_process_exit", links::TRACEPOINTS[1]),
];

/// The programs' constants, and the fields of the kernel whose offsets they are.
const OFFSETS: [(&str, &str, &str); 14] = [
    ("SOCK_PROTOCOL", "sock", "sk_protocol"),
    ("SOCK_PORT", "sock", "__sk_common.skc_num"),
    ("SOCK_NET", "sock", "__sk_common.skc_net.net"),
    ("SOCK_QUEUE", "sock", "sk_ack_backlog"),
    ("SOCK_QUEUE_LIMIT", "sock", "sk_max_ack_backlog"),
    ("NET_INUM", "net", "ns.inum"),
    ("TASK_SIGNAL", "task_struct", "signal"),
    ("SIGNAL_LIVE", "signal_struct", "live.counter"),
    ("SIGNAL_PIDS", "signal_struct", "pids"),
    ("PID_LEVEL", "pid", "level"),
    ("PID_NUMBERS", "pid", "numbers"),
    ("UPID_NR", "upid", "nr"),
    ("UPID_NS", "upid", "ns"),
    ("PIDNS_INUM", "pid_namespace", "ns.inum"),
];

/// Which build this is.
pub fn build() -> u64 {
    static BUILD: OnceLock<u64> = OnceLock::new();
    *BUILD.get_or_init(|| layout::build_of(OBJECT))
}

/// Makes the maps that are missing, and gives the programs to the kernel. `logged`: they shall write
/// their log.
pub fn load(next: &Next, places: &[Place], types: &Types, logged: bool) -> anyhow::Result<Ebpf> {
    let mut own_macs = [0; MAX_INTERFACES];
    for (own, place) in own_macs.iter_mut().zip(places) {
        *own = mac_number(place.interface.mac);
    }
    let offsets = OFFSETS
        .iter()
        .map(|(constant, structure, path)| Ok((*constant, types.offset(structure, path)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;

    let mut loader = EbpfLoader::new();
    let logged = u8::from(logged);
    loader.override_global("OWN_MACS", &own_macs, true).override_global("LOG", &logged, true);
    if logged == 0 {
        // The kernel gives it a page, the least that it can.
        loader.map_max_entries(log::MAP, 1);
    }
    for (constant, offset) in &offsets {
        loader.override_global(constant, offset, true);
    }
    let mut ebpf = make_maps(loader, next)?;
    let btf = Btf::from_sys_fs().context("reading the kernel's type information")?;
    for (name, tracepoint, _) in TRACEPOINTS {
        let program: &mut BtfTracePoint = program(&mut ebpf, name)?;
        program.load(tracepoint, &btf).with_context(|| format!("loading {tracepoint}"))?;
    }
    let egress: &mut SchedClassifier = program(&mut ebpf, "ogha_egress")?;
    egress.load().context("loading the TCX program")?;
    let xdp: &mut Xdp = program(&mut ebpf, "ogha_xdp")?;
    xdp.load().context("loading the XDP program")?;
    Ok(ebpf)
}

/// Makes the maps only: what becomes of the programs does not matter.
pub fn maps(next: &Next) -> anyhow::Result<()> {
    make_maps(EbpfLoader::new(), next).map(drop)
}

fn make_maps(mut loader: EbpfLoader<'_>, next: &Next) -> anyhow::Result<Ebpf> {
    for map in name::ALL {
        loader.map_pin_path(map, next.path(map));
    }
    loader.load(OBJECT).context("making the maps of the data plane")
}

/// Attaches the programs, or replaces those that are attached: one after the other, in less than
/// a millisecond where nothing has to be proved.
pub fn attach(ebpf: &mut Ebpf, directory: &Path, places: &[Place]) -> anyhow::Result<Hooks> {
    for (name, _, pin) in TRACEPOINTS {
        links::tracepoint(program(ebpf, name)?, directory, pin)?;
    }
    // What leaves first: a gate that is not open then stops the host before it hears anything.
    for place in places {
        links::egress(program(ebpf, "ogha_egress")?, directory, &place.interface)?;
    }
    let mut ingress = Ingress::new(ebpf, directory)?;
    let mut hooks = Vec::new();
    for place in places {
        hooks.push((place.interface.name.clone(), ingress.attach(place)?));
    }
    let interfaces: Vec<_> = places.iter().map(|place| place.interface.clone()).collect();
    links::drop_stale(directory, &interfaces)?;
    Ok(hooks)
}
