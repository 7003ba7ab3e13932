//! The views as text for a terminal.

mod router;

use std::fmt;

use super::view::{
    AdvertCounters, AnswerView, ArbiterView, ArpCounters, Counters, Failover, History,
    InstanceView, PeerView, ProbeCounters, RejoinView, Status,
};

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "node {}", self.node)?;
        for problem in &self.configuration.problems {
            writeln!(f, "{}", wrapped("  NOT RELOADED ", problem))?;
        }
        if !self.configuration.needs_restart.is_empty() {
            let keys = self.configuration.needs_restart.join(", ");
            writeln!(f, "{}", wrapped("  RESTART    ", &format!("needed to take on {keys}")))?;
        }
        for instance in &self.instances {
            writeln!(f)?;
            write!(f, "{instance}")?;
        }
        Ok(())
    }
}

impl fmt::Display for InstanceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if router::is_router(self) {
            return router::write(f, self);
        }
        let Self { name, vrid, vrrp, phase, term, .. } = self;
        writeln!(f, "instance {name} (virtual router {vrid}): {phase}, {vrrp}, term {term}")?;
        writeln!(f, "  addresses  {}", self.vips.join(", "))?;
        for fault in &self.faults {
            writeln!(f, "{}", wrapped("  FAULT      ", fault))?;
        }
        if let Some(wait) = &self.waits_for {
            writeln!(f, "{}", wrapped("  WAITS FOR  ", wait))?;
        }
        if let Some(why) = &self.disk {
            writeln!(f, "{}", wrapped("  DISK       ", why))?;
        }
        if self.paused {
            writeln!(f, "  PAUSED     nobody takes over until `ogha-agent resume`")?;
        }
        for differs in &self.contradictions {
            let text = format!("{} {}", differs.peer, differs.what);
            writeln!(f, "{}", wrapped("  DIFFERS    ", &text))?;
        }
        if let Some(to) = &self.switchover_to {
            writeln!(f, "  switchover to {to}")?;
        }
        writeln!(f, "  record     {}", record(self))?;
        match self.lease_ms {
            0 => writeln!(f, "  gate       {}", self.gate)?,
            lease => writeln!(f, "  gate       {}, lease {lease} ms", self.gate)?,
        }
        writeln!(f, "  hook       {}", self.hook)?;
        writeln!(f, "  database   {}", database(self))?;
        if let Some(rejoin) = &self.rejoin {
            writeln!(f, "  rejoin     {}", self::rejoin(rejoin))?;
        }
        writeln!(f, "  arbiter    {}", arbiter(&self.arbiter))?;
        writeln!(f, "  tcp        {}", tcp(&self.counters))?;
        writeln!(f, "  arp        {}", arp(&self.arp))?;
        writeln!(f, "  probes     {}", probes(&self.probes))?;
        let adverts = &self.adverts;
        let refused = refused_adverts(adverts);
        writeln!(f, "  adverts    heard {}, refused: {refused}", adverts.accepted)?;
        writeln!(f, "  failovers  {}", self.failovers)?;
        if self.peers.is_empty() {
            return Ok(());
        }
        writeln!(f)?;
        let header = ["PEER", "HOST", "AGENT", "PHASE", "RTT", "IN SYNC", "BEHIND", "VERDICT"];
        let rows: Vec<_> = self.peers.iter().map(peer).collect();
        table(f, &header.map(str::to_owned), &rows)
    }
}

pub(super) fn tcp(tcp: &Counters) -> String {
    let Counters { syn_in, synack_out, rst_in, rst_out } = tcp;
    format!("SYN in {syn_in}, SYN-ACK out {synack_out}, RST in {rst_in}, RST out {rst_out}")
}

pub(super) fn arp(arp: &ArpCounters) -> String {
    format!(
        "answered {}, dropped {}, conflicts {}, defended {}, suppressed {}",
        arp.answered, arp.dropped, arp.conflicts, arp.defended, arp.suppressed
    )
}

pub(super) fn refused_adverts(adverts: &AdvertCounters) -> String {
    reasons(&[
        ("ttl", adverts.ttl),
        ("version", adverts.version),
        ("kind", adverts.kind),
        ("length", adverts.length),
        ("checksum", adverts.checksum),
        ("field", adverts.field),
        ("stranger", adverts.stranger),
    ])
}

/// A line with its label, and as many more as it takes to stay readable on 80 columns.
pub(super) fn wrapped(label: &str, text: &str) -> String {
    let mut lines = label.to_owned();
    let mut column = label.len();
    for (place, word) in text.split(' ').enumerate() {
        if place > 0 && column + word.chars().count() >= 80 {
            lines += "\n             ";
            column = 13;
        } else if place > 0 {
            lines.push(' ');
            column += 1;
        }
        lines += word;
        column += word.chars().count();
    }
    lines
}

fn record(instance: &InstanceView) -> String {
    let Some(primary) = &instance.primary else { return "none yet".to_owned() };
    format!("primary {primary}, in sync {}", instance.in_sync.join(", "))
}

fn rejoin(rejoin: &RejoinView) -> String {
    let percent = rejoin.percent.map(|percent| format!(", {percent} %"));
    let lost = rejoin.lost.as_ref().map(|lost| format!("; only here: {lost}"));
    format!("{}{}{}", rejoin.phase, percent.unwrap_or_default(), lost.unwrap_or_default())
}

fn arbiter(arbiter: &ArbiterView) -> String {
    let answer = |answer: &AnswerView| match (&answer.rtt_us, &answer.error) {
        (Some(us), _) => format!("{}: {:.1} ms", answer.place, *us as f64 / 1000.0),
        (None, Some(why)) => format!("{}: NO ANSWER, {why}", answer.place),
        (None, None) => format!("{}: not asked yet", answer.place),
    };
    let answers = arbiter.answers.iter().map(answer);
    std::iter::once(arbiter.kind.clone()).chain(answers).collect::<Vec<_>>().join("\n             ")
}

fn database(instance: &InstanceView) -> String {
    let database = &instance.database;
    let mut words = vec![database.kind.clone(), database.role.clone(), database.state.clone()];
    words.extend(database.lsn.as_ref().map(|lsn| format!("at {lsn}")));
    if instance.restarts > 0 {
        words.push(format!("restarted {} times", instance.restarts));
    }
    words.push(if database.listening { "listening" } else { "not listening" }.to_owned());
    if database.verdict != "healthy" {
        words.push(database.evidence.clone());
    }
    words.join(", ")
}

fn probes(probes: &ProbeCounters) -> String {
    let ProbeCounters { probes: heard, answered, replies, .. } = probes;
    let refused = reasons(&[
        ("length", probes.length),
        ("magic", probes.magic),
        ("version", probes.version),
        ("tag", probes.tag),
        ("field", probes.field),
        ("receiver", probes.receiver),
        ("stranger", probes.stranger),
        ("replay", probes.replay),
        ("echo", probes.echo),
    ]);
    format!("heard {heard}, answered {answered}, replies {replies}, refused: {refused}")
}

/// Those that were met.
fn reasons(refused: &[(&str, u64)]) -> String {
    let met = refused.iter().filter(|(_, count)| *count != 0);
    let words: Vec<_> = met.map(|(why, count)| format!("{why} {count}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn peer(peer: &PeerView) -> [String; 8] {
    let yes = |yes| if yes { "yes" } else { "no" }.to_owned();
    let unknown = || "-".to_owned();
    [
        peer.name.clone(),
        peer.host.clone(),
        peer.agent.clone(),
        peer.phase.clone(),
        peer.rtt_us.map_or_else(unknown, |us| format!("{us} us")),
        yes(peer.in_sync),
        peer.lag_bytes.map_or_else(unknown, |bytes| format!("{bytes} B")),
        peer.evidence.clone(),
    ]
}

/// Columns as wide as their widest cell, two blanks between them, none at the end of a line.
pub(super) fn table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    header: &[String; N],
    rows: &[[String; N]],
) -> fmt::Result {
    let all = || std::iter::once(header).chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    for row in all() {
        let cells = row.iter().enumerate().map(|(i, cell)| format!("{cell:<0$}", width(i)));
        let line: Vec<_> = cells.collect();
        writeln!(f, "  {}", line.join("  ").trim_end())?;
    }
    Ok(())
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failovers.len() {
            0 => writeln!(f, "node {}: nothing has happened yet", self.node)?,
            count => writeln!(f, "node {}, {count} in the history", self.node)?,
        }
        for failover in &self.failovers {
            writeln!(f)?;
            write!(f, "{failover}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { started, instance, cause, outcome, .. } = self;
        // A router without a database has no terms.
        let term = if self.term == 0 { String::new() } else { format!(", term {}", self.term) };
        writeln!(f, "{started}  {instance}{term}: {outcome}")?;
        writeln!(f, "  {:>12}  {cause}", "0.000 ms")?;
        for step in &self.steps {
            let (ms, us) = (step.offset_us / 1000, step.offset_us % 1000);
            writeln!(f, "  {:>12}  {}", format!("{ms}.{us:03} ms"), step.step)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::{ContradictionView, DatabaseView, FailoverStep};
    use super::*;

    fn serving() -> InstanceView {
        InstanceView {
            name: "VI_1".into(),
            vrid: 59,
            vrrp: "active".into(),
            term: 7,
            phase: "serving".into(),
            gate: "open".into(),
            lease_ms: 84,
            hook: "xdp-native".into(),
            vips: vec!["192.168.1.10/32".into(), "192.168.1.11/32".into()],
            database: DatabaseView {
                kind: "opengauss".into(),
                role: "primary".into(),
                state: "normal".into(),
                lsn: Some("0/5000148".into()),
                listening: true,
                verdict: "healthy".into(),
                evidence: "healthy".into(),
            },
            peers: vec![
                PeerView {
                    name: "opengaussdb2".into(),
                    host: "alive".into(),
                    agent: "alive".into(),
                    verdict: "healthy".into(),
                    evidence: "healthy".into(),
                    phase: "standby".into(),
                    listening: Some(true),
                    rtt_us: Some(43),
                    in_sync: true,
                    paused: false,
                    replication: Some("streaming".into()),
                    lag_bytes: Some(512),
                    software: Some("0.1.0".into()),
                    same_host: false,
                },
                PeerView {
                    name: "db3".into(),
                    host: "silent".into(),
                    agent: "silent".into(),
                    verdict: "suspect".into(),
                    evidence: "suspect: not heard yet".into(),
                    phase: "unknown".into(),
                    ..PeerView::default()
                },
            ],
            contradictions: Vec::new(),
            counters: Counters { syn_in: 4, synack_out: 3, rst_in: 2, rst_out: 1 },
            arp: ArpCounters { answered: 5, dropped: 6, conflicts: 8, defended: 7, suppressed: 8 },
            probes: ProbeCounters {
                probes: 9,
                answered: 10,
                replies: 11,
                tag: 12,
                replay: 13,
                ..ProbeCounters::default()
            },
            adverts: AdvertCounters { accepted: 14, ttl: 15, ..AdvertCounters::default() },
            failovers: 1,
            primary: Some("opengaussdb1".into()),
            in_sync: vec!["opengaussdb1".into(), "opengaussdb2".into()],
            paused: false,
            waits_for: None,
            disk: None,
            arbiter: ArbiterView {
                kind: "etcd".into(),
                answers: vec![
                    AnswerView {
                        place: "http://10.0.0.1:2379".into(),
                        rtt_us: Some(1250),
                        error: None,
                    },
                    AnswerView {
                        place: "http://10.0.0.2:2379".into(),
                        rtt_us: None,
                        error: Some("refused".into()),
                    },
                ],
            },
            switchover_to: None,
            rejoin: None,
            restarts: 0,
            faults: Vec::new(),
        }
    }

    #[test]
    fn status_is_a_page() {
        let waiting = InstanceView {
            name: "VI_2".into(),
            vrid: 60,
            vrrp: "backup".into(),
            phase: "standby".into(),
            gate: "closed".into(),
            hook: "tcx".into(),
            vips: vec!["10.0.0.9/24".into()],
            waits_for: Some("the database here to be started".into()),
            paused: true,
            contradictions: vec![ContradictionView {
                peer: "db2".into(),
                what: "has lease = 1s, this node 100ms: set the same on both".into(),
                ..ContradictionView::default()
            }],
            arbiter: ArbiterView { kind: "none".into(), answers: Vec::new() },
            rejoin: Some(RejoinView {
                phase: "copying".into(),
                percent: Some(37),
                lost: Some("timeline 3".into()),
            }),
            restarts: 2,
            faults: Vec::new(),
            database: DatabaseView {
                kind: "postgresql".into(),
                role: "unknown".into(),
                state: "unreachable".into(),
                verdict: "healthy".into(),
                ..DatabaseView::default()
            },
            ..InstanceView::default()
        };
        let status = Status {
            node: "opengaussdb1".into(),
            instances: vec![serving(), waiting],
            ..Status::default()
        };
        assert_eq!(
            status.to_string(),
            "\
node opengaussdb1

instance VI_1 (virtual router 59): serving, active, term 7
  addresses  192.168.1.10/32, 192.168.1.11/32
  record     primary opengaussdb1, in sync opengaussdb1, opengaussdb2
  gate       open, lease 84 ms
  hook       xdp-native
  database   opengauss, primary, normal, at 0/5000148, listening
  arbiter    etcd
             http://10.0.0.1:2379: 1.2 ms
             http://10.0.0.2:2379: NO ANSWER, refused
  tcp        SYN in 4, SYN-ACK out 3, RST in 2, RST out 1
  arp        answered 5, dropped 6, conflicts 8, defended 7, suppressed 8
  probes     heard 9, answered 10, replies 11, refused: tag 12, replay 13
  adverts    heard 14, refused: ttl 15
  failovers  1

  PEER          HOST    AGENT   PHASE    RTT    IN SYNC  BEHIND  VERDICT
  opengaussdb2  alive   alive   standby  43 us  yes      512 B   healthy
  db3           silent  silent  unknown  -      no       -       suspect: not heard yet

instance VI_2 (virtual router 60): standby, backup, term 0
  addresses  10.0.0.9/24
  WAITS FOR  the database here to be started
  PAUSED     nobody takes over until `ogha-agent resume`
  DIFFERS    db2 has lease = 1s, this node 100ms: set the same on both
  record     none yet
  gate       closed
  hook       tcx
  database   postgresql, unknown, unreachable, restarted 2 times, not listening
  rejoin     copying, 37 %; only here: timeline 3
  arbiter    none
  tcp        SYN in 0, SYN-ACK out 0, RST in 0, RST out 0
  arp        answered 0, dropped 0, conflicts 0, defended 0, suppressed 0
  probes     heard 0, answered 0, replies 0, refused: none
  adverts    heard 0, refused: none
  failovers  0
"
        );
    }

    #[test]
    fn a_long_line_is_wrapped() {
        let text = "a node that may have been promoted, and so on: ".repeat(5);
        let lines = wrapped("  WAITS FOR  ", text.trim());
        assert!(lines.lines().all(|line| line.len() <= 80), "{lines}");
        assert!(lines.lines().skip(1).all(|line| line.starts_with("             ")), "{lines}");
        let words: Vec<_> = lines.split_whitespace().skip(2).collect();
        assert_eq!(words.join(" "), text.trim());
    }

    #[test]
    fn status_as_json_has_every_field() {
        let mut instance = serving();
        instance.peers.truncate(1);
        instance.vips.truncate(1);
        let status =
            Status { node: "opengaussdb1".into(), instances: vec![instance], ..Status::default() };
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"node":"opengaussdb1","instances":[{"name":"VI_1","vrid":59,"#,
                r#""vrrp":"active","term":7,"phase":"serving","gate":"open","lease_ms":84,"#,
                r#""hook":"xdp-native","vips":["192.168.1.10/32"],"database":{"kind":"opengauss","#,
                r#""role":"primary","state":"normal","lsn":"0/5000148","listening":true,"#,
                r#""verdict":"healthy","evidence":"healthy"},"#,
                r#""peers":[{"name":"opengaussdb2","host":"alive","agent":"alive","#,
                r#""verdict":"healthy","evidence":"healthy","#,
                r#""phase":"standby","listening":true,"rtt_us":43,"in_sync":true,"#,
                r#""paused":false,"replication":"streaming","lag_bytes":512,"#,
                r#""software":"0.1.0","same_host":false}],"contradictions":[],"#,
                r#""counters":{"syn_in":4,"synack_out":3,"rst_in":2,"rst_out":1},"#,
                r#""arp":{"answered":5,"dropped":6,"conflicts":8,"defended":7,"suppressed":8},"#,
                r#""probes":{"probes":9,"answered":10,"replies":11,"unproven":0,"length":0,"#,
                r#""magic":0,"version":0,"tag":12,"field":0,"receiver":0,"stranger":0,"#,
                r#""replay":13,"echo":0,"leap":0},"adverts":{"accepted":14,"ttl":15,"version":0,"kind":0,"#,
                r#""length":0,"checksum":0,"field":0,"stranger":0},"failovers":1,"#,
                r#""primary":"opengaussdb1","in_sync":["opengaussdb1","opengaussdb2"],"#,
                r#""paused":false,"waits_for":null,"disk":null,"arbiter":{"kind":"etcd","answers":["#,
                r#"{"place":"http://10.0.0.1:2379","rtt_us":1250,"error":null},"#,
                r#"{"place":"http://10.0.0.2:2379","rtt_us":null,"error":"refused"}]},"#,
                r#""switchover_to":null,"rejoin":null,"restarts":0}],"#,
                r#""configuration":{"problems":[],"needs_restart":[]}}"#
            )
        );
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    }

    #[test]
    fn history_is_a_timeline_for_each_failover() {
        let step = |step: &str, offset_us| FailoverStep { step: step.into(), offset_us };
        let history = History {
            node: "opengaussdb2".into(),
            failovers: vec![Failover {
                instance: "VI_1".into(),
                cause: "the primary reported itself fenced".into(),
                started: "2025-11-22T14:31:07.123456Z".into(),
                term: 8,
                outcome: "serving".into(),
                steps: vec![step("claimed", 4_021), step("gate open", 1_035_200)],
            }],
        };
        assert_eq!(
            history.to_string(),
            "\
node opengaussdb2, 1 in the history

2025-11-22T14:31:07.123456Z  VI_1, term 8: serving
      0.000 ms  the primary reported itself fenced
      4.021 ms  claimed
   1035.200 ms  gate open
"
        );
        assert_eq!(
            serde_json::to_string(&history).unwrap(),
            concat!(
                r#"{"node":"opengaussdb2","failovers":[{"instance":"VI_1","#,
                r#""cause":"the primary reported itself fenced","#,
                r#""started":"2025-11-22T14:31:07.123456Z","term":8,"outcome":"serving","#,
                r#""steps":[{"step":"claimed","offset_us":4021},"#,
                r#"{"step":"gate open","offset_us":1035200}]}]}"#
            )
        );
        let quiet = History { node: "db1".into(), failovers: Vec::new() };
        assert_eq!(quiet.to_string(), "node db1: nothing has happened yet\n");
    }
}
