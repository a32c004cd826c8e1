//! Takes turns between the servers, scenario by scenario.

use std::{fs, io, path::Path, process::ExitCode, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    affinity::Cpus,
    args::{Compare, Placement},
    failure::Failure,
    handover, interrupt,
    load::{Shape, Until},
    meter::Others,
    metric::{Metric, Sample},
    report::{self, Outcome, Report},
    resident, restart,
    scenario::{Kind, Scenario},
    server::Server,
    session::Session,
    spec::Spec,
    stall, suite,
    syscalls::{self, Tool},
    wakeup,
    way::Credentials,
};

/// More rounds than this of a size tell nothing new, and of what takes long to prepare, too little
/// to be worth the wait.
const MAX_FEW_ROUNDS: u32 = 3;
/// How many jobs a queue is filled with for each second of taking: more than a server with one
/// core and no pipelining can hand out. If they run out early, the round is shorter.
const TAKEN_PER_SECOND: f64 = 150_000.0;
/// How long that may take. A server that needs longer will not run out of fewer jobs either.
const STOCK_TIME: Duration = Duration::from_secs(20);

/// One scenario and what it is measured on.
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) servers: Vec<Spec>,
    pub(crate) rounds: u32,
}

/// What all rounds have in common.
struct Stage<'a> {
    args: &'a Compare,
    /// The servers' cores.
    server: Cpus,
    /// The cores that should be quiet but for us.
    watched: Cpus,
    /// What system calls are counted with, if they are.
    counter: Option<Tool>,
    /// What servers are shown.
    credentials: Credentials,
}

/// Measures everything that was asked for. The exit status is 0 if all of it could be measured,
/// 1 if something could not, and 130 if the user has stopped it.
pub(crate) fn run(mut args: Compare) -> ExitCode {
    if args.list {
        let scenarios = args.scenario.iter().flat_map(|s| &s.0);
        scenarios.for_each(|scenario| println!("{:22} {scenario}", scenario.name));
        return ExitCode::SUCCESS;
    }
    if args.quick {
        suite::hurry(&mut args);
    }
    match set_stage(&args).and_then(|stage| measure_plans(&stage)) {
        Ok(_) if interrupt::requested() => ExitCode::from(130),
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("jq-compare: {message}");
            ExitCode::FAILURE
        }
    }
}

fn plans(args: &Compare) -> Vec<Plan> {
    if args.suite {
        return suite::plans(args);
    }
    let plan = |scenario: &Scenario| Plan {
        scenario: scenario.clone(),
        servers: args.server.clone(),
        rounds: rounds(args, scenario),
    };
    args.scenario.iter().flat_map(|s| &s.0).map(plan).collect()
}

/// How often each server goes through a scenario.
pub(crate) fn rounds(args: &Compare, scenario: &Scenario) -> u32 {
    let few = if args.quick { 1 } else { MAX_FEW_ROUNDS };
    if scenario.kind.wants_few_rounds() { args.rounds.min(few) } else { args.rounds }
}

/// Whether all could be measured; an error if the outcome could not be written.
fn measure_plans(stage: &Stage<'_>) -> Result<bool, String> {
    let args = stage.args;
    let mut report = Report::new(args);
    for plan in plans(args) {
        if interrupt::requested() {
            break;
        }
        let outcome = measure_all(plan, stage);
        println!("{}", report::table(&outcome));
        report.add(outcome);
    }
    print!("{}", report.tubes());
    if args.suite {
        let table = suite::table(args, report.outcomes());
        print!("{table}");
        write(args.markdown.as_deref(), &table)?;
    }
    write(args.json.as_deref(), &report.json())?;
    Ok(report.is_complete())
}

fn write(path: Option<&Path>, text: &str) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn set_stage(args: &Compare) -> Result<Stage<'_>, String> {
    let credentials = Credentials::read(&args.shown, &args.server)?;
    set_cores(args, credentials).map_err(|error| error.to_string())
}

fn set_cores(args: &Compare, credentials: Credentials) -> io::Result<Stage<'_>> {
    interrupt::install()?;
    raise_descriptor_limit();
    let allowed = Cpus::allowed()?;
    let (first, second) = match (allowed.nth(0), allowed.nth(1)) {
        (Some(first), Some(second)) => (first, second),
        _ => {
            eprintln!("jq-compare: only one core: server and client slow each other down");
            (allowed.clone(), allowed.clone())
        }
    };
    let chosen = |placement: &Option<Placement>, default| match placement {
        Some(Placement(cpus)) => cpus.clone().unwrap_or_else(|| allowed.clone()),
        None => default,
    };
    let server = chosen(&args.server_cpus, first);
    let client = chosen(&args.client_cpus, second);
    let counter = if args.syscalls { Tool::find() } else { None };
    if args.syscalls && counter.is_none() {
        eprintln!("jq-compare: neither perf nor strace works here: system calls are not counted");
    }
    client.pin()?;
    Ok(Stage { args, watched: server.union(&client), server, counter, credentials })
}

/// As far as this user may; servers inherit it. If it is too low, opening connections says so.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Measures one scenario on all servers; the first failure ends it for all of them, because what
/// is left could not be compared.
fn measure_all(plan: Plan, stage: &Stage<'_>) -> Outcome {
    let Plan { scenario, servers, rounds } = plan;
    let mut outcome = Outcome::new(scenario.clone(), servers.clone());
    let scenario = &scenario;
    for round in 1..=rounds {
        for (index, spec) in servers.iter().enumerate() {
            if !scenario.kind.suits(spec.dialect) {
                continue;
            }
            match measure_quietly(scenario, spec, stage) {
                Ok(sample) => {
                    let line = report::progress(scenario, &sample);
                    eprintln!("{} {round}/{rounds} {}: {line}", scenario.name, spec.name);
                    outcome.samples[index].push(sample);
                }
                Err(failure) => {
                    outcome.failure = Some(format!("{}, round {round}: {failure}", spec.name));
                    return outcome;
                }
            }
        }
    }
    if let Some(tool) = stage.counter {
        for (index, spec) in servers.iter().enumerate() {
            match count_calls(scenario, spec, stage, tool) {
                Ok(None) => {}
                Ok(Some(calls)) => {
                    if let Some(sample) = outcome.samples[index].last_mut() {
                        sample.values.push((Metric::SystemCalls, calls));
                    }
                }
                Err(failure) => {
                    outcome.failure = Some(format!("{}, system calls: {failure}", spec.name));
                    return outcome;
                }
            }
        }
    }
    outcome
}

/// One round of one server, repeated while it is not quiet, as often as the user wants. What is
/// chosen is the quietest, never the fastest.
fn measure_quietly(scenario: &Scenario, spec: &Spec, stage: &Stage<'_>) -> Result<Sample, Failure> {
    let noise = |sample: &Sample| sample.others.as_ref().map_or(0.0, |others| others.cores);
    let mut best = measure(scenario, spec, stage)?;
    for _ in 0..stage.args.retries {
        if best.others.as_ref().is_none_or(Others::are_quiet) {
            break;
        }
        let again = measure(scenario, spec, stage)?;
        if noise(&again) < noise(&best) {
            best = again;
        }
    }
    Ok(best)
}

/// One round of one server.
fn measure(scenario: &Scenario, spec: &Spec, stage: &Stage<'_>) -> Result<Sample, Failure> {
    if matches!(scenario.kind, Kind::Restart(_)) && !spec.target.has_directory() {
        let needs = "a restart needs a server that keeps its jobs: add '-b {dir}' to its command";
        return Err(Failure::Server(needs.to_owned()));
    }
    let mut server = Server::start(spec, &stage.server, &stage.credentials)?;
    let mut session = Session::open(&mut server, &stage.watched)?;
    let sample = play(scenario, &mut session, stage.args)?;
    session.tidy_up(scenario.body)?;
    Ok(sample)
}

fn play(scenario: &Scenario, session: &mut Session<'_>, args: &Compare) -> Result<Sample, Failure> {
    let (warm_up, time) = (args.warm_up, args.seconds);
    let body = scenario.body;
    match &scenario.kind {
        Kind::Wakeup => wakeup::measure(session, body, warm_up, time),
        Kind::HandOver(workers) => handover::measure(session, *workers, body, warm_up, time),
        Kind::Waiting(connections) => resident::waiting(session, *connections),
        Kind::Memory(jobs) => resident::jobs(session, *jobs, body),
        Kind::Stall(event, jobs) => stall::measure(session, *event, *jobs, body),
        Kind::Restart(jobs) => restart::measure(session, *jobs, body),
        Kind::Load(shape) => {
            load(session, shape, body, Until::Measured { warm_up, time, jobs: None })
        }
        Kind::Take(shape) => {
            let wanted = (TAKEN_PER_SECOND * (warm_up + time).as_secs_f64()).ceil() as u64;
            let jobs = Some(session.fill_within(wanted, body, STOCK_TIME)?);
            load(session, shape, body, Until::Measured { warm_up, time, jobs })
        }
        Kind::Deep(shape, jobs) => {
            session.fill(*jobs, body)?;
            load(session, shape, body, Until::Measured { warm_up, time, jobs: None })
        }
        Kind::Tubes(tubes) => {
            // The load uses one tube itself.
            session.make_tubes(tubes - 1)?;
            let shape = Kind::tubes_shape();
            load(session, &shape, body, Until::Measured { warm_up, time, jobs: None })
        }
    }
}

fn load(
    session: &mut Session<'_>,
    shape: &Shape,
    body: usize,
    until: Until,
) -> Result<Sample, Failure> {
    let window = session.load(shape, body, until)?.expect("a measured load has a window");
    Ok(Sample::of(&window, session.meter.resident()?))
}

/// System calls per command in a run of its own, of the loads on an empty or a filled queue.
fn count_calls(
    scenario: &Scenario,
    spec: &Spec,
    stage: &Stage<'_>,
    tool: Tool,
) -> Result<Option<f64>, Failure> {
    let (Kind::Load(shape) | Kind::Take(shape)) = &scenario.kind else { return Ok(None) };
    let mut server = Server::start(spec, &stage.server, &stage.credentials)?;
    let mut session = Session::open(&mut server, &stage.watched)?;
    if matches!(scenario.kind, Kind::Take(_)) {
        session.fill(syscalls::jobs(shape), scenario.body)?;
    }
    let calls = syscalls::per_command(&mut session, tool, shape, scenario.body)?;
    session.tidy_up(scenario.body)?;
    Ok(calls)
}
