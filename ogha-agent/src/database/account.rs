//! A user of this host, and how a command becomes this user.

use std::{ffi::CString, path::PathBuf};

use anyhow::Context as _;
use nix::unistd::{Gid, Uid, User, getgrouplist};
use tokio::process::Command;

use crate::guest::Owner;

/// A user of this host.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: Uid,
    /// Its main group.
    pub gid: Gid,
    /// All its groups.
    groups: Vec<Gid>,
    /// Its home directory.
    pub home: PathBuf,
    /// Its login shell.
    pub shell: PathBuf,
}

impl Account {
    /// Looks a user up by name.
    ///
    /// # Errors
    /// When there is no such user, or it cannot be looked up.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        let user = User::from_name(name)
            .with_context(|| format!("cannot look up the user {name:?}"))?
            .with_context(|| {
                format!("there is no user {name:?} on this host; `user` must name the one that owns the data directory")
            })?;
        let c_name = CString::new(name).context("a user's name has no zero byte")?;
        let groups = getgrouplist(&c_name, user.gid)
            .with_context(|| format!("cannot look up the groups of {name:?}"))?;
        Ok(Self {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            groups,
            home: user.dir,
            shell: user.shell,
        })
    }

    /// As whom its files are touched.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner { uid: self.uid, gid: self.gid, groups: self.groups.clone() }
    }

    /// Makes the command run as this user, with its groups. Needs root.
    pub fn take_on(&self, command: &mut Command) {
        let (uid, gid, groups) = (self.uid, self.gid, self.groups.clone());
        let become_user = move || {
            nix::unistd::setgroups(&groups)?;
            nix::unistd::setgid(gid)?;
            nix::unistd::setuid(uid)?;
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made: nothing allocates, nothing
        // takes a lock.
        unsafe { command.pre_exec(become_user) };
    }
}
