//! The rules about hosts, paths and this node's own stalls, by name.

use super::*;

pub(super) fn words(bench: &Bench) -> Vec<&'static str> {
    bench.changes.iter().map(Verdict::as_str).collect()
}

#[test]
fn misses_are_counted_in_probes_sent() {
    let mut bench = Bench::healthy(1);
    // An hour of ticks in time, and no probe.
    for _ in 0..360_000 {
        bench.now += 10;
        bench.tick();
    }
    assert_eq!(bench.word(), "healthy");
    bench.silence(MISSES - 1);
    assert_eq!(bench.word(), "healthy");
    bench.silence(1);
    assert_eq!(bench.word(), "host dead");
}

#[test]
fn a_probe_has_the_grace_of_one_interval() {
    let mut bench = Bench::healthy(1);
    bench.silence(MISSES - 1);
    bench.send();
    bench.now += 9;
    bench.tick();
    assert_eq!(bench.word(), "healthy");
    assert_eq!(bench.detector.next_timer(), Some(at(bench.now + 1)));
    bench.now += 1;
    bench.tick();
    assert_eq!(bench.word(), "host dead");
}

#[test]
fn a_burst_counts_as_one() {
    let mut bench = Bench::healthy(1);
    for _ in 0..20 {
        bench.send();
    }
    bench.now += 4;
    bench.send();
    bench.now += 16;
    bench.tick();
    assert_eq!(bench.word(), "healthy");
    bench.silence(1);
    assert_eq!(bench.word(), "healthy", "two misses");
    bench.silence(1);
    assert_eq!(bench.word(), "host dead");
}

#[test]
fn a_reply_to_a_probe_of_a_burst_counts() {
    let mut bench = Bench::healthy(1);
    bench.silence(MISSES);
    bench.send();
    bench.now += 1;
    bench.send();
    bench.reply(0, bench.now, GOOD);
    assert_eq!(bench.word(), "suspect");
}

#[test]
fn a_late_timer_is_no_miss() {
    let mut bench = Bench::healthy(1);
    bench.silence(MISSES - 1);
    bench.send();
    let sent = bench.now;
    // Three intervals late, but no stall: the reply was there all the time.
    bench.now += 40;
    bench.tick();
    assert_eq!(bench.word(), "healthy");
    bench.now += 5;
    bench.reply(0, sent, GOOD);
    bench.silence(MISSES - 1);
    assert_eq!(bench.word(), "healthy");
}

#[test]
fn a_timer_that_is_always_late_still_finds_a_dead_host() {
    let mut bench = Bench::healthy(1);
    let begin = bench.now;
    while bench.word() == "healthy" {
        bench.send();
        bench.now += 30;
        bench.tick();
        assert!(bench.now - begin < 300);
    }
    assert_eq!(bench.word(), "host dead");
    assert!(bench.now - begin >= 30 * u64::from(MISSES));
}

#[test]
fn own_stall_is_never_blamed_on_the_peer() {
    for slept in [0, 500] {
        let mut bench = Bench::healthy(1);
        bench.silence(MISSES - 1);
        bench.send();
        bench.now += 500;
        bench.slept += slept;
        bench.tick();
        bench.now += 10;
        bench.tick();
        bench.silence(MISSES - 1);
        assert_eq!(bench.word(), "healthy", "fresh probes must be missed");
        bench.silence(1);
        assert_eq!(bench.word(), "host dead");
    }
}

#[test]
fn a_stall_that_the_driver_found_counts_as_well() {
    let mut bench = Bench::healthy(1);
    bench.silence(MISSES - 1);
    bench.input(Input::Stalled(Stall::Gap(ms(20))));
    bench.silence(MISSES - 1);
    assert_eq!(bench.word(), "healthy");
}

#[test]
fn a_bad_verdict_does_not_outlive_an_own_stall() {
    type Row = (&'static str, fn(&mut Bench));
    let bad: [Row; 4] = [
        ("host dead", |bench| bench.silence(MISSES)),
        ("database dead", |bench| bench.round(|_| Some(NO_LISTENER))),
        ("agent dead", |bench| bench.round(|_| Some(AGENT_SILENT))),
        ("hung", |bench| bench.round(|_| Some(hung()))),
    ];
    for (word, happens) in bad {
        let mut bench = Bench::healthy(1);
        happens(&mut bench);
        assert_eq!(bench.word(), word);
        bench.now += 100;
        bench.tick();
        assert!(matches!(bench.verdict(), Verdict::Suspect(Suspicion::OwnStall(_))), "{word}");
    }
}

#[test]
fn lost_only_when_all_paths_are() {
    let mut bench = Bench::healthy(3);
    bench.rounds(100, |path| Some(GOOD).filter(|_| path == 2));
    assert_eq!(words(&bench), ["healthy", "suspect"]);
    bench.silence(MISSES - 1);
    assert_eq!(bench.word(), "suspect");
    bench.silence(1);
    let Verdict::HostDead(lost) = bench.verdict() else { panic!("{}", bench.verdict()) };
    assert_eq!(lost.misses, [Some(MISSES), Some(MISSES), Some(MISSES), None]);
    assert_eq!(lost.silence, Some(ms(40)));
}

#[test]
fn a_path_that_is_down_here_is_no_evidence() {
    let mut bench = Bench::healthy(1);
    bench.silence(MISSES - 1);
    bench.input(Input::Usable { path: 0, usable: false });
    bench.silence(10);
    assert_eq!(bench.verdict(), Verdict::Suspect(Suspicion::NoUsablePath));
    bench.input(Input::Usable { path: 0, usable: true });
    bench.silence(MISSES - 1);
    assert_eq!(bench.word(), "suspect", "counted afresh");
    bench.silence(1);
    assert_eq!(bench.word(), "host dead");
}

#[test]
fn a_sign_of_life_clears_the_host() {
    for path in [0, 1] {
        let mut bench = Bench::healthy(2);
        bench.silence(50);
        bench.input(Input::Heard { path });
        assert_eq!(bench.word(), "suspect");

        let mut bench = Bench::healthy(2);
        bench.silence(50);
        bench.reply(path, bench.now - 10, GOOD);
        assert_eq!(bench.word(), "suspect");
    }
}

#[test]
fn an_old_or_impossible_reply_is_no_sign_of_life() {
    let mut bench = Bench::healthy(1);
    bench.silence(MISSES);
    bench.reply(0, 0, GOOD);
    bench.reply(0, bench.now + 1, GOOD);
    bench.reply(1, bench.now - 10, GOOD);
    bench.input(Input::Heard { path: 7 });
    assert_eq!(bench.word(), "host dead");
}

#[test]
fn a_return_is_slower_than_a_loss() {
    let mut bench = Bench::healthy(1);
    bench.silence(MISSES);
    bench.rounds(u32::from(RETURN) - 1, |_| Some(GOOD));
    let (replies, wanted) = (RETURN - 1, RETURN);
    assert_eq!(bench.verdict(), Verdict::Suspect(Suspicion::Returning { replies, wanted }));
    bench.round(|_| Some(NO_LISTENER));
    bench.rounds(u32::from(RETURN) - 1, |_| Some(GOOD));
    assert_eq!(bench.word(), "suspect", "counted afresh");
    bench.round(|_| Some(GOOD));
    let verdicts = ["healthy", "host dead", "suspect", "database dead", "suspect", "healthy"];
    assert_eq!(words(&bench), verdicts);
}

#[test]
fn a_reply_from_before_an_own_stall_is_a_sign_of_life_and_no_more() {
    let mut bench = Bench::healthy(1);
    bench.send();
    let sent = bench.now;
    bench.now += 60_000;
    bench.tick();
    bench.reply(0, sent, NO_LISTENER);
    assert_eq!(bench.word(), "healthy");
    bench.silence(MISSES);
    assert_eq!(bench.word(), "host dead");
}
