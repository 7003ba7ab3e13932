//! `gaussdb.state`, written as openGauss's main process writes it: 72 bytes, replaced as a whole.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// What of the file is simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `local_role`, in openGauss's word.
    pub role: String,
    /// `db_state`, likewise.
    pub db_state: String,
    /// How many peers are configured.
    pub connections: i32,
    /// The term; a primary writes 0.
    pub term: u64,
}

/// In the order of their numbers.
const ROLES: [&str; 9] = [
    "Unknown",
    "Normal",
    "Primary",
    "Standby",
    "Cascade Standby",
    "Pending",
    "Recovery",
    "Standby Cluster",
    "Main Standby",
];
const STATES: [&str; 10] = [
    "Unknown",
    "Normal",
    "Need repair",
    "Starting",
    "Wait promoting",
    "Demoting",
    "Promoting",
    "Building",
    "Catchup",
    "Coredump",
];

impl State {
    /// A state with that role.
    #[must_use]
    pub fn new(role: &str, db_state: &str, connections: usize) -> Self {
        Self {
            role: role.to_owned(),
            db_state: db_state.to_owned(),
            connections: i32::try_from(connections).unwrap_or(i32::MAX),
            term: u64::from(role != "Primary"),
        }
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; 72] {
        let number = |names: &[&str], name: &str| {
            names.iter().position(|known| *known == name).unwrap_or(0) as i32
        };
        let mut bytes = [0; 72];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &number(&ROLES, &self.role).to_ne_bytes());
        put(4, &self.connections.to_ne_bytes());
        put(8, &number(&STATES, &self.db_state).to_ne_bytes());
        put(24, &self.term.to_ne_bytes());
        // The reason to rebuild: 2 is "disconnected".
        put(64, &(if self.db_state == "Need repair" { 2_i32 } else { 0 }).to_ne_bytes());
        put(68, &1_i32.to_ne_bytes());
        bytes
    }

    /// Reads the file of a data directory; `None` if there is none.
    #[must_use]
    pub fn read(data_dir: &Path) -> Option<Self> {
        let bytes = fs::read(data_dir.join("gaussdb.state")).ok()?;
        let number = |at: usize| Some(i32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let name = |names: &[&str], at: usize| {
            let index = usize::try_from(number(at)?).ok()?;
            names.get(index).map(|name| (*name).to_owned())
        };
        Some(Self {
            role: name(&ROLES, 0)?,
            db_state: name(&STATES, 8)?,
            connections: number(4)?,
            term: u64::from_ne_bytes(*bytes.get(24..)?.first_chunk()?),
        })
    }

    /// Replaces the file of a data directory.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write(&self, data_dir: &Path) -> Result<()> {
        let temporary = data_dir.join("gaussdb.state.temp");
        let path = data_dir.join("gaussdb.state");
        let written =
            fs::write(&temporary, self.encode()).and_then(|()| fs::rename(&temporary, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use ogha_agent::database::{Role, opengauss::state_file::StateFile};

    use super::*;

    #[test]
    fn the_agent_reads_what_the_simulator_writes() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::new("Standby", "Promoting", 1);
        state.write(dir.path()).unwrap();
        assert_eq!(State::read(dir.path()), Some(state));
        let bytes = fs::read(dir.path().join("gaussdb.state")).unwrap();
        let seen = StateFile::parse(&bytes).unwrap();
        assert_eq!((seen.role, seen.state, seen.term), (Role::Standby, "promoting", 1));
    }
}
