//! A database cluster to copy: `initdb` takes a second, a copy a tenth.
//!
//! It lies beside the labs, named by the version that made it, and stays there for later runs: a test
//! is a process of its own, and most of them want one.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, lchown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{User, syncfs};

use super::{
    directory::{self, LabDirectory},
    postgres::BIN,
};

/// The operating system's user that the databases run as.
pub(super) const USER: &str = "postgres";

/// A cluster that never ran.
#[derive(Debug)]
pub struct Template {
    data_dir: PathBuf,
}

impl Template {
    /// The template of the PostgreSQL that is installed, made if there is none yet.
    ///
    /// # Errors
    /// If PostgreSQL is not installed or `initdb` fails.
    pub fn get() -> Result<Self> {
        let version = run(initdb().arg("--version"))?;
        let name: String = version.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
        let data_dir = directory::base().join(format!("template-{name}"));
        // Others that want one meanwhile wait, and find it.
        let _lock = directory::lock()?;
        if !data_dir.is_dir() {
            Self::make(&data_dir).context("cannot make a database cluster to copy")?;
        }
        Ok(Self { data_dir })
    }

    /// Whole or not at all: what a killed run leaves is a directory of that run.
    fn make(data_dir: &Path) -> Result<()> {
        let directory = LabDirectory::create("template")?;
        let user = user()?;
        lchown(directory.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        let made = directory.path().join("data");
        let mut initdb = initdb();
        initdb
            .args(["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust"])
            .args(["--username", USER, "--pgdata"])
            .arg(&made)
            .current_dir("/")
            .uid(user.uid.as_raw())
            .gid(user.gid.as_raw());
        run(&mut initdb)?;
        // Before it has its name: power may fail, and half a cluster would be copied for ever.
        syncfs(fs::File::open(&made)?)?;
        Ok(fs::rename(&made, data_dir)?)
    }

    /// Copies the cluster to `to`, which must not exist, and waits until it is on the disk: what
    /// a database writes later must not wait for it.
    ///
    /// # Errors
    /// If the disk is full, or `to` exists.
    pub fn copy(&self, to: &Path) -> Result<()> {
        let user = user()?;
        copy_tree(&self.data_dir, to, &user)
            .with_context(|| format!("cannot copy the database cluster to {}", to.display()))?;
        Ok(syncfs(fs::File::open(to)?)?)
    }
}

fn initdb() -> Command {
    Command::new(Path::new(BIN).join("initdb"))
}

/// What the command prints; an error if it fails.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| {
        format!("cannot run {}: is postgresql-15 there?", command.get_program().display())
    })?;
    ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn user() -> Result<User> {
    User::from_name(USER)?.with_context(|| format!("there is no user {USER}: install PostgreSQL"))
}

fn copy_tree(from: &Path, to: &Path, owner: &User) -> Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target, owner)?;
        } else {
            fs::copy(entry.path(), &target)?;
            lchown(&target, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
        }
    }
    Ok(lchown(to, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?)
}
