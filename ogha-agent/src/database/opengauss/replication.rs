//! Whom commits wait for, and who receives.
//!
//! `gs_guc reload` writes `postgresql.conf` and signals the server. With `most_available_sync = on`
//! commits go on without their standby, so that nobody may rely on it; with `off` they wait.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    super::{
        Nodes, Upstream,
        local::Call,
        replication::{self, Demand, Replication, Row as Standby},
        sql::{self, Row},
    },
    Opengauss, cell,
};

/// A primary's end of the log, the settings, and a row for each standby. The functions' rows have
/// the address and the name, the others the positions.
pub const PRIMARY: &str = "select pg_current_xlog_location(), \
    current_setting('synchronous_standby_names'), current_setting('synchronous_commit'), \
    seen.application_name, host(seen.client_addr), lower(sender.state), lower(sender.sync_state), \
    sender.receiver_flush_location, lower(sender.sync_most_available) \
    from (select 1) as once left join pg_stat_get_wal_senders() as sender on true \
    left join pg_stat_replication as seen on seen.pid = sender.pid";
const FIRST: usize = 3;
const MOST_AVAILABLE: usize = 8;

/// How long a reload may take to be in force for all sessions. Commits that hung were seen to be
/// released within 1.5 s of it.
const SETTLES: Duration = Duration::from_secs(2);
const GUC_DEADLINE: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

impl Opengauss {
    /// Reads the answer to [`PRIMARY`].
    pub(super) fn replication(&self, rows: &[Row], server: Option<u32>) -> Vec<Replication> {
        let demand = Demand {
            names: cell(rows, 1).unwrap_or_default().to_owned(),
            waits: !matches!(cell(rows, 2), None | Some("off" | "local"))
                && rows.iter().all(|row| !is(row, MOST_AVAILABLE, "on")),
            server,
        };
        let settled = self.steady(&demand);
        let end = super::furthest(rows);
        self.confirmations.look(&self.nodes, &standbys(rows), demand, end, settled)
    }

    /// Whether the demand has been the same for long enough.
    fn steady(&self, demand: &Demand) -> bool {
        let mut steady = self.steady.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*steady {
            Some((old, since)) if old == demand => since.elapsed() >= SETTLES,
            _ => {
                *steady = Some((demand.clone(), Instant::now()));
                false
            }
        }
    }

    pub(super) async fn synchronize(&self, wanted: &[String]) -> anyhow::Result<()> {
        // On a standby the question is an error, and there are no rows.
        let rows = self.orders.query(PRIMARY, sql::DEADLINE).await.unwrap_or_default();
        let names = replication::application_names(wanted, &self.nodes, &standbys(&rows))?;
        let value = plain(&replication::demand(&names), &names);
        let available = if names.is_empty() { "on" } else { "off" };
        let call = Call::new("gs_guc", GUC_DEADLINE)
            .args(["reload", "-D"])
            .arg(&self.local.server.data_dir)
            .args(["-c", &format!("synchronous_standby_names='{value}'")])
            .args(["-c", &format!("most_available_sync={available}")]);
        self.local.call(call).await?.success("gs_guc reload")?;
        let deadline = Instant::now() + DEADLINE;
        loop {
            let asked = "select current_setting('synchronous_standby_names')";
            let now = self.orders.query(asked, sql::DEADLINE).await?;
            let rows = self.orders.query(PRIMARY, sql::DEADLINE).await.unwrap_or_default();
            let agrees = |row: &Row| {
                row.get(MOST_AVAILABLE)
                    .is_none_or(|cell| cell.as_deref().is_none_or(|on| on == available))
            };
            if cell(&now, 0) == Some(&value) && rows.iter().all(agrees) {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "synchronous_standby_names = {value:?} and most_available_sync = {available} were \
                 written by gs_guc and are not in force after {DEADLINE:?}; the server says {:?}",
                cell(&now, 0)
            );
            sleep(POLL).await;
        }
    }
}

fn is(row: &Row, column: usize, word: &str) -> bool {
    row.get(column).is_some_and(|cell| cell.as_deref() == Some(word))
}

fn standbys(rows: &[Row]) -> Vec<Standby> {
    let text = |row: &Row, column: usize| row.get(FIRST + column).cloned().flatten();
    let standby = |row: &Row| {
        Some(Standby {
            state: text(row, 2)?,
            application_name: called(&text(row, 0).unwrap_or_default()).to_owned(),
            client: text(row, 1).and_then(|address| address.parse().ok()),
            sync: text(row, 3).unwrap_or_default(),
            flush: text(row, 4).and_then(|position| ogha_common::units::Lsn::parse(&position)),
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
