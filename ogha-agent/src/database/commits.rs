//! The settings that decide whom commits wait for.

/// The settings in force at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Commits {
    /// `synchronous_standby_names`.
    pub names: String,
    /// Why the commits of some session wait for nobody, whatever the names.
    pub refusal: Option<String>,
    /// When the server started: another life begins anew.
    pub server: Option<String>,
}

/// The values of `synchronous_commit` with which a commit waits for a standby. openGauss shows
/// `remote_receive` as well.
const WAITING: [&str; 8] =
    ["on", "true", "yes", "1", "remote_apply", "remote_write", "remote_receive", "2"];

/// How the reason begins that is the server's own setting.
const SERVER: &str = "synchronous_commit = ";
const UNKNOWN: &str = "unknown";

/// Whether commits wait with this value of `synchronous_commit`.
pub(super) fn waits(value: &str) -> bool {
    WAITING.iter().any(|waiting| value.eq_ignore_ascii_case(waiting))
}

/// Whether that reason is the server's own setting, not one of a role or a database.
pub(super) fn is_of_the_server(refusal: &str) -> bool {
    refusal.strip_prefix(SERVER).is_some_and(|value| value != UNKNOWN)
}

/// Why the commits of some session wait for nobody: the value that the asking session sees, and what
/// roles and databases set instead (see [`OVERRIDES`]). A setting that hides the server's own value
/// from the asking session is a reason as well, for nothing is known then.
pub(super) fn refusal(
    value: Option<&str>,
    overrides: Option<&str>,
    user: &str,
    dbname: &str,
) -> Option<String> {
    let value = value.unwrap_or(UNKNOWN);
    if !waits(value) {
        return Some(format!("{SERVER}{value}"));
    }
    let all: Vec<_> = overrides.unwrap_or_default().lines().filter_map(Override::parse).collect();
    if let Some(bad) = all.iter().find(|own| !waits(own.value)) {
        return Some(format!("{} has synchronous_commit = {}", bad.whose(), bad.value));
    }
    let hides = |own: &&Override<'_>| {
        let matches = |set: &str, ours: &str| set.is_empty() || set == ours;
        let for_all = own.role.is_empty() && own.database.is_empty();
        !for_all && matches(own.role, user) && matches(own.database, dbname)
    };
    let hiding = all.iter().find(hides)?;
    Some(format!(
        "{} has a synchronous_commit of its own, which hides the server's from ogha; reset it",
        hiding.whose()
    ))
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
        assert_eq!(of(Some("on"), None), None);
        assert_eq!(of(Some("remote_apply"), Some("")), None);
        assert_eq!(of(None, None).unwrap(), "synchronous_commit = unknown");
        assert_eq!(of(Some("local"), None).unwrap(), "synchronous_commit = local");
        assert!(is_of_the_server(&of(Some("local"), None).unwrap()));
        assert!(!is_of_the_server(&of(None, None).unwrap()));
        let off = of(Some("on"), Some("app\t\tON\nbatch\t\toff")).unwrap();
        assert_eq!(off, "role batch has synchronous_commit = off");
        assert!(!is_of_the_server(&off));
        let database = of(Some("on"), Some("\tshop\tlocal")).unwrap();
        assert_eq!(database, "database shop has synchronous_commit = local");
        let both = of(Some("on"), Some("app\tshop\tfalse")).unwrap();
        assert_eq!(both, "role app in database shop has synchronous_commit = false");
    }

    #[test]
    fn what_hides_the_servers_value_is_a_reason() {
        let of = |overrides| refusal(Some("on"), Some(overrides), "postgres", "postgres");
        assert_eq!(of("\t\ton"), None, "that is the value for all");
        assert_eq!(of("app\t\ton\n\tshop\ton\npostgres\tshop\ton"), None, "other sessions'");
        for own in ["postgres\t\ton", "\tpostgres\ton", "postgres\tpostgres\tremote_apply"] {
            assert!(of(own).unwrap().contains("hides the server's"), "{own:?}");
        }
    }
}
