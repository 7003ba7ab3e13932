//! Storms of connections by a client without a login, on a machine that is busy with other things: is a
//! database stopped that only has much to do?

use std::{
    fmt::{self, Display},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{alarms::Alarms, load::Load, report::Results};
use crate::lab::{
    Pair,
    agent::Settings,
    clock,
    pair::{FIRST, GENEROUS},
    storm::{self, FORMS, Form},
};

const OFTEN: Duration = Duration::from_millis(20);

/// How often, how long, how hard.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Storms of each form, at each number.
    pub runs: usize,
    /// How long each is.
    pub time: Duration,
    /// Busy loops meanwhile.
    pub loops: usize,
    /// `max_connections` of both databases.
    pub max_connections: Vec<u16>,
}

/// What was seen of one form at one number.
#[derive(Clone, Debug)]
struct Line {
    max_connections: u16,
    form: Form,
    runs: usize,
    /// Connections that were established.
    connections: usize,
    /// Main processes that were not the same after a run.
    stops: usize,
    alarms: Alarms,
    log: String,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Report {
    plan: Plan,
    lines: Vec<Line>,
}

/// Has the storms one after the other, on a fresh pair for each number and form.
///
/// # Errors
/// If a pair does not come to work.
pub fn run(plan: Plan) -> Result<Report> {
    let mut lines = Vec::new();
    for &max_connections in &plan.max_connections {
        for form in FORMS {
            let line = storms(&plan, max_connections, form);
            let line = line.with_context(|| format!("{} at {max_connections}", form.name()))?;
            eprintln!("{}", line.row());
            lines.push(line);
        }
    }
    Ok(Report { plan, lines })
}

fn storms(plan: &Plan, max_connections: u16, form: Form) -> Result<Line> {
    let pair = start(max_connections)?;
    let _load = Load::start(plan.loops, None);
    let before = Alarms::of(&pair)?;
    let mut line = Line {
        max_connections,
        form,
        runs: 0,
        connections: 0,
        stops: 0,
        alarms: Alarms::default(),
        log: String::new(),
    };
    for _ in 0..plan.runs {
        let mains = || pair.nodes.each_ref().map(|node| node.database.main_pid().ok());
        let main = mains();
        line.connections += storm::rage(&pair.client, FIRST.into(), form, plan.time)?;
        line.runs += 1;
        let same = mains();
        line.stops += main.iter().zip(&same).filter(|(before, after)| before != after).count();
    }
    line.alarms =
        clock::wait_until("the agents to answer", GENEROUS, OFTEN, || Alarms::of(&pair).map(Some))?
            .since(before);
    if !line.is_quiet() {
        line.log = pair.agents_last_words();
    }
    Ok(line)
}

/// A pair whose databases have so much room, with the defaults of the agent.
fn start(max_connections: u16) -> Result<Pair> {
    let settings = Settings { agent_timeout: Duration::from_secs(3), ..Settings::default() };
    let pair = Pair::without_agents("bench-storm", &settings)?;
    let [first, second] = &pair.nodes;
    // A standby must have as much room as its primary, so that it is the first to get it.
    for node in [second, first] {
        node.database.set("max_connections", &max_connections.to_string())?;
        node.database.stop()?;
        node.database.start()?;
    }
    first.database.wait_for_standby(second.host.name())?;
    pair.start_agents()?;
    Ok(pair)
}

impl Line {
    const fn is_quiet(&self) -> bool {
        self.stops == 0 && self.alarms.hung == 0 && self.alarms.term == 0
    }

    fn row(&self) -> String {
        let Self { max_connections, form, runs, connections, stops, alarms, .. } = self;
        let Alarms { hung, term, .. } = alarms;
        let name = form.name();
        format!(
            "| {max_connections} | {name} | {runs} | {connections} | {hung} | {stops} | {term} |"
        )
    }
}

impl Results for Report {
    /// `{"storm":[{"max_connections":..,"form":..,"runs":..,"seconds":..,"connections":..,"hung":..,
    /// "stops":..,"failovers":..},..],"loops":..}`.
    fn json(&self) -> Value {
        let line = |line: &Line| {
            json!({
                "max_connections": line.max_connections,
                "form": line.form.name(),
                "runs": line.runs,
                "seconds": self.plan.time.as_secs_f64(),
                "connections": line.connections,
                "hung": line.alarms.hung,
                "stops": line.stops,
                "failovers": line.alarms.term,
            })
        };
        json!({ "storm": self.lines.iter().map(line).collect::<Vec<_>>(), "loops": self.plan.loops })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, loops) = (self.plan.time.as_secs_f64(), self.plan.loops);
        let (wave, every) = (storm::WAVE, storm::EVERY.as_secs_f64());
        writeln!(f, "{wave} connections every {every} s, {seconds} s a run, {loops} busy loops\n")?;
        writeln!(
            f,
            "| max_connections | each connection | runs | established | found hung | stops | failovers |"
        )?;
        write!(f, "| ---: | --- | ---: | ---: | ---: | ---: | ---: |")?;
        for line in &self.lines {
            write!(f, "\n{}", line.row())?;
        }
        for line in self.lines.iter().filter(|line| !line.is_quiet()) {
            write!(f, "\n\n{}", line.log)?;
        }
        Ok(())
    }
}
