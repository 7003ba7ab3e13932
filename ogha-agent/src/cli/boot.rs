//! What a boot has not brought yet when the agent starts, and time will: an interface, its address.

use std::{net::UdpSocket, time::Duration};

use anyhow::Context as _;
use tokio::{
    runtime,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::Failure;
use crate::{
    config::{Config, Instance},
    net::interface::Interface,
    service::Service,
};

/// How long it is waited for. Whoever started the agent starts it again then.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// Waits until each instance's interface is there and has this node's own address.
///
/// # Errors
/// What is still missing after a minute, with code 1: a later start may find it.
pub(super) fn wait_for_network(config: &Config) -> Result<(), Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime to wait for the network")?;
    runtime.block_on(async {
        for instance in &config.instances {
            wait_for(instance).await?;
        }
        Ok(())
    })
}

async fn wait_for(instance: &Instance) -> Result<(), Failure> {
    let (begun, mut told) = (Instant::now(), String::new());
    loop {
        let Err(error) = network_of(instance).await else {
            if !told.is_empty() {
                info!(instance = instance.name, "{} is ready", instance.interface);
            }
            return Ok(());
        };
        let missing = format!("{error:#}");
        if begun.elapsed() >= PATIENCE {
            let given_up = format!("gave up after {PATIENCE:?} (instance {})", instance.name);
            return Err(Failure::failed(error.context(given_up)));
        }
        if missing != told {
            warn!(instance = instance.name, "waiting for the network: {missing}");
            Service::of_environment().status(&format!("waiting for the network: {missing}"));
            told = missing;
        }
        sleep(POLL).await;
    }
}

async fn network_of(instance: &Instance) -> anyhow::Result<()> {
    let interface = Interface::find(&instance.interface)?;
    let virtual_addresses: Vec<_> =
        instance.virtual_addresses.iter().map(|virtual_address| virtual_address.address).collect();
    let own =
        interface.own_address(instance.family(), instance.address, &virtual_addresses).await?;
    // An IPv6 address cannot be used while the kernel looks for duplicates.
    if !own.is_multicast() && !is_link_local(own) {
        UdpSocket::bind((own, 0)).with_context(|| format!("{own} cannot be used yet"))?;
    }
    Ok(())
}

/// Such an address cannot be bound without its interface.
fn is_link_local(address: std::net::IpAddr) -> bool {
    matches!(address, std::net::IpAddr::V6(address) if address.is_unicast_link_local())
}
