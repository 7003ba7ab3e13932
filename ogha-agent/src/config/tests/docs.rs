//! The sample and the page of the documentation stay true.

use super::*;

const SAMPLE: &str = include_str!("../../../../docs/ogha.toml");
const PAGE: &str = include_str!("../../../../docs/configuration.md");

/// Keys that are known only to be refused.
const NOT_YET: [(&str, &str); 1] = [("node", "metrics_listen")];

/// Keys of an arbiter that the sample does not choose.
const GATEWAY: [&str; 1] = ["addresses"];
const ETCD: [&str; 7] =
    ["endpoints", "ca_file", "cert_file", "key_file", "username", "password_file", "prefix"];

/// Each section with its values: no tables, nothing that is not supported.
fn documented() -> impl Iterator<Item = (&'static Section, &'static str)> {
    let is_table = |path: &str, key: &str| {
        SECTIONS.iter().any(|section| section.path == format!("{path}.{key}"))
    };
    SECTIONS
        .iter()
        .filter(|section| !section.path.is_empty())
        .flat_map(|section| section.keys.iter().map(move |key| (section, *key)))
        .filter(move |(section, key)| !is_table(section.path, key))
        .filter(|(section, key)| !NOT_YET.contains(&(section.path, key)))
}

/// The text from a section's header to the next header.
fn part<'t>(text: &'t str, start: &str, next: &str) -> &'t str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("{start:?} is missing"));
    rest.split(next).next().unwrap_or(rest)
}

/// The sample with those of its optional keys switched on, given their section and name.
fn sample_with(wanted: impl Fn(&str, &str) -> bool) -> String {
    let mut section = "";
    let line = |line: &'static str| {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_start_matches('[').split(']').next().unwrap_or(header);
        }
        match line.strip_prefix("# ") {
            Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| wanted(section, key)) => {
                rest
            }
            _ => line,
        }
    };
    SAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_is_a_good_file() {
    let config = Config::parse(SAMPLE, Path::new("docs/ogha.toml"));
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.instances[0].database.name(), "opengauss");
}

#[test]
fn what_the_sample_shows_as_a_default_is_the_default() {
    // What is of another kind is left out.
    let other = ["auth_pass", "unit"];
    let whole = sample_with(|section, key| section != "instance.arbiter" && !other.contains(&key));
    assert_ne!(whole, SAMPLE);
    let mut whole = Config::parse(&whole, Path::new("docs/ogha.toml"))
        .unwrap_or_else(|errors| panic!("{errors}"));
    // Those that say by words what their default is.
    assert!(whole.instances[0].address.take().is_some());
    assert!(whole.instances[0].hooks.command.take().is_some());
    let Database::Opengauss(server) = &mut whole.instances[0].database else { panic!("{whole:?}") };
    assert!(server.bin_dir.take().is_some() && server.socket_dir.take().is_some());
    assert_eq!(whole, Config::parse(SAMPLE, Path::new("docs/ogha.toml")).unwrap());
}

#[test]
fn the_sample_has_the_keys_of_each_arbiter() {
    for (kind, keys) in [("gateway", &GATEWAY[..]), ("etcd", &ETCD)] {
        let text = sample_with(|section, key| section == "instance.arbiter" && keys.contains(&key));
        let (before, arbiter) = text.split_once("[instance.arbiter]").unwrap();
        let arbiter = arbiter.replacen("\"none\"", &format!("{kind:?}"), 1);
        let text = format!("{before}[instance.arbiter]{arbiter}");
        let config = Config::parse(&text, Path::new("docs/ogha.toml"))
            .unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.instances[0].arbiter.name(), kind);
    }
}

#[test]
fn the_sample_and_the_page_have_every_key() {
    for (section, key) in documented() {
        let sample = part(SAMPLE, &format!("\n{}", section.header), "\n[");
        let stands = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} = "));
        assert!(sample.lines().any(stands), "{}: {key} in the sample", section.path);
        let page = part(PAGE, &format!("\n## `{}`\n", section.header), "\n## ");
        assert!(page.contains(&format!("\n| `{key}` | ")), "{}: {key} on the page", section.path);
    }
}

#[test]
fn the_page_has_no_key_that_is_not_known() {
    for section in SECTIONS.iter().filter(|section| !section.path.is_empty()) {
        let page = part(PAGE, &format!("\n## `{}`\n", section.header), "\n## ");
        let keys = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        for key in keys {
            assert!(section.keys.contains(&key), "{}: {key} is on the page only", section.path);
        }
    }
}
