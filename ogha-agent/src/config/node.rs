//! `[node]`

use std::path::PathBuf;

use super::{
    reader::{Read, Reader},
    types::Node,
    value,
};

/// A unix socket's path holds 107 octets (`sun_path`); the agent adds `/agent.sock.new`.
const LONGEST_RUN_DIR: usize = 92;

pub(super) fn read(table: &Reader<'_>) -> Read<Node> {
    let name = table.required("name", "\"node1\"", value::name);
    let state_dir = table.or("state_dir", PathBuf::from("/var/lib/ogha"), value::path);
    let run_dir = table.or("run_dir", PathBuf::from("/run/ogha"), run_dir);
    let bpf_dir = table.or("bpf_dir", PathBuf::from("/sys/fs/bpf/ogha"), value::path);
    let realtime = table.or("realtime", true, value::boolean);
    let log = table.or("log", "info".to_owned(), log_filter);
    if table.has("metrics_listen") {
        table.problem("metrics_listen", "is not supported yet; remove it");
    }
    table.finish();
    Some(Node {
        name: name?,
        state_dir: state_dir?,
        run_dir: run_dir?,
        bpf_dir: bpf_dir?,
        realtime: realtime?,
        log: log?,
    })
}

fn run_dir(value: &toml::de::DeValue<'_>) -> Result<PathBuf, String> {
    let path = value::path(value)?;
    match path.as_os_str().len() <= LONGEST_RUN_DIR {
        true => Ok(path),
        false => Err(format!(
            "is too long for a unix socket within; choose a path of at most {LONGEST_RUN_DIR} \
             octets"
        )),
    }
}

fn log_filter(value: &toml::de::DeValue<'_>) -> Result<String, String> {
    let text = value::text(value, "\"info\"")?;
    match crate::logging::filter(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(e) => Err(format!("{e:#}")),
    }
}
