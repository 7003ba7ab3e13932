//! What `gs_ctl query` prints.

use super::super::Role;

/// The first block of the output, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The server answered.
    Live(HaState),
    /// The server lives and did not answer: the command printed the state file instead, with exit
    /// code 0. The role and the state may be long out of date.
    Stale {
        /// What the file says.
        file: HaState,
        /// Why the server could not be asked.
        error: String,
    },
    /// No server runs.
    Down,
    /// Something else; its text.
    Unclear(String),
}

/// The block `HA state:`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HaState {
    /// `local_role`.
    pub role: Role,
    /// `db_state`, as printed.
    pub db_state: String,
    /// `detail_information`, as printed; empty in the stale form.
    pub detail: String,
}

impl Query {
    /// Reads the command's output.
    ///
    /// The two forms differ: the live one separates names and values by `" : "`, the stale one by
    /// `": "` alone, has a line `sync_mode`, and an error of several lines where the live one has a
    /// state's name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let down = ["is not running", "Is server running?"];
        if down.iter().any(|words| text.contains(words)) && !text.contains("local_role") {
            return Self::Down;
        }
        let block = text.split("Senders info:").next().unwrap_or_default();
        let value = |name: &str| block.lines().find_map(|line| field(line, name));
        let Some(role) = value("local_role") else { return Self::Unclear(text.trim().to_owned()) };
        let state = HaState {
            role: super::role(role),
            db_state: value("db_state").unwrap_or_default().to_owned(),
            detail: value("detail_information").unwrap_or_default().to_owned(),
        };
        if value("sync_mode").is_none() {
            return Self::Live(state);
        }
        let detail = block.split_once("detail_information").map_or("", |(_, rest)| rest);
        let error = detail.split("sync_mode").next().unwrap_or_default();
        let error = error.trim_start_matches([' ', ':']).split_whitespace();
        Self::Stale {
            file: HaState { detail: String::new(), ..state },
            error: error.collect::<Vec<_>>().join(" "),
        }
    }
}

/// The value of a line `name : value` or `name: value`.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = line.split_once(':')?;
    (key.trim() == name).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(role: Role, db_state: &str, detail: &str) -> Query {
        Query::Live(HaState { role, db_state: db_state.to_owned(), detail: detail.to_owned() })
    }

    #[test]
    fn a_primary_with_a_standby() {
        let text = "[2026-01-01 00:00:00.001][9][][gs_ctl]: gs_ctl query ,datadir is /data \n \
            HA state:           \n\tlocal_role                     : Primary\n\
            \tstatic_connections             : 1\n\tdb_state                       : Normal\n\
            \tdetail_information             : Normal\n\n Senders info:       \n\
            \tlocal_role                     : Standby\n\n Receiver info:      \nNo information \n";
        assert_eq!(Query::parse(text), live(Role::Primary, "Normal", "Normal"));
    }

    #[test]
    fn a_standby_that_lost_its_primary() {
        let text = " HA state:           \n\tlocal_role                     : Cascade Standby\n\
            \tdb_state                       : Need repair\n\
            \tdetail_information             : Connecting...\n\n Senders info:       \n";
        assert_eq!(Query::parse(text), live(Role::Standby, "Need repair", "Connecting..."));
    }

    #[test]
    fn a_hung_server_gives_a_stale_file_with_exit_code_0() {
        let text = " HA state:\n        local_role                    : Primary\n\
            \x20       static_connections            : 1\n\
            \x20       db_state                      : Normal\n\
            \x20       detail_information            : (connect to V5 server) wait 10.0.0.1:26001 timeout expired\n\
            (connect to V1 server) wait 10.0.0.1:26001 timeout expired\n\n\
            \x20       sync_mode                     : Async\n\n Senders info:\n        No information\n";
        let Query::Stale { file, error } = Query::parse(text) else { panic!("taken for live") };
        assert_eq!((file.role, file.db_state.as_str()), (Role::Primary, "Normal"));
        assert!(error.starts_with("(connect to V5 server) wait 10.0.0.1:26001"), "{error}");
        assert!(error.ends_with("timeout expired"), "{error}");
    }

    #[test]
    fn the_short_stale_form() {
        let text = " HA state:\n        local_role                    : Standby\n\
            \x20       db_state                      : Starting\n\
            \x20       detail_information            : Access denied\n\
            \x20       sync_mode                     : Sync\n";
        let Query::Stale { file, error } = Query::parse(text) else { panic!("taken for live") };
        assert_eq!((file.role, error.as_str()), (Role::Standby, "Access denied"));
    }

    #[test]
    fn no_server() {
        let dead = "[t][9][][gs_ctl]:  could not connect to the local server, the postmaster process 7 is not running";
        let none = "[t][9][][gs_ctl]:  PID file \"/d/postmaster.pid\" does not exist\n[t][9][][gs_ctl]: Is server running?\n";
        assert_eq!(Query::parse(dead), Query::Down);
        assert_eq!(Query::parse(none), Query::Down);
        assert_eq!(
            Query::parse("cannot be run as root\n"),
            Query::Unclear("cannot be run as root".into())
        );
    }
}
