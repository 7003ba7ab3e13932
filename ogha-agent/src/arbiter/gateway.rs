//! The arbiter `gateway`: a node that reaches more than half of some addresses may go on.
//!
//! It distinguishes a node that is partitioned from everyone from one whose peer is gone. It cannot detect a
//! partition between two nodes that both still reach the addresses.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use ogha_common::failover::{Record, Ruling};
use tracing::warn;

use super::{Answers, Arbiter};
use crate::{
    config,
    net::enquiry::{self, Enquiry},
};

/// Some addresses to ask.
#[derive(Clone, Debug)]
pub struct Gateway {
    enquiry: Enquiry,
}

impl Gateway {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// When one of the addresses is this host's.
    pub fn open(addresses: &[IpAddr], instance: &config::Instance) -> anyhow::Result<Self> {
        let enquiry = Enquiry {
            targets: addresses.to_vec(),
            interface: instance.interface.clone(),
            towards: instance.peers.iter().flat_map(|peer| peer.addresses.clone()).collect(),
            moving: instance.virtual_addresses.iter().map(|vip| vip.address).collect(),
        };
        if let Some(own) = enquiry.own()? {
            bail!(
                "instance.arbiter.addresses: {own} is this host's own; name what answers whoever \
                 of the nodes is dead"
            );
        }
        Ok(Self { enquiry })
    }

    /// Asks in a thread that may wait.
    async fn ask(&self, enough: usize) -> anyhow::Result<Vec<Option<Duration>>> {
        let enquiry = self.enquiry.clone();
        let asked = tokio::task::spawn_blocking(move || enquiry.ask(enough));
        asked.await.context("the enquiry was aborted")?
    }

    /// More than half.
    const fn enough(&self) -> usize {
        self.enquiry.targets.len() / 2 + 1
    }
}

impl Arbiter for Gateway {
    fn kind(&self) -> &'static str {
        "gateway"
    }

    fn consult(&self) -> BoxFuture<'_, anyhow::Result<Option<Record>>> {
        ready(Ok(None)).boxed()
    }

    fn propose(&self, record: Record) -> BoxFuture<'_, Ruling> {
        let term = record.term;
        let propose = async move {
            let enough = self.enough();
            let answered = self.ask(enough).await.unwrap_or_else(|reason| {
                warn!("cannot query any gateway: {reason:#}");
                Vec::new()
            });
            let count = answered.iter().flatten().count();
            if count >= enough {
                return Ruling::Granted(term);
            }
            let all = self.enquiry.targets.len();
            warn!("term {term} refused: {count} of {all} gateways answered, {enough} are required");
            Ruling::Refused { term, record: None }
        };
        propose.boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Answers> {
        let targets = &self.enquiry.targets;
        let probe = async move {
            let answered = self.ask(targets.len()).await;
            let answer = |(at, target): (usize, &IpAddr)| {
                let took = match &answered {
                    Ok(all) => all[at].with_context(|| {
                        format!("no answer to ARP or ICMP within {:?}", enquiry::LIMIT)
                    }),
                    Err(reason) => Err(anyhow!("{reason:#}")),
                };
                (target.to_string(), took)
            };
            targets.iter().enumerate().map(answer).collect()
        };
        probe.boxed()
    }
}
