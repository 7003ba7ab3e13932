//! `postgresql.auto.conf` of a server that does not run.

use std::path::Path;

use super::super::files;

/// The file, in the data directory.
pub const FILE: &str = "postgresql.auto.conf";

/// Sets parameters as `ALTER SYSTEM` does, for the next start.
///
/// # Errors
/// When the file cannot be read or written.
pub fn set(data_dir: &Path, settings: &[(&str, &str)]) -> anyhow::Result<()> {
    let path = data_dir.join(FILE);
    let old = files::read(&path)?.unwrap_or_default();
    files::replace(&path, edit(&String::from_utf8_lossy(&old), settings).as_bytes())
}

fn edit(old: &str, settings: &[(&str, &str)]) -> String {
    let sets = |line: &&str| {
        let name = line.trim_start().split(|c: char| c == '=' || c.is_whitespace()).next();
        settings.iter().any(|(key, _)| name.is_some_and(|name| name.eq_ignore_ascii_case(key)))
    };
    let mut text: String =
        old.lines().filter(|line| !sets(line)).map(|line| format!("{line}\n")).collect();
    for (key, value) in settings {
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        text.push_str(&format!("{key} = '{value}'\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_set_once_and_the_others_stay() {
        let old = "# Do not edit\nprimary_conninfo = 'old'\nPRIMARY_CONNINFO='older'\nport = 1\n";
        assert_eq!(
            edit(old, &[("primary_conninfo", r"password='it\'s'")]),
            "# Do not edit\nport = 1\nprimary_conninfo = 'password=''it\\\\''s'''\n"
        );
    }
}
