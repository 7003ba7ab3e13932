//! The arbiter `etcd`: the cluster's record under one key, changed by compare-and-swap.
//!
//! A proposal is one transaction: "write this if the key's last change is the one that I know, else
//! tell me what stands there". It happens once at most, however often and on however many members
//! it is tried, so the members are asked in parallel where one is slow. Nothing in etcd runs out by
//! itself: while the nodes see each other, an etcd that is away harms nobody.

mod credentials;
mod member;
mod value;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, anyhow, bail};
use futures_util::{
    future::{BoxFuture, FutureExt as _, join_all},
    stream::{FuturesUnordered, StreamExt as _},
};
use ogha_common::{
    failover::{Record, Ruling},
    units::{Term, Vrid},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{error, info, warn};

pub use self::credentials::{Credentials, Flaw};
use self::member::{Member, Seen};
use super::{Answers, Arbiter, LIMIT, Names};
use crate::config;

/// How long the member that answered last is waited for before the others are asked too. A LAN and a
/// flushed write take a few milliseconds.
const HEDGE: Duration = Duration::from_millis(50);
/// How long before those that have not answered are asked once more: the first time over new
/// connections, for the old ones may be dead without having been told.
const AGAIN: Duration = Duration::from_millis(200);
/// The pause after all have failed.
const PAUSE: Duration = Duration::from_millis(50);
/// How often each member is asked while nothing happens, and how long it has: so that a connection is
/// up when it counts, and one that is dead is found before.
const WARM: Duration = Duration::from_secs(1);
const WARM_LIMIT: Duration = Duration::from_millis(800);

/// Where the record of an instance stands.
#[must_use]
pub fn key(prefix: &str, instance: &str, vrid: Vrid) -> String {
    format!("{prefix}{instance}-{vrid}")
}

/// An etcd with the record of one instance.
pub struct Etcd {
    shared: Arc<Shared>,
    warmer: JoinHandle<()>,
}

struct Shared {
    key: String,
    names: Names,
    members: Vec<Member>,
    /// The member that answered last.
    preferred: AtomicUsize,
    /// What was seen last; a guess that saves a round trip, and is checked by each transaction.
    last: Mutex<Option<Standing>>,
    /// The highest term that was seen there or proposed; `None`: none yet.
    known: Mutex<Option<Term>>,
    /// The clusters that have answered. Once there are two, none is asked to decide.
    clusters: Mutex<Clusters>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clusters {
    None,
    One(u64),
    Two(u64, u64),
}

/// What stands under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    /// The key's last change; 0 where there is no key.
    revision: i64,
    record: Option<Record>,
}

impl Standing {
    /// Whether the record may follow. Where none stands, any may: a cluster's first, or that of one
    /// whose key an operator deleted.
    fn may_become(&self, record: &Record) -> bool {
        self.record.is_none_or(|stands| stands.term.next() == record.term)
    }
}

impl Etcd {
    /// Reads the files and prepares the connections. The members need not be there.
    ///
    /// # Errors
    /// When a file is missing or bad: with its key.
    pub fn open(config: &config::Etcd, key: String, names: Names) -> anyhow::Result<Self> {
        let credentials = Credentials::load(config)
            .map_err(|flaw| anyhow!("instance.{}: {}", flaw.key, flaw.what))?;
        let member = |endpoint: &String| Member::new(endpoint, &credentials);
        let shared = Arc::new(Shared {
            key,
            names,
            members: config.endpoints.iter().map(member).collect(),
            preferred: AtomicUsize::new(0),
            last: Mutex::new(None),
            known: Mutex::new(None),
            clusters: Mutex::new(Clusters::None),
        });
        // Certificates are parsed here, and nothing is sent.
        shared.members[0]
            .prepare()
            .now_or_never()
            .transpose()
            .context("instance.arbiter: the files of TLS do not fit each other")?;
        let warmer = tokio::spawn(keep_warm(Arc::clone(&shared)));
        Ok(Self { shared, warmer })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.warmer.abort();
    }
}

impl Arbiter for Etcd {
    fn kind(&self) -> &'static str {
        "etcd"
    }

    fn consult(&self) -> BoxFuture<'_, anyhow::Result<Option<Record>>> {
        let shared = &self.shared;
        let consult = async move {
            let seen = shared.read(Instant::now() + LIMIT).await.context("consulting etcd")?;
            Ok(shared.understand(&seen)?.record)
        };
        consult.boxed()
    }

    fn propose(&self, record: Record) -> BoxFuture<'_, Ruling> {
        let shared = &self.shared;
        let propose = async move {
            shared.propose(record, Instant::now() + LIMIT).await.unwrap_or_else(|reason| {
                warn!("etcd has not ruled on term {}: {reason:#}", record.term);
                Ruling::Unknown(record.term)
            })
        };
        propose.boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Answers> {
        let shared = &self.shared;
        let probe = async move |member: &Member| {
            let begin = Instant::now();
            let read = timeout(LIMIT, member.read(&shared.key)).await.context("no answer");
            let seen = read.flatten().and_then(|seen| shared.of_one_cluster(seen));
            let answer = seen.and_then(|seen| shared.understand(&seen));
            (member.endpoint.clone(), answer.map(|_| begin.elapsed()))
        };
        async move { join_all(shared.members.iter().map(probe)).await }.boxed()
    }
}

impl Shared {
    async fn propose(&self, record: Record, end: Instant) -> anyhow::Result<Ruling> {
        let line = value::encode(&record, &self.names, SystemTime::now())?;
        self.know(record.term);
        let mut standing = *self.lock_last();
        loop {
            let seen = match standing {
                Some(known) if known.may_become(&record) => {
                    let write = |member| self.write(member, known.revision, &line).boxed();
                    self.ask(end, write).await?
                }
                _ => self.read(end).await?,
            };
            if seen.written {
                *self.lock_last() =
                    Some(Standing { revision: seen.revision, record: Some(record) });
                return Ok(Ruling::Granted(record.term));
            }
            let now = self.understand(&seen)?;
            if now.record == Some(record) {
                return Ok(Ruling::Granted(record.term));
            }
            if !now.may_become(&record) {
                return Ok(Ruling::Refused { term: record.term, record: now.record });
            }
            standing = Some(now);
        }
    }

    async fn read(&self, end: Instant) -> anyhow::Result<Seen> {
        self.ask(end, |member| member.read(&self.key).boxed()).await
    }

    /// Only where it is known that the member is of the one cluster: a write to another cannot be
    /// taken back.
    async fn write(&self, member: &Member, revision: i64, line: &str) -> anyhow::Result<Seen> {
        if !member.has_answered() {
            self.of_one_cluster(member.read(&self.key).await?)?;
        }
        member.write(&self.key, revision, line.to_owned()).await
    }

    /// What a member has seen, and a note of it.
    fn understand(&self, seen: &Seen) -> anyhow::Result<Standing> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let decode = |value| value::decode(value, known);
        let record = seen.value.as_deref().map(decode).transpose();
        let record = record.with_context(|| format!("the key {}", self.key))?;
        if let Some(record) = record {
            self.know(record.term);
        }
        let standing = Standing { revision: seen.revision, record };
        *self.lock_last() = Some(standing);
        Ok(standing)
    }

    /// From here on what is there is measured by this term.
    fn know(&self, term: Term) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = (*known).max(Some(term));
    }

    /// Asks the member that answered last; the others too, when it does not answer soon; and again
    /// those that do not answer, until `end`. The first answer counts.
    async fn ask<'a>(
        &'a self,
        end: Instant,
        question: impl Fn(&'a Member) -> BoxFuture<'a, anyhow::Result<Seen>>,
    ) -> anyhow::Result<Seen> {
        self.is_one_cluster()?;
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut reasons = vec![String::from("no answer"); self.members.len()];
        let mut asked = FuturesUnordered::<BoxFuture<'a, (usize, anyhow::Result<Seen>)>>::new();
        let mut next = Instant::now();
        let mut waves = 0_u32;
        loop {
            tokio::select! {
                biased;
                Some((at, answer)) = asked.next() => {
                    match answer.and_then(|seen| self.of_one_cluster(seen)) {
                        Ok(seen) => {
                            self.preferred.store(at, Ordering::Relaxed);
                            return Ok(seen);
                        }
                        Err(reason) => reasons[at] = format!("{reason:#}"),
                    }
                    if asked.is_empty() {
                        let pause = if waves == 1 { Duration::ZERO } else { PAUSE };
                        next = next.min(Instant::now() + pause);
                    }
                }
                () = sleep_until(next.min(end)) => {
                    if Instant::now() >= end {
                        bail!("{}", self.all(&reasons));
                    }
                    for (at, member) in self.members.iter().enumerate() {
                        let wanted = match waves {
                            0 => at == preferred,
                            1 => at != preferred,
                            _ => true,
                        };
                        if wanted {
                            if waves == 2 {
                                member.renew().await;
                            }
                            let answer = question(member);
                            asked.push(answer.map(move |answer| (at, answer)).boxed());
                        }
                    }
                    next = Instant::now() + if waves == 0 { HEDGE } else { AGAIN };
                    waves += 1;
                }
            }
        }
    }

    /// Notes whose answer it is. Two clusters would each grant what it is asked.
    fn of_one_cluster(&self, seen: Seen) -> anyhow::Result<Seen> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        *clusters = match *clusters {
            Clusters::None => Clusters::One(seen.cluster),
            Clusters::One(first) if first != seen.cluster => Clusters::Two(first, seen.cluster),
            known => known,
        };
        drop(clusters);
        self.is_one_cluster().map(|()| seen)
    }

    fn is_one_cluster(&self) -> anyhow::Result<()> {
        let clusters = *self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Clusters::Two(first, other) = clusters {
            bail!(
                "the endpoints answered for two etcd clusters, {first:x} and {other:x}, and nothing \
                 is decided by either; name the members of one, or restart the agent if it was \
                 made anew"
            );
        }
        Ok(())
    }

    fn all(&self, reasons: &[String]) -> String {
        let each = self.members.iter().zip(reasons);
        let reasons: Vec<_> = each.map(|(m, reason)| format!("{}: {reason}", m.endpoint)).collect();
        reasons.join("; ")
    }

    fn lock_last(&self) -> std::sync::MutexGuard<'_, Option<Standing>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the key at each member, once a second, and tells when a member goes or comes back.
async fn keep_warm(shared: Arc<Shared>) {
    let mut there: Vec<Option<bool>> = vec![None; shared.members.len()];
    loop {
        let read = async |member: &Member| {
            let read = timeout(WARM_LIMIT, member.read(&shared.key)).await;
            let slow = || format!("no answer in {WARM_LIMIT:?}");
            let seen = read.with_context(slow).flatten();
            seen.and_then(|seen| shared.of_one_cluster(seen))
        };
        let answers = join_all(shared.members.iter().map(read)).await;
        for (at, (member, answer)) in shared.members.iter().zip(&answers).enumerate() {
            let is_there = answer.is_ok();
            if !is_there {
                member.renew().await;
            }
            let was = there[at].replace(is_there);
            match answer {
                Ok(seen) if was != Some(true) => {
                    info!("etcd answers at {}", member.endpoint);
                    if let Err(reason) = shared.understand(seen) {
                        error!("cannot change the cluster record: {reason:#}");
                    }
                }
                Err(reason) if was != Some(false) => {
                    warn!("etcd does not answer at {}: {reason:#}", member.endpoint);
                }
                _ => {}
            }
        }
        let preferred = shared.preferred.load(Ordering::Relaxed);
        let answering = answers.iter().position(Result::is_ok);
        if let Some(answering) = answering.filter(|_| answers[preferred].is_err()) {
            shared.preferred.store(answering, Ordering::Relaxed);
        }
        if let Some(seen) = answers.into_iter().flatten().next() {
            // What is wrong with it was said when it was first seen, and is when it matters.
            let _ = shared.understand(&seen);
        }
        sleep(WARM).await;
    }
}
