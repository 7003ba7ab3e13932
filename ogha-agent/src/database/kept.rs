//! What rejoins have kept beside the data directory. ogha never removes it, so that it must be named.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::files;

/// What the names of kept directories have behind the data directory's.
const KEPT: [&str; 2] = [".ogha-before-", ".ogha-lost-"];

/// Something that a rejoin has kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of it.
    pub bytes: u64,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), Size(self.bytes))
    }
}

/// Bytes, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.into_iter().find(|(_, bits)| self.0 >> bits > 0) {
            Some((unit, bits)) => write!(f, "{:.1} {unit}", self.0 as f64 / f64::from(1 << bits)),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// What earlier rejoins have kept of a data directory, the oldest first.
///
/// # Errors
/// When the directory above cannot be read.
pub(super) fn beside(data_dir: &Path) -> anyhow::Result<Vec<Kept>> {
    let (Some(parent), Some(name)) = (data_dir.parent(), data_dir.file_name()) else {
        return Ok(Vec::new());
    };
    let name = name.to_string_lossy();
    let is_kept = |entry: &files::Entry| {
        let rest = entry.name.strip_prefix(&*name);
        entry.meta.is_dir() && rest.is_some_and(|rest| KEPT.iter().any(|k| rest.starts_with(k)))
    };
    let mut found = Vec::new();
    for entry in files::list(parent)?.into_iter().filter(is_kept) {
        let path = parent.join(entry.name);
        found.push(Kept { bytes: files::size(&path).unwrap_or(0), path });
    }
    // Their names end with the time.
    let time = |kept: &Kept| {
        let name = kept.path.to_string_lossy();
        name.rsplit('-').next().map(str::to_owned)
    };
    found.sort_by_key(time);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn sizes_for_people() {
        let shown = |bytes| Size(bytes).to_string();
        assert_eq!([shown(0), shown(1023), shown(1024)], ["0 bytes", "1023 bytes", "1.0 KiB"]);
        assert_eq!([shown(16 << 20), shown(3 << 29)], ["16.0 MiB", "1.5 GiB"]);
    }

    #[test]
    fn what_rejoins_kept_is_found_with_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let names = [
            "data.ogha-lost-20260102T000000Z",
            "data.ogha-before-20260101T000000Z",
            "data.ogha-rejoin",
            "data2.ogha-lost-20260101T000000Z",
            "data",
        ];
        for name in names {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("file"), [0; 2048]).unwrap();
        }
        fs::write(dir.path().join("data.ogha-lost-file"), "").unwrap();
        let found = beside(&data).unwrap();
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        let at = |name: &str| format!("{}/{name} (2.0 KiB)", dir.path().display());
        assert_eq!(shown, [at(names[1]), at(names[0])]);
    }
}
