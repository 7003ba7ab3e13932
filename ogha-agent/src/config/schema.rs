//! Which keys exist, and where: the one list behind "unknown key" and behind the documentation.

/// A table of the file and the keys it may hold.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The dotted path; empty for the top of the file.
    pub path: &'static str,
    /// How its header is written.
    pub header: &'static str,
    /// The keys, tables within among them.
    pub keys: &'static [&'static str],
}

/// All tables.
pub const SECTIONS: &[Section] = &[
    Section { path: "", header: "the top of the file", keys: &["node", "instance"] },
    Section {
        path: "node",
        header: "[node]",
        keys: &["name", "state_dir", "run_dir", "bpf_dir", "metrics_listen", "realtime", "log"],
    },
    Section {
        path: "instance",
        header: "[[instance]]",
        keys: &[
            "name",
            "interface",
            "xdp",
            "address",
            "virtual_router_id",
            "priority",
            "virtual_addresses",
            "vrrp",
            "peer",
            "liveness",
            "database",
            "failover",
            "arbiter",
            "hooks",
        ],
    },
    Section {
        path: "instance.vrrp",
        header: "[instance.vrrp]",
        keys: &["version", "advert_interval", "preempt", "transport", "auth_pass"],
    },
    Section { path: "instance.peer", header: "[[instance.peer]]", keys: &["name", "address"] },
    Section {
        path: "instance.liveness",
        header: "[instance.liveness]",
        keys: &[
            "port",
            "probe_interval",
            "detect_multiplier",
            "lease",
            "agent_timeout",
            "hang_timeout",
            "key_file",
        ],
    },
    Section {
        path: "instance.database",
        header: "[instance.database]",
        keys: &["kind", "port", "data_dir", "user", "bin_dir", "socket_dir", "dbname", "unit"],
    },
    Section {
        path: "instance.failover",
        header: "[instance.failover]",
        keys: &[
            "max_lag",
            "synchronous",
            "rejoin",
            "restart_attempts",
            "switchover_timeout",
            "closed_gate",
        ],
    },
    Section {
        path: "instance.arbiter",
        header: "[instance.arbiter]",
        keys: &[
            "kind",
            "addresses",
            "endpoints",
            "ca_file",
            "cert_file",
            "key_file",
            "username",
            "password_file",
            "prefix",
        ],
    },
    Section { path: "instance.hooks", header: "[instance.hooks]", keys: &["command", "timeout"] },
];

/// The section at `path`, which must be one of [`SECTIONS`].
pub(super) fn section(path: &str) -> &'static Section {
    SECTIONS.iter().find(|section| section.path == path).expect("the readers name only sections")
}

/// What to say of a key that `section` does not have.
pub(super) fn unknown(section: &Section, key: &str) -> String {
    let elsewhere = SECTIONS.iter().find(|other| other.keys.contains(&key));
    let near = nearest(key, section.keys.iter().copied());
    match (near, elsewhere) {
        (Some((near, distance)), None) => match close(key, distance) {
            true => format!("unknown key; did you mean {near:?}?"),
            false => format!("unknown key; the nearest known key is {near:?}"),
        },
        (_, Some(other)) => format!("unknown key here; it belongs to {}", other.header),
        (None, None) => "unknown key; remove it".to_owned(),
    }
}

/// The nearest of the words, with the number of letters to change.
pub(super) fn nearest<'w>(
    word: &str,
    words: impl IntoIterator<Item = &'w str>,
) -> Option<(&'w str, usize)> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    words
        .into_iter()
        .map(|known| (known, strsim::damerau_levenshtein(&word, known)))
        .min_by_key(|(_, distance)| *distance)
}

/// Whether a word at this distance is likely to be a slip of the one.
pub(super) fn close(word: &str, distance: usize) -> bool {
    distance <= (word.len() / 3).max(2)
}
