//! The options that the server's last start was given.

use std::ffi::OsStr;

use super::super::{layout, local::Local};

/// The options of the last start, without the data directory: `postmaster.opts` holds the program
/// and then each word in quotes. Debian's say where the configuration is; if it was never started, the
/// package's place for it is looked at.
pub fn last_options(local: &Local) -> Vec<String> {
    let text = local.read("postmaster.opts").unwrap_or_default();
    let mut options = options(&String::from_utf8_lossy(&text));
    let configuration = || layout::configuration(&local.server.data_dir);
    if !options.iter().any(|option| option.contains("config_file="))
        && let Some(file) = local.as_owner(configuration).ok().flatten()
    {
        options.extend(["-c".to_owned(), format!("config_file={}", file.display())]);
    }
    options
}

fn options(text: &str) -> Vec<String> {
    let Some((_, words)) = text.trim_end().split_once(" \"") else { return Vec::new() };
    let words = words.strip_suffix('"').unwrap_or(words);
    let mut kept = Vec::new();
    let mut words = words.split("\" \"");
    while let Some(word) = words.next() {
        match word {
            "-D" => drop(words.next()),
            other => kept.push(other.to_owned()),
        }
    }
    kept
}

/// As words of the shell that `pg_ctl` hands them to.
pub fn shell_words(words: &[String]) -> String {
    let quoted = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

/// The same where no shell reads them.
pub fn as_arguments(words: &[String]) -> impl Iterator<Item = &OsStr> {
    words.iter().map(OsStr::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_the_last_start() {
        let text = "/usr/lib/postgresql/15/bin/postgres \"-D\" \"/var/lib/my data\" \"-c\" \"config_file=/etc/it's.conf\"\n";
        let options = options(text);
        assert_eq!(options, ["-c", "config_file=/etc/it's.conf"]);
        assert_eq!(shell_words(&options), r"'-c' 'config_file=/etc/it'\''s.conf'");
        assert!(super::options("/bin/postgres\n").is_empty());
        assert!(super::options("").is_empty());
    }
}
