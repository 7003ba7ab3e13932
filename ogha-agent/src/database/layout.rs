//! Where packages put the configuration and the tools of a server.
//!
//! Debian keeps the configuration of `15/main` in `/etc/postgresql/15/main`, and its data directory
//! holds none; RHEL and PostgreSQL's own packages keep it in the data directory, as `initdb` makes
//! it. What an earlier start was given (`postmaster.opts`) says more than either, but a copy that was
//! never started has no such file.

use std::path::{Path, PathBuf};

use super::files;

/// Where Debian's postgresql-common keeps configurations: version, name.
const DEBIAN: &str = "/etc/postgresql";
const CONFIG: &str = "postgresql.conf";
/// Longer than any version, and than any configuration that is read here.
const VERSION: u64 = 16;
const LONGEST: u64 = 1 << 20;

/// The configuration file of the server in that data directory, if it is not in there.
pub(super) fn configuration(data_dir: &Path) -> Option<PathBuf> {
    configuration_in(Path::new(DEBIAN), data_dir)
}

fn configuration_in(root: &Path, data_dir: &Path) -> Option<PathBuf> {
    if files::exists(&data_dir.join(CONFIG)) {
        return None;
    }
    let data_dir = files::real(data_dir);
    let inside = |dir: PathBuf| {
        let entries = files::list(&dir).unwrap_or_default().into_iter();
        entries.map(move |entry| dir.join(entry.name))
    };
    let mut clusters = inside(root.to_owned()).flat_map(inside).map(|cluster| cluster.join(CONFIG));
    clusters.find(|file| {
        let named = setting(&read(file, LONGEST), "data_directory");
        named.is_some_and(|named| files::real(Path::new(&named)) == data_dir)
    })
}

/// The last value of a setting in a configuration file, without its quotes.
fn setting(text: &str, name: &str) -> Option<String> {
    let value = |line: &str| {
        let rest = line.trim_start().strip_prefix(name)?;
        let rest = rest.trim_start().strip_prefix('=').unwrap_or(rest).trim_start();
        let quoted = rest.strip_prefix('\'')?;
        Some(quoted.split('\'').next()?.to_owned())
    };
    text.lines().filter_map(value).next_back()
}

/// Where the packages of the version that made the data directory put its tools.
pub(super) fn tools(data_dir: &Path) -> Vec<PathBuf> {
    let version = read(&data_dir.join("PG_VERSION"), VERSION);
    let version = version.trim();
    if version.is_empty() || !version.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Vec::new();
    }
    vec![
        format!("/usr/lib/postgresql/{version}/bin").into(),
        format!("/usr/pgsql-{version}/bin").into(),
    ]
}

/// Whose directory it is must not make us wait, nor read what is elsewhere.
fn read(path: &Path, most: u64) -> String {
    let bytes = files::begin(path, most).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn debians_configuration_is_found_by_its_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (etc, data) = (dir.path().join("etc"), dir.path().join("lib/15/main"));
        fs::create_dir_all(&data).unwrap();
        for (name, place) in [("other", "/nowhere"), ("main", data.to_str().unwrap())] {
            let cluster = etc.join("15").join(name);
            fs::create_dir_all(&cluster).unwrap();
            let text =
                format!("# data_directory = 'x'\ndata_directory = '{place}'\t\t# use data\n");
            fs::write(cluster.join(CONFIG), text).unwrap();
        }
        assert_eq!(configuration_in(&etc, &data), Some(etc.join("15/main").join(CONFIG)));
        assert_eq!(configuration_in(&etc, dir.path()), None);
        fs::write(data.join(CONFIG), "").unwrap();
        assert_eq!(configuration_in(&etc, &data), None, "its own comes first");
    }

    #[test]
    fn tools_are_those_of_the_version() {
        let dir = tempfile::tempdir().unwrap();
        assert!(tools(dir.path()).is_empty());
        let version = dir.path().join("PG_VERSION");
        fs::write(&version, "15\n").unwrap();
        assert_eq!(tools(dir.path())[0], Path::new("/usr/lib/postgresql/15/bin"));
        fs::write(&version, "../../home\n").unwrap();
        assert!(tools(dir.path()).is_empty());
        fs::remove_file(&version).unwrap();
        nix::unistd::mkfifo(&version, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(tools(dir.path()).is_empty());
    }
}
