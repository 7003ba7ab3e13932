//! No two files of a crate need each other: the modules of each crate, and which of them uses which,
//! read from the `use` lines and the paths in their source.
//!
//! A module and those below it are one job, so they may use each other. A name that is passed on by
//! `pub use` counts where it is defined.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::cargo;

/// Where a module is in its crate: `["kernel", "place"]`.
type Name = Vec<String>;

/// What a file says of others.
#[derive(Default)]
struct Module {
    uses: BTreeSet<Name>,
    /// A name that it passes on, and where that comes from.
    passes_on: BTreeMap<String, Name>,
}

type Modules = BTreeMap<Name, Module>;

/// The modules of the crate whose sources are there, without tests.
fn read(sources: &Path) -> Result<Modules> {
    let mut files = BTreeMap::new();
    let mut folders = vec![sources.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                let relative = path.strip_prefix(sources)?.with_extension("");
                let mut name: Name =
                    relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                if name.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
                    name.pop();
                }
                if !name.iter().any(|part| part.ends_with("tests")) {
                    files.insert(name, text);
                }
            }
        }
    }
    let names: BTreeSet<Name> = files.keys().cloned().collect();
    Ok(files.into_iter().map(|(name, text)| (name.clone(), parse(&name, &text, &names))).collect())
}

fn parse(name: &Name, text: &str, names: &BTreeSet<Name>) -> Module {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut module = Module::default();
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    while let Some(line) = lines.next() {
        let (public, rest) = match line.strip_prefix("pub") {
            Some(rest) => (true, rest.trim_start_matches(|c: char| c != ' ').trim()),
            None => (false, line),
        };
        if let Some(tree) = rest.strip_prefix("use ") {
            let mut tree = tree.to_owned();
            while !tree.contains(';') {
                let Some(line) = lines.next() else { break };
                tree.push(' ');
                tree.push_str(line);
            }
            for path in leaves(tree.trim_end_matches(';')) {
                let Some(full) = absolute(name, &path, names) else { continue };
                if let Some(last) = full.last().filter(|_| public) {
                    module.passes_on.insert(last.clone(), full.clone());
                }
                module.uses.insert(full);
            }
        } else {
            module.uses.extend(paths(line).filter_map(|path| absolute(name, &path, names)));
        }
    }
    module
}

/// The paths in a line of code that begin with `crate` or `super`.
fn paths(line: &str) -> impl Iterator<Item = Name> + '_ {
    let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let ours = words.filter(|word| word.starts_with("crate::") || word.starts_with("super::"));
    ours.map(|word| word.split("::").map(str::to_owned).collect())
}

/// The paths of a use tree: `a::{b, c::d}` has two.
fn leaves(tree: &str) -> Vec<Name> {
    let tree = tree.trim();
    let Some((prefix, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let parts = path.split("::").map(|part| part.trim().to_owned());
        return vec![parts.filter(|part| part != "*").collect()];
    };
    let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
    let prefix: Name =
        prefix.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let mut depth = 0_u32;
    let branches = inner.split(move |c| {
        depth = depth + u32::from(c == '{') - u32::from(c == '}');
        c == ',' && depth == 0
    });
    let branches = branches.filter(|branch| !branch.trim().is_empty());
    let full = |leaf: Name| -> Name {
        let leaf = leaf.into_iter().filter(|part| part != "self");
        prefix.iter().cloned().chain(leaf).collect()
    };
    branches.flat_map(leaves).map(full).collect()
}

/// From the crate's root; `None` for what is of another crate.
fn absolute(module: &Name, path: &Name, names: &BTreeSet<Name>) -> Option<Name> {
    let (mut base, rest) = match path.first()?.as_str() {
        "crate" => (Vec::new(), &path[1..]),
        "self" => (module.clone(), &path[1..]),
        "super" => (module.clone(), &path[..]),
        first => {
            let below: Name = module.iter().cloned().chain([first.to_owned()]).collect();
            names.contains(&below).then(|| (module.clone(), &path[..]))?
        }
    };
    let up = rest.iter().take_while(|part| *part == "super").count();
    base.truncate(base.len().saturating_sub(up));
    base.extend(rest[up..].iter().filter(|part| !part.is_empty()).cloned());
    Some(base)
}

/// The module that defines what is named so.
fn home(path: &Name, modules: &Modules) -> Name {
    let mut path = path.clone();
    // No name is passed on more often than that.
    for _ in 0..8 {
        let known = (0..=path.len()).rev().find(|&end| modules.contains_key(&path[..end]));
        let end = known.unwrap_or_default();
        let next = path.get(end).and_then(|name| modules.get(&path[..end])?.passes_on.get(name));
        match next {
            Some(next) if *next != path => path = next.clone(),
            _ => return path[..end].to_vec(),
        }
    }
    path
}

/// Which module needs which, but for those below and above.
fn edges(modules: &Modules) -> BTreeMap<Name, BTreeSet<Name>> {
    let mut edges = BTreeMap::new();
    for (name, module) in modules {
        let used = module.uses.iter().map(|path| home(path, modules));
        let others = used.filter(|other| !other.starts_with(name) && !name.starts_with(other));
        edges.insert(name.clone(), others.collect());
    }
    edges
}

/// All that is reached from there, in one step or in many.
fn reach(from: &Name, edges: &BTreeMap<Name, BTreeSet<Name>>) -> BTreeSet<Name> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        for next in edges.get(name).into_iter().flatten() {
            if reached.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    reached
}

/// The modules that reach themselves.
fn circles(modules: &Modules) -> Vec<String> {
    let edges = edges(modules);
    let reached: BTreeMap<_, _> = edges.keys().map(|name| (name, reach(name, &edges))).collect();
    let round = |name: &&Name| reached[*name].contains(*name);
    let on_circle =
        |from: &Name, to: &&Name| reached.get(to).is_some_and(|back| back.contains(from));
    let tell = |name: &Name| {
        let others: Vec<_> =
            edges[name].iter().filter(|to| on_circle(name, to)).map(|to| to.join("::")).collect();
        format!("{} uses {}", name.join("::"), others.join(", "))
    };
    edges.keys().filter(round).map(tell).collect()
}

#[test]
fn no_two_files_need_each_other() {
    let mut found = Vec::new();
    for package in ["ogha-common", "ogha-agent", "ogha-ebpf", "xtask"] {
        let modules = read(&cargo::workspace().join(package).join("src")).unwrap();
        assert!(modules.len() > 10, "{package} has so few modules: {}", modules.len());
        found.extend(circles(&modules).into_iter().map(|circle| format!("{package}: {circle}")));
    }
    assert!(found.is_empty(), "there are circles: {found:#?}");
}

#[test]
fn a_circle_is_found_through_names_that_are_passed_on() {
    let files = [
        (vec![], "mod a;\nmod b;\nmod c;\n"),
        (vec!["a"], "mod deep;\npub use deep::{self, Thing};\n"),
        (vec!["a", "deep"], "pub struct Thing;\nfn f() { super::super::b::f() }\n"),
        (vec!["b"], "use crate::{\n    a::Thing, // crate::c is no use\n    other as _,\n};\n"),
        (vec!["c"], "use super::{a::{deep::Thing}, b};\n#[cfg(test)]\nmod tests {\n}\n"),
    ];
    let name = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Name>();
    let names: BTreeSet<Name> = files.iter().map(|(parts, _)| name(parts)).collect();
    let parsed = |(parts, text): &(Vec<&str>, &str)| {
        let name = name(parts);
        (name.clone(), parse(&name, text, &names))
    };
    let modules: Modules = files.iter().map(parsed).collect();
    assert_eq!(circles(&modules), ["a::deep uses b", "b uses a::deep"]);
}
