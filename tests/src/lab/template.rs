//! A database cluster to copy: `initdb` takes a second, a copy a tenth.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, lchown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{User, syncfs};

use super::{directory::LabDirectory, postgres::BIN};

/// The operating system's user that the databases run as.
pub(super) const USER: &str = "postgres";

/// A cluster that never ran. It is deleted with its last user.
#[derive(Debug)]
pub struct Template {
    directory: LabDirectory,
}

impl Template {
    /// This process's template, made if there is none now.
    ///
    /// # Errors
    /// If PostgreSQL is not installed or `initdb` fails.
    pub fn get() -> Result<Arc<Self>> {
        static TEMPLATE: Mutex<Weak<Template>> = Mutex::new(Weak::new());
        let mut known = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = known.upgrade() {
            return Ok(template);
        }
        let template = Arc::new(Self::make()?);
        *known = Arc::downgrade(&template);
        Ok(template)
    }

    fn make() -> Result<Self> {
        let template = Self { directory: LabDirectory::create("template")? };
        let user = user()?;
        lchown(template.directory.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        let initdb = Path::new(BIN).join("initdb");
        let output = Command::new(&initdb)
            .args(["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust"])
            .args(["--username", USER, "--pgdata"])
            .arg(template.data_dir())
            .current_dir("/")
            .uid(user.uid.as_raw())
            .gid(user.gid.as_raw())
            .output()
            .with_context(|| format!("cannot run {}: is postgresql-15 there?", initdb.display()))?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        Ok(template)
    }

    fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Copies the cluster to `to`, which must not exist, and waits until it is on the disk: what
    /// a database writes later must not wait for it.
    ///
    /// # Errors
    /// If the disk is full, or `to` exists.
    pub fn copy(&self, to: &Path) -> Result<()> {
        let user = user()?;
        copy_tree(&self.data_dir(), to, &user)
            .with_context(|| format!("cannot copy the database cluster to {}", to.display()))?;
        Ok(syncfs(fs::File::open(to)?)?)
    }
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
