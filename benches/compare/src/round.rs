//! Takes turns between the servers, scenario by scenario.

use std::{io, process::ExitCode, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    affinity::Cpus,
    args::{Compare, Placement},
    failure::Failure,
    interrupt,
    ledger::Ids,
    load::{Shape, Until},
    metric::Sample,
    report::{self, Outcome, Report},
    resident,
    scenario::{Kind, Scenario},
    server::{Server, Spec},
    session::Session,
    wakeup,
};

/// More rounds than this of a size tell nothing new.
const MAX_SIZE_ROUNDS: u32 = 3;
/// How many jobs a queue is filled with for each second of taking: more than a server with one
/// core and no pipelining can hand out. If they run out early, the round is shorter.
const TAKEN_PER_SECOND: f64 = 150_000.0;

/// Where everything runs.
struct Stage {
    /// The servers' cores.
    server: Cpus,
    /// The cores that should be quiet but for us.
    watched: Cpus,
}

/// Measures everything that was asked for. The exit status is 0 if all of it could be measured,
/// 1 if something could not, and 130 if the user has stopped it.
pub(crate) fn run(args: &Compare) -> ExitCode {
    let scenarios: Vec<&Scenario> = args.scenario.iter().flat_map(|s| &s.0).collect();
    if args.list {
        scenarios.iter().for_each(|scenario| println!("{:22} {scenario}", scenario.name));
        return ExitCode::SUCCESS;
    }
    let stage = match set_stage(args) {
        Ok(stage) => stage,
        Err(error) => {
            eprintln!("jq-compare: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::new(args);
    for scenario in scenarios {
        if interrupt::requested() {
            break;
        }
        let outcome = measure_all(args, scenario, &stage);
        println!("{}", report::table(&outcome, args));
        report.add(outcome);
    }
    print!("{}", report.tubes());
    if let Some(path) = &args.json
        && let Err(error) = std::fs::write(path, report.json())
    {
        eprintln!("jq-compare: cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if interrupt::requested() {
        return ExitCode::from(130);
    }
    if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn set_stage(args: &Compare) -> io::Result<Stage> {
    interrupt::install()?;
    raise_descriptor_limit();
    let allowed = Cpus::allowed()?;
    let (first, second) = match (allowed.nth(0), allowed.nth(1)) {
        (Some(first), Some(second)) => (first, second),
        _ => {
            eprintln!("jq-compare: only one core: server and client disturb each other");
            (allowed.clone(), allowed.clone())
        }
    };
    let chosen = |placement: &Option<Placement>, default| match placement {
        Some(Placement(cpus)) => cpus.clone().unwrap_or_else(|| allowed.clone()),
        None => default,
    };
    let server = chosen(&args.server_cpus, first);
    let client = chosen(&args.client_cpus, second);
    client.pin()?;
    Ok(Stage { watched: server.union(&client), server })
}

/// As far as this user may; servers inherit it. If it is too low, opening connections says so.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Measures one scenario on all servers; the first failure ends it for all of them, because what
/// is left could not be compared.
fn measure_all(args: &Compare, scenario: &Scenario, stage: &Stage) -> Outcome {
    let mut outcome = Outcome::new(scenario.clone(), args.server.len());
    let rounds =
        if scenario.kind.is_size() { args.rounds.min(MAX_SIZE_ROUNDS) } else { args.rounds };
    for round in 1..=rounds {
        for (index, spec) in args.server.iter().enumerate() {
            match measure_quietly(args, scenario, spec, stage) {
                Ok(Some(sample)) => {
                    let line = report::progress(scenario, &sample);
                    eprintln!("{} {round}/{rounds} {}: {line}", scenario.name, spec.name);
                    outcome.samples[index].push(sample);
                }
                Ok(None) => {}
                Err(failure) => {
                    outcome.failure = Some(format!("{}, round {round}: {failure}", spec.name));
                    return outcome;
                }
            }
        }
    }
    outcome
}

/// One round of one server, repeated while it is not quiet, as often as the user wants. What is
/// chosen is the quietest, never the fastest.
fn measure_quietly(
    args: &Compare,
    scenario: &Scenario,
    spec: &Spec,
    stage: &Stage,
) -> Result<Option<Sample>, Failure> {
    let noise = |sample: &Sample| sample.others.as_ref().map_or(0.0, |others| others.cores);
    let mut best = measure(args, scenario, spec, stage)?;
    for _ in 0..args.retries {
        match &best {
            Some(Sample { others: Some(others), .. }) if !others.are_quiet() => {}
            _ => break,
        }
        let again = measure(args, scenario, spec, stage)?;
        best = best.into_iter().chain(again).min_by(|a, b| noise(a).total_cmp(&noise(b)));
    }
    Ok(best)
}

/// One round of one server; `None` if the scenario makes no sense for it.
fn measure(
    args: &Compare,
    scenario: &Scenario,
    spec: &Spec,
    stage: &Stage,
) -> Result<Option<Sample>, Failure> {
    let server = Server::start(spec, &stage.server)?;
    if server.ids == Ids::Constant && !scenario.kind.suits_echo() {
        return Ok(None);
    }
    let mut session = Session::open(&server, &stage.watched)?;
    let sample = play(args, scenario, &mut session)?;
    session.tidy_up(scenario.body)?;
    Ok(Some(sample))
}

fn play(args: &Compare, scenario: &Scenario, session: &mut Session<'_>) -> Result<Sample, Failure> {
    let (warm_up, time) = (args.warm_up, args.seconds);
    let body = scenario.body;
    let load = |session: &mut Session<'_>, shape: &Shape, jobs| {
        let window = session.load(shape, body, Until::Measured { warm_up, time, jobs })?;
        let window = window.expect("a measured load has a window");
        Ok(Sample::of(&window, session.meter.resident()?))
    };
    match &scenario.kind {
        Kind::Load(shape) => load(session, shape, None),
        Kind::Take(shape) => {
            let jobs = jobs_to_take(warm_up + time);
            session.fill(jobs, body)?;
            load(session, shape, Some(jobs))
        }
        Kind::Deep(shape, jobs) => {
            session.fill(*jobs, body)?;
            load(session, shape, None)
        }
        Kind::Tubes(tubes) => {
            // The load uses one tube itself.
            session.make_tubes(tubes - 1)?;
            load(session, &Kind::tubes_shape(), None)
        }
        Kind::Wakeup => wakeup::measure(session, body, warm_up, time),
        Kind::Waiting(connections) => resident::waiting(session, *connections),
        Kind::Memory(jobs) => resident::jobs(session, *jobs, body),
    }
}

fn jobs_to_take(time: Duration) -> u64 {
    (TAKEN_PER_SECOND * time.as_secs_f64()).ceil() as u64
}
