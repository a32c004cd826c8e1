//! The upper bound that the one lock sets: the hub alone, without sockets, with 1 to 16 threads
//! that only submit batches of puts, reserves and deletes.
//!
//! `cargo bench --bench hub` prints tables, within a minute. Without `--bench`, as the tests run
//! it, everything runs once and small.
//!
//! - *Held* is the time of a batch in [`Hub::apply`] with one thread and a clock that costs
//!   nothing, less the time to lock and unlock a free lock. The upper bound follows from it: one
//!   command in that time, however many cores there are. Unlike in a server, a batch's buffers are
//!   new each time, which makes the time somewhat too long.
//! - *Waiting* is the share of their time that threads spend in `apply` beyond what one thread
//!   alone spends there: for the lock, for memory that another core has changed, and if there are
//!   more threads than cores, for a core while they have the lock or are next.
//!
//! The rest of a server's work for a command (reading, decoding, writing) is left out, so threads
//! contend here more than anywhere. In the last table they are busy with something else for a while
//! after each command: about as long as the kernel takes for one that arrives alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use beanstalk_protocol::{Command, JobId, Request, TubeName};
use jq_engine::{ConnId, Flow};
use jq_server::clock::Clock;
use jq_server::server::hub::{Batch, Hub, Outcome};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

#[path = "support/hub.rs"]
mod support;

const THREADS: [usize; 5] = [1, 2, 4, 8, 16];

/// What a core does for a command that comes alone, besides the hub's part.
const ELSEWHERE: Duration = Duration::from_nanos(2500);

/// What threads do.
#[derive(Clone, Copy)]
struct Work {
    /// Commands in a batch.
    size: usize,
    /// Whether all use the same tube.
    shared: bool,
    /// How long they are busy with something else after each batch.
    elsewhere: Duration,
}

/// How long to measure.
#[derive(Clone, Copy)]
struct Effort {
    /// Of so many, the median counts.
    rounds: usize,
    round: Duration,
}

/// What one round cost.
#[derive(Clone, Copy)]
struct Cost {
    per_second: f64,
    /// CPU seconds for a million commands.
    cpu: f64,
    /// Nanoseconds in `apply` for each command.
    applying: f64,
    /// The same, as a share of the threads' time.
    share: f64,
    /// For a thousand commands.
    switches: f64,
}

/// A connection with its thread's buffers.
struct Client {
    hub: Arc<Hub>,
    conn: ConnId,
    batch: Batch,
    /// How long it is busy with something else after each batch.
    elsewhere: Duration,
    /// Commands so far.
    commands: u64,
    /// Time in `apply` so far.
    applying: Duration,
}

impl Client {
    /// A connection that uses this tube only; without one, the default tube.
    fn new(hub: &Arc<Hub>, tube: Option<String>) -> Self {
        let conn = hub.connect(Waker::noop().clone());
        let mut client = Self {
            hub: Arc::clone(hub),
            conn,
            batch: Batch::default(),
            elsewhere: Duration::ZERO,
            commands: 0,
            applying: Duration::ZERO,
        };
        if let Some(tube) = tube {
            let tube = TubeName::new(tube.as_bytes()).expect("a good name");
            let ignored = Command::Ignore(TubeName::default_tube());
            let chosen = [Command::Use(tube.clone()), Command::Watch(tube), ignored];
            client.apply(chosen.into_iter().map(Request::Command));
        }
        client
    }

    /// Has requests carried out as one batch. What they are and what becomes of their replies is no
    /// part of the time.
    fn apply(&mut self, requests: impl Iterator<Item = Request>) {
        self.batch.outcome = Outcome::default();
        self.batch.requests.extend(requests.zip(1..));
        let start = Instant::now();
        let applied = self.hub.apply(self.conn, &mut self.batch);
        let end = Instant::now();
        self.applying += end - start;
        assert_eq!(applied.flow, Flow::Continue);
        while end.elapsed() < self.elsewhere {
            std::hint::spin_loop();
        }
    }

    /// So many jobs' whole lives, in three batches. Nobody ever waits for a job, since everybody
    /// puts as many as they take.
    fn cycle(&mut self, jobs: usize) {
        self.apply((0..jobs).flat_map(|_| support::put()));
        self.apply((0..jobs).map(|_| support::reserve()));
        let replies = self.batch.outcome.out.to_bytes();
        let reserved: Vec<JobId> = support::reserved(&replies).collect();
        assert_eq!(reserved.len(), jobs);
        self.apply(reserved.into_iter().map(support::delete));
        self.commands += 3 * jobs as u64;
    }
}

/// Threads with a connection each work for a while.
fn round(threads: usize, work: Work, round: Duration) -> Cost {
    let hub = support::hub(Clock::start());
    let (stop, barrier) = (AtomicBool::new(false), Barrier::new(threads + 1));
    let (clients, elapsed, before) = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|number| {
                let tube = (!work.shared).then(|| format!("tube-{number}"));
                let mut client = Client::new(&hub, tube);
                (client.applying, client.elsewhere) = (Duration::ZERO, work.elsewhere);
                let (stop, barrier) = (&stop, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    while !stop.load(Ordering::Relaxed) {
                        client.cycle(work.size);
                    }
                    client
                })
            })
            .collect();
        let before = usage();
        barrier.wait();
        let start = Instant::now();
        thread::sleep(round);
        stop.store(true, Ordering::Relaxed);
        let clients: Vec<Client> =
            running.into_iter().map(|thread| thread.join().expect("no thread panics")).collect();
        (clients, start.elapsed().as_secs_f64(), before)
    });
    let (cpu, switches) = usage();
    let commands: u64 = clients.iter().map(|client| client.commands).sum();
    let applying: f64 = clients.iter().map(|client| client.applying.as_secs_f64()).sum();
    let commands = commands as f64;
    Cost {
        per_second: commands / elapsed,
        cpu: (cpu - before.0) / commands * 1e6,
        applying: applying / commands * 1e9,
        share: applying / elapsed / threads as f64,
        switches: (switches - before.1) / commands * 1e3,
    }
}

/// CPU seconds and voluntary context switches of the process so far.
fn usage() -> (f64, f64) {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("that is always known");
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    (cpu as f64 / 1e6, usage.voluntary_context_switches() as f64)
}

/// Nanoseconds that a command holds the lock for, in batches of this size.
fn held(size: usize, effort: Effort) -> f64 {
    let mut rounds: Vec<f64> = (0..effort.rounds)
        .map(|_| {
            let hub = support::hub(support::standing_clock());
            let mut client = Client::new(&hub, None);
            let end = Instant::now() + effort.round;
            while Instant::now() < end {
                client.cycle(size);
            }
            let free = Mutex::new(0_u64);
            let batches = client.commands / size as u64;
            let start = Instant::now();
            for _ in 0..batches {
                // As `apply` is timed: with two looks at the clock.
                let _ = std::hint::black_box(Instant::now().elapsed());
                *std::hint::black_box(&free).lock().expect("nobody panics") += 1;
            }
            let besides = start.elapsed();
            client.applying.saturating_sub(besides).as_secs_f64() * 1e9 / client.commands as f64
        })
        .collect();
    median(&mut rounds)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints what threads get out of one hub.
fn table(work: Work, effort: Effort) {
    // Rounds take turns, so that what else the machine does concerns all alike.
    let mut costs: BTreeMap<usize, Vec<Cost>> = BTreeMap::new();
    for _ in 0..effort.rounds {
        for threads in THREADS {
            costs.entry(threads).or_default().push(round(threads, work, effort.round));
        }
    }
    let Work { size, shared, elsewhere } = work;
    let tubes = if shared { "one shared tube" } else { "own tubes" };
    println!("\nBatches of {size}, {tubes}, {} us elsewhere:\n", elsewhere.as_secs_f64() * 1e6);
    println!(
        "| threads | commands/s | CPU s per million | ns in `apply` | waiting | switches per 1000 |"
    );
    println!("|--:|--:|--:|--:|--:|--:|");
    let mut alone = f64::NAN;
    for (threads, costs) in costs {
        let of = |value: fn(&Cost) -> f64| median(&mut costs.iter().map(value).collect::<Vec<_>>());
        let (applying, share) = (of(|cost| cost.applying), of(|cost| cost.share));
        if threads == 1 {
            alone = applying;
        }
        println!(
            "| {threads} | {:.2} M | {:.2} | {applying:.0} | {:.0}% | {:.1} |",
            of(|cost| cost.per_second) / 1e6,
            of(|cost| cost.cpu),
            share * (1.0 - alone / applying) * 100.0,
            of(|cost| cost.switches),
        );
    }
}

fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let effort = if full {
        Effort { rounds: 3, round: Duration::from_millis(600) }
    } else {
        Effort { rounds: 1, round: Duration::from_millis(10) }
    };
    println!("| commands in a batch | lock held, ns per command | ceiling, commands/s |");
    println!("|--:|--:|--:|");
    for size in [1, 64] {
        let held = held(size, effort);
        println!("| {size} | {held:.0} | {:.1} M |", 1e3 / held);
    }
    for size in [1, 64] {
        for shared in [false, true] {
            table(Work { size, shared, elsewhere: Duration::ZERO }, effort);
        }
    }
    table(Work { size: 1, shared: false, elsewhere: ELSEWHERE }, effort);
}
