//! `ogha-agent explain`

use std::fmt::Write as _;

use ogha_common::failover::TRANSITIONS;

use super::{Failure, output};

/// Where the columns of [`TRANSITIONS`] begin.
const COLUMNS: [usize; 4] = [0, 29, 54, 83];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only what happens in this phase, and what leads to it
    #[arg(long, value_name = "NAME")]
    phase: Option<String>,
    /// A graph in the language of Graphviz (`dot -Tsvg`)
    #[arg(long)]
    graph: bool,
}

/// One change of the phase.
struct Row<'a> {
    from: &'a str,
    input: &'a str,
    to: &'a str,
    why: &'a str,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    let wanted =
        |row: &Row<'_>| args.phase.as_deref().is_none_or(|name| row.from == name || row.to == name);
    let rows: Vec<_> = rows(TRANSITIONS).filter(wanted).collect();
    if rows.is_empty() {
        let known: std::collections::BTreeSet<_> =
            self::rows(TRANSITIONS).flat_map(|row| [row.from, row.to]).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        let error = anyhow::anyhow!("there is no such phase; there is {known}");
        return Err(Failure::start_up(error));
    }
    output::print(&if args.graph { graph(&rows) } else { table(&rows) })
}

fn rows(table: &str) -> impl Iterator<Item = Row<'_>> {
    table.lines().skip(1).map(|line| {
        let [from, input, to, why] = COLUMNS;
        let cell = |begin: usize, end: usize| line.get(begin..end).unwrap_or_default().trim();
        Row {
            from: cell(from, input),
            input: cell(input, to),
            to: cell(to, why),
            why: cell(why, line.len()),
        }
    })
}

fn table(rows: &[Row<'_>]) -> String {
    let mut text = format!("{:<28} {:<24} {:<28} why\n", "phase", "input", "next phase");
    for Row { from, input, to, why } in rows {
        let _ = writeln!(text, "{from:<28} {input:<24} {to:<28} {why}");
    }
    text
}

/// One edge for each pair of phases, with all its reasons.
fn graph(rows: &[Row<'_>]) -> String {
    let mut edges = std::collections::BTreeMap::<_, Vec<&str>>::new();
    for row in rows {
        let reasons = edges.entry((row.from, row.to)).or_default();
        if !reasons.contains(&row.why) {
            reasons.push(row.why);
        }
    }
    let mut text = "digraph phases {\n".to_owned();
    for ((from, to), reasons) in edges {
        let _ = writeln!(text, "  \"{from}\" -> \"{to}\" [label=\"{}\"];", reasons.join("\\n"));
    }
    text + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_as_it_was_written() {
        let all: Vec<_> = rows(TRANSITIONS).collect();
        assert!(all.len() > 100, "{}", all.len());
        assert_eq!(table(&all), TRANSITIONS);
        for row in &all {
            assert!(![row.from, row.input, row.to, row.why].contains(&""), "{}", row.why);
        }
        let graph = graph(&all);
        assert!(graph.contains("\"serving\" -> \"closing\""), "{graph}");
    }
}
