//! `[[instance]]` and `[[instance.peer]]`

use ogha_common::{
    maps::{MAX_INSTANCES, MAX_VIPS},
    units::{Priority, Vrid},
};
use toml::de::DeValue;

use super::{
    addresses, arbiter,
    claims::Claims,
    database, liveness, policy,
    reader::{Read, Reader},
    types::{Database, Instance, Node, Transport, Xdp},
    value, vrrp,
};

pub(super) fn read_all(
    root: &Reader<'_>,
    node: Option<&Node>,
    claims: &mut Claims,
) -> Read<Vec<Instance>> {
    let tables = root.tables("instance")?;
    if tables.is_empty() {
        root.problem("instance", "is missing; add at least one table [[instance]]");
    }
    for table in tables.iter().skip(MAX_INSTANCES).take(1) {
        let what =
            format!("there are {} instances, more than {MAX_INSTANCES}; remove some", tables.len());
        table.problem("name", what);
    }
    let read: Vec<_> = tables.iter().map(|table| read(table, node, claims)).collect();
    let instances: Vec<_> = read.into_iter().collect::<Read<_>>()?;
    too_many_addresses(root, &instances);
    for (table, instance) in tables.iter().zip(&instances) {
        let same = |other: &&Instance| other.interface == instance.interface;
        let first = instances.iter().find(same).map_or(instance.xdp, |first| first.xdp);
        if instance.xdp != first {
            let what = format!("differs from that of another instance on {}", instance.interface);
            table.problem("xdp", format!("{what}; an interface has one XDP program"));
        }
    }
    Some(instances)
}

fn read(table: &Reader<'_>, node: Option<&Node>, claims: &mut Claims) -> Read<Instance> {
    let name = table.required("name", "\"VI_1\"", value::name);
    let interface = table.required("interface", "\"eth0\"", value::interface);
    let words = [("auto", Xdp::Auto), ("native", Xdp::Native), ("generic", Xdp::Generic)];
    let xdp = table.or("xdp", Xdp::Auto, |value| value::word(value, &words));
    let vrid = table.required("virtual_router_id", "59", vrid);
    let priority = table.or("priority", Priority::DEFAULT, priority);
    let address = table.maybe("address", value::own_address);
    let virtual_addresses = addresses::virtual_addresses(table, claims);
    let vrrp = table.table("vrrp").and_then(|table| vrrp::read(&table));
    let peers = addresses::peers(table, node, claims);
    let liveness = table.table("liveness").and_then(|table| liveness::read(&table));
    let database = database::read(table);
    let failover = table.table("failover").and_then(|table| policy::failover(&table));
    let guards_data = !matches!(database, Some(Database::None { .. }));
    let arbiter = arbiter::read(table, guards_data);
    let hooks = table.table("hooks").and_then(|table| policy::hooks(&table));
    table.finish();

    if let Some(name) = &name {
        claims.take(table, "name", table.at("name"), format!("the name {name:?}"));
    }
    if let (Some(vrid), Some(interface)) = (vrid, &interface) {
        let thing = format!("virtual router {vrid} on {interface}");
        claims.take(table, "virtual_router_id", table.at("virtual_router_id"), thing);
    }
    if let Some(port) = database.as_ref().and_then(Database::port) {
        let database = table.table("database")?;
        claims.take(&database, "port", database.at("port"), format!("port {port}"));
    }
    let unicast = vrrp.as_ref().is_some_and(|vrrp| vrrp.transport == Transport::Unicast);
    if unicast && peers.as_ref().is_some_and(Vec::is_empty) {
        let what = "is missing; unicast adverts need somebody to hear them: add a table \
                    [[instance.peer]], or set transport = \"multicast\"";
        table.problem("peer", what);
    }
    let instance = Instance {
        name: name?,
        interface: interface?,
        xdp: xdp?,
        address: address?,
        vrid: vrid?,
        priority: priority?,
        virtual_addresses: virtual_addresses?,
        vrrp: vrrp?,
        peers: peers?,
        liveness: liveness?,
        database: database?,
        failover: failover?,
        arbiter: arbiter?,
        hooks: hooks?,
    };
    addresses::one_family(table, &instance);
    arbiter::is_elsewhere(table, &instance);
    Some(instance)
}

fn vrid(value: &DeValue<'_>) -> Result<Vrid, String> {
    let id = value::integer(value, 1..=u8::MAX, "59")?;
    Vrid::new(id).ok_or_else(|| "0 is out of range; choose 1 to 255".to_owned())
}

/// 0 releases the role and 255 owns the address (RFC 9568 section 5.2.4): neither is a choice.
fn priority(value: &DeValue<'_>) -> Result<Priority, String> {
    value::integer(value, 1..=Priority::HIGHEST.get(), "100").map(Priority::new)
}

fn too_many_addresses(root: &Reader<'_>, instances: &[Instance]) {
    let count: usize = instances.iter().map(|instance| instance.virtual_addresses.len()).sum();
    if count > MAX_VIPS {
        let what = format!(
            "there are {count} virtual addresses in all, more than {MAX_VIPS}; remove some"
        );
        root.problem("instance", what);
    }
}
