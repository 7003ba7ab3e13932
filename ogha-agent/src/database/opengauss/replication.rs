//! Whom commits wait for, and who receives.
//!
//! `gs_guc reload` writes `postgresql.conf` and signals the server. With `most_available_sync = on`
//! commits go on without their standby, so that nobody may rely on it; with `off` they wait.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{
    super::{
        Nodes, Role, Upstream,
        awaiting::Answer,
        commits::{self, Commits, Refusal},
        local::Call,
        replication::{self, Replication, Row as Standby},
        sql::{self, Row},
    },
    Opengauss, cell,
};

/// A primary's end of WAL, the settings, and a row for each standby. The functions' rows have the
/// positions, the view's the address and the name.
pub fn question() -> String {
    let overrides = commits::OVERRIDES;
    format!(
        "select pg_catalog.pg_current_xlog_location(), \
         pg_catalog.current_setting('synchronous_standby_names'), \
         pg_catalog.current_setting('synchronous_commit'), \
         pg_catalog.current_setting('most_available_sync'), \
         {overrides}, \
         sender.pid, seen.application_name, pg_catalog.host(seen.client_addr), \
         pg_catalog.lower(sender.state), pg_catalog.lower(sender.sync_state), \
         sender.receiver_flush_location, pg_catalog.lower(sender.sync_most_available), \
         (extract(epoch from seen.backend_start) * 1000000)::pg_catalog.int8 \
         from (select 1) as once \
         left join pg_catalog.pg_stat_get_wal_senders() as sender on true \
         left join pg_catalog.pg_stat_replication as seen on seen.pid = sender.pid"
    )
}

const OVERRIDES: usize = 4;
const FIRST: usize = 5;
const MOST_AVAILABLE: usize = FIRST + 6;

/// How long a reload may take to be in force for all sessions. Commits that hung were seen to be
/// released within 1.5 s of it.
const SETTLES: Duration = Duration::from_secs(2);
const GUC_DEADLINE: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

impl Opengauss {
    /// Reads the answer to [`question`] of the server that started then.
    pub(super) fn replication(
        &self,
        rows: &[Row],
        started: Option<&str>,
        asked: Instant,
    ) -> Vec<Replication> {
        let commits = self.commits(rows, started);
        let answer = Answer {
            rows: &standbys(rows),
            settled: self.steady(&commits),
            commits,
            end: super::furthest(rows),
            asked,
            came: Instant::now(),
        };
        self.awaiting.observe_once(&self.nodes, &answer)
    }

    fn commits(&self, rows: &[Row], started: Option<&str>) -> Commits {
        let server = &self.local.server;
        let overrides = cell(rows, OVERRIDES);
        let refusal = commits::refusal(cell(rows, 2), overrides, &server.user, &server.dbname);
        // Each walsender knows it by itself; the rows tell that they have heard of it.
        let available =
            cell(rows, 3) != Some("off") || rows.iter().any(|row| is(row, MOST_AVAILABLE, "on"));
        let available = available.then_some(Refusal::MostAvailable);
        Commits {
            names: cell(rows, 1).unwrap_or_default().to_owned(),
            refusal: refusal.or(available),
            server: started.map(str::to_owned),
        }
    }

    /// Whether the settings have been the same for long enough.
    fn steady(&self, commits: &Commits) -> bool {
        let mut steady = self.steady.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*steady {
            Some((old, since)) if old == commits => since.elapsed() >= SETTLES,
            _ => {
                *steady = Some((commits.clone(), Instant::now()));
                false
            }
        }
    }

    /// Writes the settings, and anew if a standby's name has changed meanwhile; `Ok` when they were
    /// seen to be in force and to name the peers as they are called.
    pub(super) async fn synchronize(&self, wanted: &[String]) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let mut written = None;
        loop {
            let seen = self.observe_once().await;
            anyhow::ensure!(
                seen.role != Role::Unknown,
                "the database does not answer: {} ({})",
                seen.state,
                seen.error.as_deref().unwrap_or("no reason is known")
            );
            let names = self.awaiting.names(wanted, &self.nodes)?;
            let value = plain(&replication::demand(&names), &names);
            if written.as_ref() != Some(&value) {
                self.write(&value, names.is_empty()).await?;
                written = Some(value);
                continue;
            }
            let asked = "select pg_catalog.current_setting('synchronous_standby_names'), \
                         pg_catalog.current_setting('most_available_sync')";
            let now = self.orders.query(asked, sql::DEADLINE).await?;
            let available = if names.is_empty() { "on" } else { "off" };
            let is_missing = |peer: &&Replication| !peer.awaited && wanted.contains(&peer.peer);
            let missing = seen.replication.iter().find(is_missing);
            let in_force =
                cell(&now, 0) == Some(&value) && cell(&now, 1).is_none_or(|on| on == available);
            if in_force && missing.is_none() {
                return Ok(());
            }
            if in_force && let Some(refusal) = self.awaiting.refusal() {
                let own = refusal == Refusal::MostAvailable;
                anyhow::ensure!(
                    own || missing.is_none(),
                    "commits of some sessions wait for no standby: {refusal}. Set it on, or reset it"
                );
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "synchronous_standby_names = {value:?} and most_available_sync = {available} were \
                 written by gs_guc and are not in force after {DEADLINE:?}; the server says {:?}{}",
                cell(&now, 0),
                missing.map_or(String::new(), |peer| format!(", {} is {}", peer.peer, peer.state))
            );
            sleep(POLL).await;
        }
    }

    async fn write(&self, value: &str, nobody: bool) -> anyhow::Result<()> {
        let available = if nobody { "on" } else { "off" };
        let call = Call::new("gs_guc", GUC_DEADLINE)
            .args(["reload", "-D"])
            .arg(&self.local.server.data_dir)
            .args(["-c", &format!("synchronous_standby_names='{value}'")])
            .args(["-c", &format!("most_available_sync={available}")]);
        self.local.call(call).await?.success("gs_guc reload")
    }
}

fn is(row: &Row, column: usize, word: &str) -> bool {
    row.get(column).is_some_and(|cell| cell.as_deref() == Some(word))
}

fn standbys(rows: &[Row]) -> Vec<Standby> {
    let text = |row: &Row, column: usize| row.get(FIRST + column).cloned().flatten();
    let standby = |row: &Row| {
        Some(Standby {
            pid: text(row, 0)?,
            application_name: called(&text(row, 1).unwrap_or_default()).to_owned(),
            client: text(row, 2).and_then(|address| address.parse().ok()),
            state: text(row, 3)?,
            sync: text(row, 4).unwrap_or_default(),
            flush: text(row, 5).and_then(|position| ogha_common::units::Lsn::parse(&position)),
            // What its tools that keep WAL show is not known.
            replays: true,
            began: text(row, 7).and_then(|began| began.parse().ok()),
            replied: None,
        })
    };
    rows.iter().filter_map(standby).collect()
}

/// A connection for the log is called `WalSender to Standby[dn_6002]`; the standby's own name, which
/// the setting wants, stands in the brackets.
fn called(name: &str) -> &str {
    name.strip_suffix(']').and_then(|name| name.rsplit_once('[')).map_or(name, |(_, own)| own)
}

/// Without quotes where no name needs them: the value goes through a file and another tool's parser.
fn plain(value: &str, names: &[String]) -> String {
    let simple = |name: &String| {
        name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    if names.iter().all(simple) { value.replace('"', "") } else { value.to_owned() }
}

/// Whom a standby receives from: the far end of a channel, `own:port<--host:port`.
pub fn upstream(channel: &str, nodes: &Nodes) -> Option<Upstream> {
    let (_, far) = channel.split_once("<--")?;
    let host = far.rsplit_once(':').map_or(far, |(host, _)| host).trim_matches(['[', ']']);
    let address = host.parse().ok();
    let at = |peer: &&super::super::Peer| peer.addresses.iter().any(|own| Some(*own) == address);
    Some(Upstream {
        peer: nodes.peers.iter().find(at).map(|peer| peer.name.clone()),
        host: host.to_owned(),
        streaming: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_channels() {
        assert_eq!(called("WalSender to Standby[dn_6002]"), "dn_6002");
        assert_eq!(called("n2"), "n2");
        let value = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            plain(&replication::demand(&names), &names)
        };
        assert_eq!(value(&["dn_6002", "dn_6003"]), "FIRST 2 (dn_6002,dn_6003)");
        assert_eq!(value(&["Node-2"]), "FIRST 1 (\"Node-2\")");
        assert_eq!(value(&[]), "");
        let peer = super::super::super::Peer {
            name: "n1".to_owned(),
            addresses: vec!["192.168.0.21".parse().unwrap()],
            port: 26000,
        };
        let nodes = Nodes { own: "n2".to_owned(), peers: vec![peer] };
        let seen = upstream("192.168.0.22:42460<--192.168.0.21:26001", &nodes).unwrap();
        assert_eq!((seen.peer.as_deref(), seen.host.as_str()), (Some("n1"), "192.168.0.21"));
        assert_eq!(upstream("", &nodes), None);
    }
}
