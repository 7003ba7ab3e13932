//! `gs_ctl query`: the server's answer, or the state file as if it were one.

use std::fmt::Write as _;

use super::{
    super::{
        report::{log, raw},
        server::{CONNECT, Recorded, Rows},
        state::State,
    },
    Call, FAILED,
};

const STATE: [&str; 4] = ["local_role", "static_connections", "db_state", "detail_information"];
const LOCATIONS: [&str; 8] = [
    "sender_sent_location",
    "sender_write_location",
    "sender_flush_location",
    "sender_replay_location",
    "receiver_received_location",
    "receiver_write_location",
    "receiver_flush_location",
    "receiver_replay_location",
];
const SENDER: [&str; 5] = ["sender_pid", "local_role", "peer_role", "peer_state", "state"];
const SENDER_END: [&str; 5] =
    ["sync_percent", "sync_state", "sync_priority", "sync_most_available", "channel"];
const RECEIVER: [&str; 5] = ["receiver_pid", "local_role", "peer_role", "peer_state", "state"];
const RECEIVER_END: [&str; 2] = ["sync_percent", "channel"];

pub(super) fn query(call: &Call<'_>) -> u8 {
    call.begin("gs_ctl query ");
    match call.node.recorded() {
        Recorded::Nothing => return call.no_pid_file(""),
        Recorded::Dead(pid) => {
            log(&format!(
                " could not connect to the local server, the postmaster process {pid} is not running"
            ));
            return FAILED;
        }
        Recorded::Alive(_) => {}
    }
    if call.node.recorded_mode().as_deref() == Some("pending") {
        raw(&pending(call.node.nodes.len() - 1));
        return 0;
    }
    match live(call) {
        Ok(text) => raw(&text),
        Err(error) => match State::read(call.node.data_dir()) {
            Some(state) => raw(&stale(&state, &format!("{error:#}"))),
            None => return FAILED,
        },
    }
    0
}

fn live(call: &Call<'_>) -> anyhow::Result<String> {
    let senders: Vec<_> = SENDER.into_iter().chain(LOCATIONS).chain(SENDER_END).collect();
    let receiver: Vec<_> = RECEIVER.into_iter().chain(LOCATIONS).chain(RECEIVER_END).collect();
    let blocks = [
        ("HA state:", &STATE[..], "pg_stat_get_stream_replications"),
        ("Senders info:", &senders, "pg_stat_get_wal_senders"),
        ("Receiver info:", &receiver, "pg_stat_get_wal_receiver"),
    ];
    let mut text = String::new();
    for (title, fields, function) in blocks {
        let statement = format!("select {} from {function}()", fields.join(","));
        let rows = call.node.ask(&statement, CONNECT)?;
        block(&mut text, title, fields, &rows);
    }
    Ok(text)
}

/// Each row is followed by an empty line; the title is padded.
fn block(text: &mut String, title: &str, fields: &[&str], rows: &Rows) {
    // Writing to a string does not fail.
    let _ = writeln!(text, " {title:<20}");
    for row in rows {
        for (field, value) in fields.iter().zip(row) {
            let _ = writeln!(text, "\t{field:<30} : {}", value.as_deref().unwrap_or_default());
        }
        text.push('\n');
    }
    if rows.is_empty() {
        text.push_str("No information \n");
    }
}

fn pending(peers: usize) -> String {
    let mut text = String::new();
    let values = ["Pending", &peers.to_string(), "Need repair", "Disconnected"];
    block(&mut text, "HA state:", &STATE, &vec![values.map(|value| Some(value.to_owned())).into()]);
    block(&mut text, "Senders info:", &[], &Vec::new());
    block(&mut text, "Receiver info:", &[], &Vec::new());
    text
}

/// The other form: blanks for the tab, none before the colon, the error for the detail.
fn stale(state: &State, error: &str) -> String {
    let mut text = " HA state:\n".to_owned();
    let detail = format!("(connect to V5 server) {error}\n(connect to V1 server) {error}\n");
    let connections = state.connections.to_string();
    for (field, value) in [
        ("local_role", state.role.as_str()),
        ("static_connections", &connections),
        ("db_state", &state.db_state),
        ("detail_information", &detail),
        ("sync_mode", "Async"),
    ] {
        let _ = writeln!(text, "        {field:<30}: {value}");
    }
    text.push_str(
        "\n Senders info:\n        No information\n Receiver info:\n        No information\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use ogha_agent::database::{
        Role,
        opengauss::gs_ctl::{HaState, Query},
    };

    use super::*;

    #[test]
    fn the_agent_tells_news_from_a_stale_file() {
        let text = stale(&State::new("Primary", "Normal", 1), "timeout expired");
        let Query::Stale { file, error } = Query::parse(&text) else { panic!("{text}") };
        assert_eq!((file.role, file.db_state.as_str()), (Role::Primary, "Normal"));
        assert!(error.contains("timeout expired"));

        let text = pending(1);
        let state = HaState {
            role: Role::Unknown,
            db_state: "Need repair".to_owned(),
            detail: "Disconnected".to_owned(),
        };
        assert_eq!(Query::parse(&text), Query::Live(state));
    }
}
