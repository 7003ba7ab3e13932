//! The peers: as the running agent sees them, else whether their hosts answer at all.

use crate::{
    config::Instance,
    control::view::{InstanceView, PeerView},
    net::enquiry::Enquiry,
};

use super::Findings;

pub(super) async fn examine_peers(
    findings: &mut Findings,
    instance: &Instance,
    running: Option<&InstanceView>,
) {
    // A router without a database sends no probes, and as a backup nothing at all.
    match running.filter(|_| instance.database.server().is_some()) {
        Some(view) => view.peers.iter().for_each(|peer| seen(findings, instance, peer)),
        None => ask(findings, instance).await,
    }
}

/// In what the nodes contradict each other, as the running agent knows it.
pub(super) fn examine_contradictions(findings: &mut Findings, running: Option<&InstanceView>) {
    let Some(view) = running else { return };
    for differs in &view.contradictions {
        let text = format!("{} {}", differs.peer, differs.what);
        if differs.harmless { findings.warn(text) } else { findings.fail(text) }
    }
    let heard = || view.peers.iter().filter(|peer| peer.software.is_some());
    if heard().next().is_some() && view.contradictions.is_empty() {
        findings.ok("the peers agree with this node's configuration");
    }
    for peer in view.peers.iter().filter(|peer| peer.same_host) {
        findings.warn(format!(
            "{} runs on the same kernel as this node: when this host ends, both do",
            peer.name
        ));
    }
}

fn seen(findings: &mut Findings, instance: &Instance, peer: &PeerView) {
    let PeerView { name, evidence, .. } = peer;
    let port = instance.liveness.port;
    if peer.host != "alive" {
        return findings.fail(format!(
            "{name} answers no probe ({evidence}): is its data plane loaded, is UDP port {port} \
             open both ways, is the key the same? `ogha-agent status` counts what was refused"
        ));
    }
    if peer.agent != "alive" {
        return findings.fail(format!("{name}'s host answers, and its agent does not: {evidence}"));
    }
    let rtt = peer.rtt_us.map(|us| format!(", round trip {us} us")).unwrap_or_default();
    findings.ok(format!("{name} and its agent are alive{rtt}"));
    if instance.database.server().is_some() && !peer.in_sync {
        findings.warn(format!(
            "{name} is not counted in sync: it cannot be promoted without loss, and does not take \
             over by itself"
        ));
    }
}

/// Without an agent here there is no word of the other's agent.
async fn ask(findings: &mut Findings, instance: &Instance) {
    let peers = &instance.peers;
    let targets = peers.iter().flat_map(|peer| peer.addresses.iter().copied());
    let enquiry = Enquiry {
        targets: targets.collect(),
        interface: instance.interface.clone(),
        towards: Vec::new(),
        moving: instance.virtual_addresses.iter().map(|vip| vip.address).collect(),
    };
    let (targets, all) = (enquiry.targets.clone(), enquiry.targets.len());
    let asked = tokio::task::spawn_blocking(move || enquiry.ask(all)).await;
    let answers = match asked.map_err(anyhow::Error::from).flatten() {
        Ok(answers) => answers,
        Err(e) => return findings.fail(format!("cannot query the peers: {e:#}")),
    };
    for (target, answer) in targets.iter().zip(answers) {
        let peer = peers.iter().find(|peer| peer.addresses.contains(target));
        let name = peer.map_or("a peer", |peer| peer.name.as_str());
        match answer {
            Some(time) => findings.ok(format!(
                "the host of {name} ({target}) answers in {:.1} ms (its agent: see `ogha-agent status` \
                 when the agent here runs)",
                time.as_secs_f64() * 1000.0
            )),
            None => findings.fail(format!("the host of {name} does not answer at {target}")),
        }
    }
}
