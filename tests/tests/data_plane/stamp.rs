//! A data plane that another build has left.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ogha_common::maps::{GATE_OPEN, Gate, name};

use crate::{
    stage::{INSTANCE, Stage, claimed, closed, open, run, start},
    traffic,
};

fn pin(stage: &Stage, name: &str) -> PathBuf {
    stage.node.bpf_dir().join(name)
}

fn bpftool(stage: &Stage, words: &str, path: &Path, rest: &str) -> String {
    let path = path.to_str().unwrap();
    let all = words.split(' ').chain([path]).chain(rest.split(' ').filter(|word| !word.is_empty()));
    let command: Vec<&str> = ["bpftool"].into_iter().chain(all).collect();
    run(&stage.node, &command)
}

fn stamp(stage: &Stage) -> String {
    bpftool(stage, "map dump pinned", &pin(stage, name::STAMP), "")
}

/// As if another build had made what is pinned.
fn restamp(stage: &Stage) {
    let value = "key 0 0 0 0 value 7 0 0 0 0 0 0 0";
    bpftool(stage, "map update pinned", &pin(stage, name::STAMP), value);
}

/// As if another build had made this map: of the same size, without the same types.
fn remake(stage: &Stage, name: &str, sizes: &str) {
    fs::remove_file(pin(stage, name)).unwrap();
    let what = format!("{sizes} entries 16 name {name}");
    bpftool(stage, "map create", &pin(stage, name), &what);
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Clients ask and connect while data planes of other builds are replaced, one after the other:
/// each question and each SYN is answered, and the gate and the counters stay.
#[test]
fn another_builds_data_plane_is_replaced_under_traffic() {
    const REPLACEMENTS: usize = 4;
    let mut stage = Stage::set("stamp-traffic");
    let gate = claimed();
    stage.gate(gate);
    let (ours, pins) = (stamp(&stage), names(&stage.node.bpf_dir()));
    let asked = traffic::during(&mut stage, |stage| {
        for round in 0..REPLACEMENTS {
            restamp(stage);
            if round % 2 == 1 {
                remake(stage, name::WATCHES, "type array key 4 value 16");
            }
            stage.kernel = start(&stage.node);
            assert_eq!(stage.kernel.gate(INSTANCE).unwrap(), gate);
            assert_eq!(stamp(stage), ours);
        }
    });
    assert!(asked > REPLACEMENTS as u64);
    assert_eq!(stage.kernel.arp_counters(INSTANCE).unwrap().answered, asked);
    assert_eq!(stage.kernel.port_counters(INSTANCE).unwrap().rejected, asked);
    assert_eq!(names(&stage.node.bpf_dir()), pins);
}

/// Another build has left gates that are as large as ours and mean something else: what would look
/// like an open gate is not believed.
#[test]
fn a_map_of_equal_size_and_other_meaning_is_not_kept() {
    let mut stage = Stage::set("stamp-meaning");
    stage.gate(open());
    remake(&stage, name::GATES, "type array key 4 value 24");
    let looks_open =
        format!("{GATE_OPEN} 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 255 255 255 255 255 255 255 127");
    let update = format!("key 0 0 0 0 value {looks_open}");
    bpftool(&stage, "map update pinned", &pin(&stage, name::GATES), &update);
    restamp(&stage);
    stage.kernel = start(&stage.node);
    assert_eq!(stage.kernel.gate(INSTANCE).unwrap(), Gate::default());
    assert_eq!(stage.ask_for_vip(), None);
    stage.gate(open());
    assert!(stage.ask_for_vip().is_some());
}

/// Another build used a map and a link more, and a start of it was cut short: all of that goes. What
/// others have pinned beside it stays.
#[test]
fn what_another_build_has_left_is_removed() {
    let mut stage = Stage::set("stamp-left");
    stage.gate(closed());
    let (bpf_dir, links) = (stage.node.bpf_dir(), stage.node.bpf_dir().join("links"));
    let (before, links_before) = (names(&bpf_dir), names(&links));
    let id = |words: &str, path: &Path| {
        let shown = bpftool(&stage, words, path, "");
        shown.split(':').next().unwrap().trim().to_owned()
    };
    let gates = id("map show pinned", &pin(&stage, name::GATES));
    bpftool(&stage, &format!("map pin id {gates}"), &pin(&stage, "LEASES_OF_OLD"), "");
    let index = crate::stage::interface(&stage.node).index;
    let egress = id("link show pinned", &links.join(format!("tcx_egress_{index}")));
    bpftool(&stage, &format!("link pin id {egress}"), &links.join("egress_of_old"), "");
    fs::create_dir(bpf_dir.join("next")).unwrap();
    bpftool(&stage, &format!("map pin id {gates}"), &bpf_dir.join("next/GATES"), "");
    let foreign = bpf_dir.join("FOREIGN");
    bpftool(&stage, "map create", &foreign, "type array key 4 value 8 entries 1 name FOREIGN");
    restamp(&stage);
    stage.kernel = start(&stage.node);
    let mut expected = [&["FOREIGN".to_owned()][..], &before].concat();
    expected.sort();
    assert_eq!(names(&bpf_dir), expected);
    assert_eq!(names(&links), links_before);
    fs::remove_file(foreign).unwrap();
}

/// A start was killed when all was in place but the stamp: the next one takes it over.
#[test]
fn a_start_that_was_cut_short_is_made_good() {
    let mut stage = Stage::set("stamp-short");
    let gate = open();
    stage.gate(gate);
    let (ours, pins) = (stamp(&stage), names(&stage.node.bpf_dir()));
    let zero = "key 0 0 0 0 value 0 0 0 0 0 0 0 0";
    bpftool(&stage, "map update pinned", &pin(&stage, name::STAMP), zero);
    fs::remove_file(pin(&stage, name::PORT_COUNTERS)).unwrap();
    stage.kernel = start(&stage.node);
    assert_eq!(stage.kernel.gate(INSTANCE).unwrap(), gate);
    assert!(stage.ask_for_vip().is_some());
    assert_eq!((stamp(&stage), names(&stage.node.bpf_dir())), (ours, pins));
}
