//! From the object file to attached programs and pinned maps.

use std::{io, path::Path};

use anyhow::Context as _;
use aya::{
    Btf, Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{MapError, MapInfo, MapType},
    programs::{BtfTracePoint, SchedClassifier},
    sys::SyscallError,
};
use ogha_common::maps::{
    ArpCounters, Defence, EVENTS_BYTES, Endpoint, Gate, Granters, Lease, MAX_ENDPOINTS,
    MAX_INSTANCES, MAX_INTERFACES, MAX_PEERS, MAX_VIPS, Offer, Peer, PeerKey, PortCounters,
    ProbeCounters, VIP_SLOTS, Vip, VipKey, VipSlot, Watch, mac_number, name,
};

use super::{
    attach::{Hook, Ingress, Place},
    btf::Types,
    links,
};

/// The programs, built by `build.rs`.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ogha"));

/// The programs' constants, and the fields of the kernel whose offsets they are.
const OFFSETS: [(&str, &str, &str); 8] = [
    ("SOCK_PROTOCOL", "sock", "sk_protocol"),
    ("SOCK_PORT", "sock", "__sk_common.skc_num"),
    ("SOCK_NET", "sock", "__sk_common.skc_net.net"),
    ("SOCK_QUEUE", "sock", "sk_ack_backlog"),
    ("SOCK_QUEUE_LIMIT", "sock", "sk_max_ack_backlog"),
    ("NET_INUM", "net", "ns.inum"),
    ("TASK_SIGNAL", "task_struct", "signal"),
    ("SIGNAL_LIVE", "signal_struct", "live.counter"),
];

/// What a pinned map must look like to be taken over.
struct Layout {
    name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    entries: usize,
}

const fn layout(
    name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    entries: usize,
) -> Layout {
    Layout { name, kind, key, value, entries }
}

const LAYOUTS: [Layout; name::ALL.len()] = [
    layout(name::VIPS, MapType::Hash, size_of::<VipKey>(), size_of::<Vip>(), MAX_VIPS),
    layout(name::VIP_SLOTS, MapType::Array, 4, size_of::<VipSlot>(), VIP_SLOTS),
    layout(name::GATES, MapType::Array, 4, size_of::<Gate>(), MAX_INSTANCES),
    layout(name::PORTS, MapType::Hash, 4, 4, MAX_INSTANCES),
    layout(name::PORT_COUNTERS, MapType::PerCpuArray, 4, size_of::<PortCounters>(), MAX_INSTANCES),
    layout(name::ARP_COUNTERS, MapType::PerCpuArray, 4, size_of::<ArpCounters>(), MAX_INSTANCES),
    layout(name::DEFENCES, MapType::Array, 4, size_of::<Defence>(), MAX_INSTANCES),
    layout(name::WATCHES, MapType::Array, 4, size_of::<Watch>(), MAX_INSTANCES),
    layout(name::ENDPOINTS, MapType::Hash, size_of::<Endpoint>(), 4, MAX_ENDPOINTS),
    layout(name::SELF, MapType::Array, 4, size_of::<Offer>(), MAX_INSTANCES),
    layout(name::PEERS, MapType::Hash, size_of::<PeerKey>(), size_of::<Peer>(), MAX_PEERS),
    layout(name::GRANTERS, MapType::Array, 4, size_of::<Granters>(), MAX_INSTANCES),
    layout(name::LEASES, MapType::Array, 4, size_of::<Lease>(), MAX_INSTANCES),
    layout(
        name::PROBE_COUNTERS,
        MapType::PerCpuArray,
        4,
        size_of::<ProbeCounters>(),
        MAX_INSTANCES,
    ),
    layout(name::EVENTS, MapType::RingBuf, 0, 0, EVENTS_BYTES),
];

/// What is pinned in a `bpf_dir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// No map of ours.
    Nothing,
    /// All maps, as this version makes them.
    Ours,
    /// Some are missing or differ: another version made them, or a start was cut short.
    Other,
}

/// Looks at the pinned maps.
pub fn pinned(bpf_dir: &Path) -> anyhow::Result<Pinned> {
    let (mut fitting, mut missing) = (0, 0);
    for layout in &LAYOUTS {
        let path = bpf_dir.join(layout.name);
        match MapInfo::from_pin(&path) {
            Ok(info) => fitting += usize::from(fits(layout, &info)),
            Err(MapError::SyscallError(SyscallError { io_error, .. }))
                if io_error.kind() == io::ErrorKind::NotFound =>
            {
                missing += 1;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("opening {}", path.display()));
            }
        }
    }
    Ok(match (fitting, missing) {
        (n, _) if n == LAYOUTS.len() => Pinned::Ours,
        (_, n) if n == LAYOUTS.len() => Pinned::Nothing,
        _ => Pinned::Other,
    })
}

fn fits(layout: &Layout, info: &MapInfo) -> bool {
    info.map_type().is_ok_and(|kind| kind == layout.kind)
        && info.key_size() as usize == layout.key
        && info.value_size() as usize == layout.value
        && info.max_entries() as usize == layout.entries
}

/// Where what comes in is seen, by the interface's name.
pub type Hooks = Vec<(String, Hook)>;

/// Loads the programs on the maps in `bpf_dir` (those that are missing are made) and attaches
/// them, or replaces those that are attached.
pub fn load(bpf_dir: &Path, places: &[Place], types: &Types) -> anyhow::Result<(Ebpf, Hooks)> {
    let mut own_macs = [0; MAX_INTERFACES];
    for (own, place) in own_macs.iter_mut().zip(places) {
        *own = mac_number(place.interface.mac);
    }
    let offsets = OFFSETS
        .iter()
        .map(|(constant, structure, path)| Ok((*constant, types.offset(structure, path)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;

    let mut loader = EbpfLoader::new();
    loader.override_global("OWN_MACS", &own_macs, true);
    for (constant, offset) in &offsets {
        loader.override_global(constant, offset, true);
    }
    for map in name::ALL {
        loader.map_pin_path(map, bpf_dir.join(map));
    }
    let mut ebpf = loader.load(OBJECT).context("making the maps of the data plane")?;
    let hooks = attach(&mut ebpf, &bpf_dir.join(links::DIRECTORY), places)?;
    Ok((ebpf, hooks))
}

fn attach(ebpf: &mut Ebpf, directory: &Path, places: &[Place]) -> anyhow::Result<Hooks> {
    let btf = Btf::from_sys_fs().context("reading the kernel's type information")?;
    for (name, tracepoint, pin) in [
        ("ogha_listener", "inet_sock_set_state", links::TRACEPOINTS[0]),
        ("ogha_exit", "sched_process_exit", links::TRACEPOINTS[1]),
    ] {
        let program: &mut BtfTracePoint = program(ebpf, name)?;
        program.load(tracepoint, &btf).with_context(|| format!("loading {tracepoint}"))?;
        links::tracepoint(program, directory, pin)?;
    }
    // What leaves first: a gate that is not open then stops the host before it hears anything.
    let program: &mut SchedClassifier = program(ebpf, "ogha_egress")?;
    program.load().context("loading the TCX program")?;
    for place in places {
        links::egress(program, directory, &place.interface)?;
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

/// The program of that name.
pub fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program =
        ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    program.try_into().with_context(|| format!("{name} is of another kind"))
}
