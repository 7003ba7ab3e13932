//! `pg_basebackup`: a whole copy of the upstream, made beside the data directory, takes its place
//! by two renames.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;

use super::{
    super::super::{files, kept::Size, local::Call, lost},
    Rejoin,
    journal::{Journal, RejoinPhase},
};
use crate::guest::mounts;

/// A large database over a slow network. Giving the step up ends it as well.
const DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);
/// What the copy needs beside the databases: the log that is written meanwhile, and some air.
const SPARE: u64 = 256 << 20;

impl Rejoin<'_> {
    /// Makes the copy and puts it in the place of the data directory.
    pub(super) async fn base_backup(&mut self) -> anyhow::Result<()> {
        self.driver.progress.phase("checking what a copy needs");
        let advice = self.by_hand();
        self.act(move |data_dir| movable(data_dir).with_context(|| advice)).await?;
        let new = lost::beside(&self.data_dir, "new");
        let left = new.clone();
        self.act(move |_| files::remove_tree(&left)).await?;
        self.has_room().await?;
        self.driver.progress.phase("copying");
        let made = new.clone();
        self.act(move |_| files::make_dir(&made)).await?;
        let mut source = self.conninfo.clone();
        source.take("dbname");
        let secrets = source.take_secrets();
        let call = Call::new("pg_basebackup", DEADLINE)
            .args(["--progress", "--checkpoint=fast", "--wal-method=stream", "--no-password"])
            .arg(format!("--dbname={source}"))
            .arg("--pgdata")
            .arg(&new)
            .secrets(secrets)
            .heard_by(self.driver.progress.listener());
        self.driver.local.call(call).await?.success("pg_basebackup")?;
        let (settings, copy) = (self.settings(), new);
        self.act(move |data_dir| {
            Journal::restore_files(data_dir, &copy)?;
            super::configure(&copy, &settings)
        })
        .await?;
        self.journal.phase = RejoinPhase::Copied;
        self.journal.before = Some(lost::beside_now(&self.data_dir, "before"));
        if let (Some(lost), Some(before)) = (&mut self.journal.lost, &self.journal.before)
            && !self.driver.local.as_owner(|| files::exists(&lost.kept))?
        {
            lost.kept.clone_from(before);
        }
        self.save().await?;
        self.swap().await
    }

    /// The two renames. Either may have been done before.
    pub(super) async fn swap(&mut self) -> anyhow::Result<()> {
        let before = self.journal.before.clone().context("the journal lacks a name")?;
        let advice = self.by_hand();
        self.act(move |data_dir| {
            let new = lost::beside(data_dir, "new");
            if files::exists(data_dir) && !files::exists(&before) {
                files::rename(data_dir, &before).with_context(|| advice.clone())?;
            }
            if files::exists(&new) {
                files::rename(&new, data_dir).with_context(|| advice)?;
            }
            Ok(())
        })
        .await?;
        let mode = self.journal.mode;
        self.act(move |data_dir| files::set_mode(data_dir, mode)).await?;
        self.journal.phase = RejoinPhase::Whole;
        self.save().await
    }

    /// The former data directory, once the new one works. It stays if anything was lost with it.
    pub(super) async fn tidy(&self) -> anyhow::Result<()> {
        let Some(before) = self.journal.before.clone() else { return Ok(()) };
        if self.journal.lost.is_some() {
            tracing::warn!("the former data directory is kept in {}", before.display());
            return Ok(());
        }
        self.act(move |_| files::remove_tree(&before)).await
    }

    /// The databases' size there, else this node's own, and what is free here.
    pub(super) async fn measure_room(&self) -> anyhow::Result<Room> {
        let asked = self.sql("select pg_catalog.sum(pg_catalog.pg_database_size(oid)) from pg_catalog.pg_database").await;
        let reported = asked.ok().and_then(|text| text.trim().parse::<u64>().ok());
        self.act(move |data_dir| {
            let needed = reported.map_or_else(|| files::size(data_dir), Ok)? + SPARE;
            let parent = data_dir.parent().unwrap_or(data_dir).to_owned();
            let free = nix::sys::statvfs::statvfs(&parent)
                .with_context(|| format!("cannot ask {} for its space", parent.display()))?;
            let free = free.blocks_available() * free.fragment_size();
            Ok(Room { place: parent, needed, free })
        })
        .await
    }

    async fn has_room(&self) -> anyhow::Result<()> {
        let room = self.measure_room().await?;
        anyhow::ensure!(
            room.is_enough(),
            "a copy of the upstream needs {room}. Make room there; directories named \
             {0}.ogha-before-.. and {0}.ogha-lost-.. are what ogha kept of earlier rejoins",
            self.data_dir.display()
        );
        Ok(())
    }

    fn by_hand(&self) -> String {
        format!(
            "this node needs a whole copy of {peer}, which ogha cannot put in the place of {dir}. \
             Do it by hand: keep what you need of {dir}, empty it, run `pg_basebackup -D {dir} -X \
             stream -c fast -P -h {host} -p {port} -U {user}` as {owner}, put this node's \
             configuration back from {kept}, remove {journal}, and let it rejoin again",
            peer = self.peer.name,
            dir = self.data_dir.display(),
            host = self.conninfo.get("host").unwrap_or_default(),
            port = self.peer.port,
            user = self.conninfo.get("user").unwrap_or_default(),
            owner = self.driver.local.server.user,
            kept = Journal::dir(&self.data_dir).join("files").display(),
            journal = Journal::dir(&self.data_dir).display(),
        )
    }
}

/// Space for a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    place: PathBuf,
    needed: u64,
    free: u64,
}

impl Room {
    pub const fn is_enough(&self) -> bool {
        self.free >= self.needed
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (needed, free) = (Size(self.needed), Size(self.free));
        write!(f, "{needed} in {}, and {free} are free", self.place.display())
    }
}

/// Whether a copy can take the place of the data directory by a rename.
fn movable(data_dir: &Path) -> anyhow::Result<()> {
    let hinders = immovable(data_dir)?;
    anyhow::ensure!(hinders.is_empty(), "{}", hinders.join("; "));
    Ok(())
}

/// What keeps a copy from taking the place of the data directory: it is moved as a whole, and what is
/// mounted in it or linked from it belongs elsewhere.
pub(super) fn immovable(data_dir: &Path) -> anyhow::Result<Vec<String>> {
    let parent = data_dir.parent().context("the data directory is the root of the file system")?;
    let mut found = Vec::new();
    let mounts = mounts::below(data_dir)?;
    let differs = files::file_system(data_dir)? != files::file_system(parent)?;
    if differs || mounts.iter().any(|mount| mount == data_dir) {
        found.push(format!("{} is a mount point and cannot be renamed", data_dir.display()));
    }
    for mount in mounts.iter().filter(|mount| *mount != data_dir) {
        found.push(format!("{} is a mount point inside the data directory", mount.display()));
    }
    let log = data_dir.join("pg_wal");
    if files::is_link(&log) {
        found.push(format!("{} is a link to another place", log.display()));
    }
    let spaces = files::links(&data_dir.join("pg_tblspc"));
    if !spaces.is_empty() {
        let places: Vec<_> = spaces.iter().map(|place| place.display().to_string()).collect();
        found.push(format!("the database has tablespaces in {}", places.join(", ")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn what_cannot_be_moved_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir_all(data.join("pg_tblspc")).unwrap();
        movable(&data).unwrap();
        symlink("/elsewhere", data.join("pg_tblspc/16384")).unwrap();
        assert!(movable(&data).unwrap_err().to_string().contains("/elsewhere"));
        symlink("/log", data.join("pg_wal")).unwrap();
        let both = movable(&data).unwrap_err().to_string();
        assert!(both.contains("pg_wal is a link") && both.contains("/elsewhere"), "{both}");
        assert!(movable(Path::new("/proc")).unwrap_err().to_string().contains("mount point"));
    }

    /// In a mount namespace of the test's thread.
    #[test]
    fn what_is_mounted_inside_is_said() {
        use nix::{
            mount::{MsFlags, mount},
            sched::{CloneFlags, unshare},
        };
        let dir = tempfile::tempdir().unwrap();
        let data = fs::canonicalize(dir.path()).unwrap().join("data");
        fs::create_dir_all(data.join("pg_wal")).unwrap();
        let mounted = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let (none, flags) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
            mount(none, "/", none, flags, none).unwrap();
            let log = data.join("pg_wal");
            mount(Some(&log), &log, none, MsFlags::MS_BIND, none).unwrap();
            movable(&data).unwrap_err().to_string()
        });
        let said = mounted.join().unwrap();
        assert!(said.contains("pg_wal is a mount point inside the data directory"), "{said}");
    }

    #[test]
    fn sizes() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), [0; 1000]).unwrap();
        fs::write(dir.path().join("c"), [0; 24]).unwrap();
        assert_eq!(files::size(dir.path()).unwrap(), 1024);
    }
}
