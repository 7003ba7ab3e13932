//! What is done to a database behind its agent's back: by an operator, by a tool, by the kernel.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};

use super::{Postgres, clock, process};

/// A process of the server that is waited for may live for a few milliseconds only.
const AT_ONCE: Duration = Duration::from_micros(200);
const GENEROUS: Duration = Duration::from_secs(30);

/// What stands where `postmaster.pid` was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// A directory: it can't be read, whoever asks.
    Directory,
    /// A FIFO without a writer: who opens it waits for ever.
    Fifo,
    /// Nothing.
    Nothing,
}

/// `postmaster.pid` is elsewhere. Dropping it puts the file back.
#[derive(Debug)]
pub struct HiddenPidFile {
    file: PathBuf,
    kept: PathBuf,
    stand: Stand,
}

impl Postgres {
    /// Appends lines to `postgresql.conf`: they win over those before, and wait for a reload.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append_settings(&self, lines: &str) -> Result<()> {
        let path = self.data_dir().join("postgresql.conf");
        let mut file = File::options().append(true).open(&path)?;
        writeln!(file, "{lines}").with_context(|| format!("cannot write {}", path.display()))
    }

    /// Gives a running server other rules of access, in force when it returns.
    ///
    /// # Errors
    /// If the file cannot be written, or the server does not read it.
    pub fn set_access(&self, rules: &str) -> Result<()> {
        let session = self.session()?;
        fs::write(self.data_dir().join("pg_hba.conf"), rules)?;
        session.rows("select pg_reload_conf()")?;
        let rules = rules.lines().count();
        clock::wait_until("the rules to be read", GENEROUS, AT_ONCE, || {
            let read =
                session.value("select count(*) from pg_hba_file_rules where error is null")?;
            Ok((read == rules.to_string()).then_some(()))
        })
    }

    /// The process of the server that calls itself so in its title (`startup`, `walreceiver`), as soon
    /// as there is one.
    ///
    /// # Errors
    /// If there is none within half a minute.
    pub fn wait_for_process(&self, title: &str) -> Result<i32> {
        let main = self.main_pid()?;
        let children = format!("/proc/{main}/task/{main}/children");
        let wanted = format!("postgres: {title}");
        clock::wait_until(&format!("a process {wanted:?}"), GENEROUS, AT_ONCE, || {
            let children = fs::read_to_string(&children)?;
            let mut pids = children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
            Ok(pids.find(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.starts_with(wanted.as_bytes())
            }))
        })
    }

    /// Sends a signal to one process of the server.
    ///
    /// # Errors
    /// If it is not on this host, or has ended.
    pub fn signal_process(&self, pid: i32, signal: Signal) -> Result<()> {
        let found = process::signal_one_in(self.host().namespace().inode()?, pid, signal)?;
        ensure!(found, "process {pid} does not run on {}", self.host().name());
        Ok(())
    }

    /// Puts something else in the place of `postmaster.pid`, in one step where it is not nothing.
    ///
    /// # Errors
    /// If the files cannot be made or moved.
    pub fn hide_pid_file(&self, stand: Stand) -> Result<HiddenPidFile> {
        let file = self.data_dir().join("postmaster.pid");
        let kept = self.data_dir().join("postmaster.pid.kept");
        match stand {
            Stand::Directory => fs::create_dir(&kept)?,
            Stand::Fifo => mkfifo(&kept, Mode::from_bits_truncate(0o600))?,
            Stand::Nothing => fs::rename(&file, &kept)?,
        }
        if stand != Stand::Nothing {
            exchange(&file, &kept)?;
        }
        Ok(HiddenPidFile { file, kept, stand })
    }
}

fn exchange(one: &Path, other: &Path) -> Result<()> {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)
        .with_context(|| format!("cannot exchange {} and {}", one.display(), other.display()))
}

impl HiddenPidFile {
    fn put_back(&self) -> Result<()> {
        match self.stand {
            Stand::Nothing => fs::rename(&self.kept, &self.file)?,
            Stand::Directory => {
                exchange(&self.file, &self.kept)?;
                fs::remove_dir(&self.kept)?;
            }
            Stand::Fifo => {
                exchange(&self.file, &self.kept)?;
                // Who waits in it waits for a writer.
                let _ = File::options().read(true).write(true).open(&self.kept);
                fs::remove_file(&self.kept)?;
            }
        }
        Ok(())
    }
}

impl Drop for HiddenPidFile {
    fn drop(&mut self) {
        if let Err(error) = self.put_back() {
            eprintln!("postmaster.pid is not back: {error:#}");
        }
    }
}
