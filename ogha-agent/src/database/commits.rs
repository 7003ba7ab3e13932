//! The settings that decide whom commits wait for.

use std::fmt;

/// The settings in force at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Commits {
    /// `synchronous_standby_names`.
    pub names: String,
    /// Why the commits of some session wait for nobody, whatever the names.
    pub refusal: Option<Refusal>,
    /// When the server started: another life begins anew.
    pub server: Option<String>,
}

/// The values of `synchronous_commit` with which a commit waits for a standby. openGauss shows
/// `remote_receive` as well.
const WAITING: [&str; 8] =
    ["on", "true", "yes", "1", "remote_apply", "remote_write", "remote_receive", "2"];

/// Why the commits of some session wait for nobody, whatever `synchronous_standby_names` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server's own `synchronous_commit`, which ogha may set right.
    Server(String),
    /// What a role or a database has set instead, or what hides the server's value.
    Session(String),
    /// openGauss's `most_available_sync` is on: commits go on without a standby that is gone.
    MostAvailable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(value) => write!(f, "synchronous_commit = {value}"),
            Self::Session(reason) => f.write_str(reason),
            Self::MostAvailable => f.write_str("most_available_sync = on"),
        }
    }
}

/// Whether commits wait with this value of `synchronous_commit`.
pub(super) fn waits(value: &str) -> bool {
    WAITING.iter().any(|waiting| value.eq_ignore_ascii_case(waiting))
}

/// Why the commits of some session wait for nobody: the value that the asking session sees, and what
/// roles and databases set instead (see [`OVERRIDES`]). A setting that hides the server's own value
/// from the asking session is a reason as well, for nothing is known then.
pub(super) fn refusal(
    value: Option<&str>,
    overrides: Option<&str>,
    user: &str,
    dbname: &str,
) -> Option<Refusal> {
    let Some(value) = value else {
        return Some(Refusal::Session("synchronous_commit is unknown".to_owned()));
    };
    if !waits(value) {
        return Some(Refusal::Server(value.to_owned()));
    }
    let all: Vec<_> = overrides.unwrap_or_default().lines().filter_map(Override::parse).collect();
    if let Some(bad) = all.iter().find(|own| !waits(own.value)) {
        let reason = format!("{} has synchronous_commit = {}", bad.whose(), bad.value);
        return Some(Refusal::Session(reason));
    }
    let hides = |own: &&Override<'_>| {
        let matches = |set: &str, ours: &str| set.is_empty() || set == ours;
        let for_all = own.role.is_empty() && own.database.is_empty();
        !for_all && matches(own.role, user) && matches(own.database, dbname)
    };
    let hiding = all.iter().find(hides)?;
    Some(Refusal::Session(format!(
        "{} has a synchronous_commit of its own, which hides the server's from ogha; reset it",
        hiding.whose()
    )))
}

/// What roles and databases have set: a line each of role, database and value, apart by tabs; an
/// empty role or database means all.
pub(super) const OVERRIDES: &str = "(select pg_catalog.string_agg( \
    pg_catalog.concat(coalesce(role.rolname::pg_catalog.text, ''), E'\\t', \
        coalesce(base.datname::pg_catalog.text, ''), E'\\t', \
        pg_catalog.substr(own.setting, 20)), E'\\n') \
    from (select setrole, setdatabase, pg_catalog.unnest(setconfig) as setting \
        from pg_catalog.pg_db_role_setting) as own \
    left join pg_catalog.pg_roles as role on role.oid = own.setrole \
    left join pg_catalog.pg_database as base on base.oid = own.setdatabase \
    where own.setting like 'synchronous_commit=%')";

struct Override<'a> {
    role: &'a str,
    database: &'a str,
    value: &'a str,
}

impl<'a> Override<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut cells = line.splitn(3, '\t');
        Some(Self { role: cells.next()?, database: cells.next()?, value: cells.next()? })
    }

    fn whose(&self) -> String {
        match (self.role, self.database) {
            ("", "") => "ALTER ROLE ALL".to_owned(),
            (role, "") => format!("role {role}"),
            ("", database) => format!("database {database}"),
            (role, database) => format!("role {role} in database {database}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_commits_without_a_standby_is_named() {
        let of = |value, overrides| refusal(value, overrides, "postgres", "postgres");
        let session = |reason: &str| Some(Refusal::Session(reason.to_owned()));
        assert_eq!(of(Some("on"), None), None);
        assert_eq!(of(Some("remote_apply"), Some("")), None);
        assert_eq!(of(None, None), session("synchronous_commit is unknown"));
        let local = of(Some("local"), None).unwrap();
        assert_eq!(local, Refusal::Server("local".to_owned()));
        assert_eq!(local.to_string(), "synchronous_commit = local");
        let off = of(Some("on"), Some("app\t\tON\nbatch\t\toff"));
        assert_eq!(off, session("role batch has synchronous_commit = off"));
        let database = of(Some("on"), Some("\tshop\tlocal"));
        assert_eq!(database, session("database shop has synchronous_commit = local"));
        let both = of(Some("on"), Some("app\tshop\tfalse"));
        assert_eq!(both, session("role app in database shop has synchronous_commit = false"));
    }

    #[test]
    fn what_hides_the_servers_value_is_a_reason() {
        let of = |overrides| refusal(Some("on"), Some(overrides), "postgres", "postgres");
        assert_eq!(of("\t\ton"), None, "that is the value for all");
        assert_eq!(of("app\t\ton\n\tshop\ton\npostgres\tshop\ton"), None, "other sessions'");
        for own in ["postgres\t\ton", "\tpostgres\ton", "postgres\tpostgres\tremote_apply"] {
            assert!(of(own).unwrap().to_string().contains("hides the server's"), "{own:?}");
        }
    }
}
