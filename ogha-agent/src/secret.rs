//! Files that only their owner may read.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, ensure};

use crate::guest::trusted;

/// Reads at most `most` octets of a secret. `what` names it in the errors ("the cluster's key"),
/// `remedy` says how to make one.
///
/// # Errors
/// When it is not there, when it is no file, when others than its owner may read it, or when
/// somebody else owns it.
pub fn read(what: &str, path: &Path, most: u64, remedy: &str) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let cannot = || format!("cannot read {what} {shown}; {remedy}");
    let mut options = fs::File::options();
    // A FIFO must not be waited for.
    let mut file =
        options.read(true).custom_flags(libc::O_NONBLOCK).open(path).with_context(cannot)?;
    let metadata = file.metadata().with_context(cannot)?;
    ensure!(metadata.is_file(), "{what} {shown} is no file");
    let mode = metadata.mode();
    ensure!(
        mode & 0o077 == 0,
        "{what} {shown} may be read by others (mode {:o}); `chmod 600 {shown}`",
        mode & 0o777
    );
    let owner = metadata.uid();
    ensure!(
        owner == 0 || owner == nix::unistd::geteuid().as_raw(),
        "{what} {shown} belongs to user {owner}; `chown root {shown}`"
    );
    let absolute = std::path::absolute(path).with_context(cannot)?;
    trusted::only_roots(&absolute).with_context(|| format!("{what} {shown} is not safe"))?;
    let mut bytes = Vec::new();
    file.by_ref().take(most).read_to_end(&mut bytes).with_context(cannot)?;
    Ok(bytes)
}
