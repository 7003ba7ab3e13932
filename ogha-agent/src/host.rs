//! What only this host can tell: does what the configuration names exist here?

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use nix::{net::if_::if_nametoindex, unistd::User};

use crate::{
    arbiter::etcd::Credentials,
    config::{Arbiter, Config, Errors, Instance, Problem, Server},
    guest::trusted,
    net::{interface::Interface, probe::Key},
};

impl Config {
    /// Checks interfaces, keys, database users, data directories, the arbiter's files and hooks; `file` is only for the messages.
    ///
    /// # Errors
    /// Everything that is not there.
    pub fn check_host(&self, file: &Path) -> Result<(), Errors> {
        let mut problems: Vec<_> = self.instances.iter().flat_map(instance).collect();
        problems.extend(own(file));
        if problems.is_empty() { Ok(()) } else { Err(Errors::new(file, problems)) }
    }

    /// The same for an agent that starts: an interface that is not there yet, as at boot, is no problem by
    /// itself, for the agent waits for it.
    ///
    /// # Errors
    /// Everything that is not there, where more is missing than time may bring.
    pub fn check_start(&self, file: &Path) -> Result<(), Errors> {
        let there = |instance: &&Instance| if_nametoindex(instance.interface.as_str()).is_ok();
        let absent = self.instances.iter().filter(|instance| !there(instance)).count();
        let mut problems: Vec<_> = self.instances.iter().flat_map(instance).collect();
        let owned = own(file);
        if problems.len() == absent && owned.is_none() {
            return Ok(());
        }
        problems.extend(owned);
        Err(Errors::new(file, problems))
    }
}

/// Who can change the configuration says what root runs.
fn own(file: &Path) -> Option<Problem> {
    // One that was only parsed is none.
    let file = fs::canonicalize(file).ok().and(std::path::absolute(file).ok())?;
    let what = format!("{:#}", trusted::only_roots(&file).err()?);
    Some(Problem { line: None, key: "configuration".to_owned(), what })
}

fn instance(instance: &Instance) -> Vec<Problem> {
    let mut found = vec![("interface", interface(&instance.interface))];
    // Only nodes with a database send probes.
    if instance.database.server().is_some() {
        let key = Key::load(&instance.liveness.key_file).err().map(|error| format!("{error:#}"));
        found.push(("liveness.key_file", key));
    }
    if let Some(server) = instance.database.server() {
        found.push(("database.user", user(server)));
        found.push(("database.data_dir", directory("data directory", &server.data_dir)));
        if let Some(bin_dir) = &server.bin_dir {
            found.push(("database.bin_dir", directory("directory of tools", bin_dir)));
        }
    }
    if let Arbiter::Etcd(etcd) = &instance.arbiter
        && let Err(flaw) = Credentials::load(etcd)
    {
        found.push((flaw.key, Some(flaw.what)));
    }
    if let Some(command) = &instance.hooks.command {
        found.push(("hooks.command", program(command)));
    }
    let problem = |key: &str, what: String| Problem {
        line: None,
        key: format!("instance.{key}"),
        what: format!("{what} (instance {:?})", instance.name),
    };
    found.into_iter().filter_map(|(key, what)| Some(problem(key, what?))).collect()
}

fn interface(name: &str) -> Option<String> {
    let error = Interface::find(name).err()?;
    Some(format!("{error:#}; `ip link` shows what there is"))
}

fn user(server: &Server) -> Option<String> {
    let name = &server.user;
    match User::from_name(name) {
        Ok(Some(user)) if user.uid.is_root() => {
            Some(format!("user {name:?} is root; name the user that owns the data directory"))
        }
        Ok(Some(_)) => None,
        Ok(None) => Some(format!(
            "there is no user {name:?} on this host; name the user that owns the data directory"
        )),
        Err(error) => Some(format!("cannot look up user {name:?}: {error}; try again")),
    }
}

fn directory(what: &str, path: &Path) -> Option<String> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some(format!("{shown} is no directory; name the {what}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Some(format!("missing {what} {shown}; create the database there or correct the path"))
        }
        Err(error) => Some(format!("cannot look at the {what} {shown}: {error}; run as root")),
    }
}

fn program(path: &Path) -> Option<String> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => {
            // It is run as root, so nobody else may say what it does.
            trusted::only_roots(path).err().map(|error| format!("{error:#}; it is run as root"))
        }
        Ok(_) => Some(format!("{shown} is not executable; `chmod +x {shown}`")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Some(format!("missing program {shown}; install it or correct the path"))
        }
        Err(error) => Some(format!("cannot look at the program {shown}: {error}; run as root")),
    }
}
