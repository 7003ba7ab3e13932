//! What the user of `primary_conninfo` may do at the upstream, asked there.

/// What `pg_rewind` calls at its source, and what the rejoin orders before it (PostgreSQL's
/// documentation, "pg_rewind"): a row of `t` and `f`.
pub const REWIND: &str = "select \
    pg_catalog.has_function_privilege('pg_catalog.pg_ls_dir(text, boolean, boolean)', 'execute'), \
    pg_catalog.has_function_privilege('pg_catalog.pg_stat_file(text, boolean)', 'execute'), \
    pg_catalog.has_function_privilege('pg_catalog.pg_read_binary_file(text)', 'execute'), \
    pg_catalog.has_function_privilege('pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)', \
        'execute'), \
    (select mine.rolsuper or exists (select from pg_catalog.pg_roles as may \
            where may.rolname = 'pg_checkpoint' and pg_catalog.pg_has_role(may.oid, 'usage')) \
        from pg_catalog.pg_roles as mine where mine.rolname = current_user)";

/// The functions in the order of the columns.
const FUNCTIONS: [&str; 4] = [
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
];

/// What is missing, after the user as the subject; by `psql`'s row `t|t|f|t|t`.
pub fn lacking(row: &str) -> Option<String> {
    let cells: Vec<_> = row.split('|').collect();
    let denied = |at: usize| cells.get(at).is_none_or(|cell| *cell != "t");
    let functions: Vec<_> =
        FUNCTIONS.iter().enumerate().filter(|(at, _)| denied(*at)).map(|(_, name)| *name).collect();
    if !functions.is_empty() {
        return Some(format!(
            "may not call {}, which pg_rewind needs: GRANT EXECUTE ON FUNCTION .. TO it",
            functions.join(", ")
        ));
    }
    denied(FUNCTIONS.len()).then(|| {
        "may not order a CHECKPOINT, which a rejoin does before pg_rewind: GRANT pg_checkpoint TO it \
         (before version 15 only a superuser may)"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(lacking("t|t|t|t|t"), None);
        let denied = lacking("t|t|f|t|t").unwrap();
        assert!(denied.contains("pg_read_binary_file(text), which"), "{denied}");
        assert!(lacking("t|t|t|t|f").unwrap().contains("CHECKPOINT"));
        assert!(lacking("").unwrap().contains("pg_ls_dir"), "nothing was answered");
    }
}
