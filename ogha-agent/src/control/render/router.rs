//! The page of an instance without a database: a role, a gate and addresses; there is no record.

use std::fmt;

use super::{arp, refused_adverts, table, tcp, wrapped};
use crate::control::view::{InstanceView, PeerView};

/// Whether the instance has no database.
pub fn is_router(instance: &InstanceView) -> bool {
    instance.database.kind == "none"
}

/// The page.
pub fn write(f: &mut fmt::Formatter<'_>, instance: &InstanceView) -> fmt::Result {
    let InstanceView { name, vrid, vrrp, phase, database, .. } = instance;
    writeln!(f, "instance {name} (virtual router {vrid}): {phase}, {vrrp}")?;
    writeln!(f, "  addresses  {}", instance.vips.join(", "))?;
    for fault in &instance.faults {
        writeln!(f, "{}", wrapped("  FAULT      ", fault))?;
    }
    if let Some(wait) = &instance.waits_for {
        writeln!(f, "{}", wrapped("  WAITS FOR  ", wait))?;
    }
    match instance.lease_ms {
        0 => writeln!(f, "  gate       {}", instance.gate)?,
        lease => writeln!(f, "  gate       {}, lease {lease} ms", instance.gate)?,
    }
    writeln!(f, "  hook       {}", instance.hook)?;
    if !database.state.is_empty() {
        let listening = if database.listening { "listening" } else { "not listening" };
        writeln!(f, "  service    {}, {listening}", database.state)?;
        writeln!(f, "  tcp        {}", tcp(&instance.counters))?;
    }
    writeln!(f, "  arp        {}", arp(&instance.arp))?;
    let adverts = &instance.adverts;
    writeln!(f, "  adverts    heard {}, refused: {}", adverts.accepted, refused_adverts(adverts))?;
    writeln!(f, "  failovers  {}", instance.failovers)?;
    if instance.peers.is_empty() {
        return Ok(());
    }
    writeln!(f)?;
    let header = ["PEER", "PHASE", "ADVERTS"].map(str::to_owned);
    let row = |peer: &PeerView| [peer.name.clone(), peer.phase.clone(), peer.evidence.clone()];
    table(f, &header, &instance.peers.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::view::{DatabaseView, PeerView, Status};

    #[test]
    fn a_router_has_a_page_without_a_record() {
        let peer = PeerView {
            name: "web1".into(),
            phase: "active".into(),
            evidence: "priority 150, heard 0.1 s ago".into(),
            ..PeerView::default()
        };
        let router = InstanceView {
            name: "WEB".into(),
            vrid: 60,
            vrrp: "backup".into(),
            phase: "backup".into(),
            gate: "closed".into(),
            hook: "tcx".into(),
            vips: vec!["10.0.0.9/24".into()],
            waits_for: Some("the kernel to set the gate: no map".into()),
            database: DatabaseView {
                kind: "none".into(),
                state: "port 80".into(),
                listening: true,
                ..DatabaseView::default()
            },
            peers: vec![peer],
            ..InstanceView::default()
        };
        let page = |router| {
            Status { node: "web2".into(), instances: vec![router], ..Status::default() }.to_string()
        };
        assert_eq!(
            page(router.clone()),
            "\
node web2

instance WEB (virtual router 60): backup, backup
  addresses  10.0.0.9/24
  WAITS FOR  the kernel to set the gate: no map
  gate       closed
  hook       tcx
  service    port 80, listening
  tcp        SYN in 0, SYN-ACK out 0, RST in 0, RST out 0
  arp        answered 0, dropped 0, conflicts 0, defended 0, suppressed 0
  adverts    heard 0, refused: none
  failovers  0

  PEER  PHASE   ADVERTS
  web1  active  priority 150, heard 0.1 s ago
"
        );
        let database = DatabaseView { state: String::new(), ..router.database.clone() };
        let plain = InstanceView { database, lease_ms: 290, peers: Vec::new(), ..router };
        let page = page(plain);
        assert!(page.contains("closed, lease 290 ms") && !page.contains("service"), "{page}");
    }
}
