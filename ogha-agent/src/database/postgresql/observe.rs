//! One question, and what its answer means.

use std::time::Instant;

use ogha_common::units::Lsn;

use super::super::{
    Nodes, Observation, Role, Server, Upstream,
    awaiting::{Answer, Awaiting},
    commits::{self, Commits},
    replication::Row as Standby,
    sql::Row,
};

/// A row for each connection of a standby, or one alone.
///
/// In recovery `transaction_read_only` is on, and `default_transaction_read_only` turns it on
/// elsewhere. A standby's received position starts at the segment's begin when the receiver starts,
/// so the replayed one may be ahead; both are NULL before there was any. A primary's timeline is
/// that of the segment it writes: the control file learns of a promotion only by the checkpoint
/// after it. All names are qualified: what somebody made in another schema is not asked.
pub fn question() -> String {
    let overrides = commits::OVERRIDES;
    format!(
        "select pg_catalog.pg_is_in_recovery(), \
         pg_catalog.current_setting('transaction_read_only'), \
         case when pg_catalog.pg_is_in_recovery() \
             then greatest(pg_catalog.pg_last_wal_receive_lsn(), \
                 pg_catalog.pg_last_wal_replay_lsn()) \
             else pg_catalog.pg_current_wal_flush_lsn() end, \
         case when pg_catalog.pg_is_in_recovery() \
             then (select pg_catalog.lpad(pg_catalog.to_hex(greatest(receiver.received_tli, \
                     min_recovery_end_timeline, timeline_id)), 8, '0') \
                 from pg_catalog.pg_control_recovery(), pg_catalog.pg_control_checkpoint()) \
             else pg_catalog.left( \
                 pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 8) end, \
         receiver.status, receiver.sender_host, \
         pg_catalog.current_setting('synchronous_standby_names'), \
         pg_catalog.current_setting('synchronous_commit'), \
         {CHECKPOINTER}, \
         extract(epoch from pg_catalog.pg_postmaster_start_time()), \
         {overrides}, \
         sender.pid, sender.application_name, pg_catalog.host(sender.client_addr), sender.state, \
         sender.sync_state, sender.flush_lsn, sender.replay_lsn is not null, \
         (extract(epoch from sender.backend_start) * 1000000)::pg_catalog.int8, sender.reply_time \
         from (select) as once \
         left join pg_catalog.pg_stat_wal_receiver as receiver on true \
         left join pg_catalog.pg_stat_replication as sender \
             on not pg_catalog.pg_is_in_recovery()"
    )
}

/// Where the checkpointer waits; see [`settled`].
pub const CHECKPOINTER: &str = "(select wait_event from pg_catalog.pg_stat_activity \
    where backend_type = 'checkpointer')";

/// Where columns are in the answer to [`question`].
const STARTED: usize = 9;
const OVERRIDES: usize = 10;
const STANDBY: usize = 11;

/// The cell of a column in the first row.
pub fn cell(rows: &[Row], column: usize) -> Option<&str> {
    rows.first()?.get(column)?.as_deref()
}

/// When the server that gave the answer had started.
pub fn started(rows: &[Row]) -> Option<&str> {
    cell(rows, STARTED)
}

/// Reads the answer to [`question`], which was asked then.
pub fn read(
    rows: &[Row],
    server: &Server,
    nodes: &Nodes,
    known: &Awaiting,
    asked: Instant,
) -> Observation {
    let role = match cell(rows, 0) {
        Some("f") => Role::Primary,
        Some("t") => Role::Standby,
        _ => Role::Unknown,
    };
    let refuses = cell(rows, 1) != Some("off");
    let upstream = cell(rows, 5).map(|host| upstream(host, cell(rows, 4), nodes));
    let streams = upstream.as_ref().is_some_and(|upstream| upstream.streaming);
    let state = match role {
        Role::Primary if refuses => "read only",
        Role::Standby if !streams => "disconnected",
        Role::Primary | Role::Standby => "normal",
        Role::Unknown => "unknown",
    };
    let lsn = cell(rows, 2).and_then(Lsn::parse);
    let replication = if role == Role::Primary {
        let answer = Answer {
            rows: &standbys(rows),
            commits: commits(rows, server),
            end: lsn,
            settled: settled(cell(rows, 8)),
            asked,
            came: Instant::now(),
        };
        known.observe_once(nodes, &answer)
    } else {
        known.forget();
        Vec::new()
    };
    Observation {
        role,
        state: state.to_owned(),
        writable: role == Role::Primary && !refuses,
        lsn,
        timeline: cell(rows, 3).and_then(|hex| u32::from_str_radix(hex, 16).ok()),
        replication,
        upstream: upstream.filter(|_| role == Role::Standby),
        ..Observation::default()
    }
}

fn commits(rows: &[Row], server: &Server) -> Commits {
    let overrides = cell(rows, OVERRIDES);
    Commits {
        names: cell(rows, 6).unwrap_or_default().to_owned(),
        refusal: commits::refusal(cell(rows, 7), overrides, &server.user, &server.dbname),
        server: started(rows).map(str::to_owned),
    }
}

fn standbys(rows: &[Row]) -> Vec<Standby> {
    let cells = |row: &Row, column: usize| row.get(STANDBY + column).cloned().flatten();
    let standby = |row: &Row| {
        Some(Standby {
            pid: cells(row, 0)?,
            application_name: cells(row, 1).unwrap_or_default(),
            client: cells(row, 2).and_then(|address| address.parse().ok()),
            state: cells(row, 3).unwrap_or_default(),
            sync: cells(row, 4).unwrap_or_default(),
            flush: cells(row, 5).and_then(|position| Lsn::parse(&position)),
            replays: cells(row, 6).as_deref() == Some("t"),
            began: cells(row, 7).and_then(|began| began.parse().ok()),
            replied: cells(row, 8),
        })
    };
    rows.iter().filter_map(standby).collect()
}

/// Whether settings that were reloaded hold for all sessions. Whether commits wait at all is told to
/// them by the checkpointer, in shared memory, when it reloads its own; so `sync_state`, which other
/// processes make, may say `sync` while commits still return at once. The checkpointer reloads at
/// the two points where it waits for work, but not while it flushes files.
pub fn settled(checkpointer: Option<&str>) -> bool {
    matches!(checkpointer, Some("CheckpointerMain" | "CheckpointWriteDelay"))
}

fn upstream(host: &str, status: Option<&str>, nodes: &Nodes) -> Upstream {
    let address = host.parse().ok();
    let at = |peer: &&super::super::Peer| peer.addresses.iter().any(|own| Some(*own) == address);
    // What was set up by hand may name it.
    let named = |peer: &&super::super::Peer| peer.name == host;
    let peer = nodes.peers.iter().find(at).or_else(|| nodes.peers.iter().find(named));
    Upstream {
        peer: peer.map(|peer| peer.name.clone()),
        host: host.to_owned(),
        streaming: status == Some("streaming"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Nodes {
        let peer = super::super::super::Peer {
            name: "db2".to_owned(),
            addresses: vec!["192.0.2.12".parse().unwrap()],
            port: 5432,
        };
        Nodes { own: "db1".to_owned(), peers: vec![peer] }
    }

    fn observe_once(cells: &[Option<&str>]) -> Observation {
        let mut row: Row = cells.iter().map(|cell| cell.map(str::to_owned)).collect();
        row.resize(STANDBY + 9, None);
        read(&[row], &server(), &nodes(), &Awaiting::default(), Instant::now())
    }

    fn server() -> Server {
        Server {
            port: 5432,
            data_dir: "/data".into(),
            user: "postgres".to_owned(),
            bin_dir: None,
            socket_dir: None,
            dbname: "postgres".to_owned(),
            unit: None,
        }
    }

    #[test]
    fn answers_are_read() {
        let primary = observe_once(&[Some("f"), Some("off"), Some("0/5000148"), Some("0000000B")]);
        assert_eq!((primary.role, primary.writable), (Role::Primary, true));
        assert_eq!((primary.state.as_str(), primary.lsn), ("normal", Lsn::parse("0/5000148")));
        assert_eq!(primary.timeline, Some(11));
        assert_eq!(primary.replication[0].state, "absent");

        let read_only = observe_once(&[Some("f"), Some("on"), Some("0/5000148")]);
        assert_eq!((read_only.state.as_str(), read_only.writable), ("read only", false));

        let streams = [Some("t"), Some("on"), None, None, Some("streaming"), Some("192.0.2.12")];
        let standby = observe_once(&streams);
        assert_eq!((standby.role, standby.writable, standby.lsn), (Role::Standby, false, None));
        assert_eq!((standby.state.as_str(), standby.replication.len()), ("normal", 0));
        let upstream = standby.upstream.unwrap();
        assert_eq!((upstream.peer.as_deref(), upstream.streaming), (Some("db2"), true));
        let by_name = [Some("t"), Some("on"), None, None, Some("streaming"), Some("db2")];
        assert_eq!(observe_once(&by_name).upstream.unwrap().peer.as_deref(), Some("db2"));
        let alone = observe_once(&[Some("t"), Some("on")]);
        assert_eq!((alone.state.as_str(), alone.upstream), ("disconnected", None));
    }

    #[test]
    fn a_standby_of_a_primary_is_read() {
        let cells = [
            Some("f"),
            Some("off"),
            Some("0/5000148"),
            Some("00000001"),
            None,
            None,
            Some("FIRST 1 (\"x\")"),
            Some("on"),
            Some("CheckpointerMain"),
            Some("1790000000.5"),
            None,
            Some("41"),
            Some("x"),
            Some("192.0.2.12"),
            Some("streaming"),
            Some("sync"),
            Some("0/5000148"),
            Some("t"),
            Some("1790000001000000"),
            None,
        ];
        let row: Row = cells.map(|cell| cell.map(str::to_owned)).into();
        let known = Awaiting::default();
        let observe_once = || {
            let rows = std::slice::from_ref(&row);
            read(rows, &server(), &nodes(), &known, Instant::now()).replication[0].clone()
        };
        assert!(!observe_once().awaited, "the first look only sees the setting");
        assert!(observe_once().awaited);
        let peer = observe_once();
        assert!(peer.streaming && peer.awaited && peer.confirmed, "{peer:?}");
        assert_eq!((peer.peer.as_str(), peer.lag), ("db2", Some(0)));
    }

    #[test]
    fn an_answer_without_rows_tells_nothing() {
        let nothing = read(&[], &server(), &nodes(), &Awaiting::default(), Instant::now());
        assert_eq!((nothing.role, nothing.writable, nothing.lsn), (Role::Unknown, false, None));
    }
}
