//! The dispatch of clients that do not have all rights, against a twin that everybody may use.
//!
//! Every request goes to a hub with guards. A naive model, which knows nothing but names, says whether it is
//! allowed; then it goes to the twin as well, and the replies must be the same. Otherwise the reply is
//! `INTERNAL_ERROR`, and the twin hears nothing of it. So whatever is refused has changed nothing, and what
//! is allowed is as if there were no guards.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use beanstalk_protocol::{Command, JobMove, JobQuery, JobState, PutHeader, Request, TubeName};
use jq_engine::{ConnId, Cursor, Flow, JobInfo, Nanos, PageSize};
use jq_server::access::Access;
use jq_server::clock::Clock;
use jq_server::config::Config;
use jq_server::log::Opened;
use jq_server::server::guard::{AccessControl, Guard, Shown};
use jq_server::server::hub::{Batch, Hub};

/// The commands that a right is for, in the order of the file.
const RIGHTS: [&str; 6] = ["put", "reserve", "peek", "kick", "pause", "delete"];
const PUT: usize = 0;
const RESERVE: usize = 1;
const PEEK: usize = 2;
const KICK: usize = 3;
const PAUSE: usize = 4;
const DELETE: usize = 5;

const TUBES: [&str; 5] = ["default", "a", "a.b", "b", "c"];
const PATTERNS: [&str; 6] = ["", "a", "a*", "*", "*b", "default"];

/// Who connects; the last one is in no file.
const NAMES: [&str; 4] = ["operator", "one", "two", "nobody"];

const REFUSED: &[u8] = b"INTERNAL_ERROR\r\n";

/// For each of the two principals in the middle, for each right, a pattern.
type Grants = [[&'static str; 6]; 2];

/// Control of access by a file that can be written anew. The thread that verifies tokens is one for all runs.
struct Door {
    file: PathBuf,
    access: Arc<Access>,
    control: Arc<AccessControl>,
}

static DOOR: Mutex<Option<Door>> = Mutex::new(None);

fn text_of(grants: &Grants) -> String {
    let mut text = "[[principal]]\nname = \"operator\"\noperate = true\n".to_owned();
    for (name, grants) in NAMES[1..3].iter().zip(grants) {
        text += &format!("[[principal]]\nname = \"{name}\"\n");
        for (right, pattern) in RIGHTS.iter().zip(grants) {
            if !pattern.is_empty() {
                text += &format!("{right} = [\"{pattern}\"]\n");
            }
        }
    }
    text
}

impl Door {
    fn open() -> Self {
        let file = std::env::temp_dir().join(format!("jq-fuzz-{}.toml", std::process::id()));
        fs::write(&file, text_of(&[[""; 6]; 2])).expect("the temporary folder is writable");
        let access = Arc::new(Access::open(&file).expect("it is a good file"));
        let clock = Clock::told(Arc::default());
        let control = AccessControl::start(Arc::clone(&access), clock).expect("there is a thread");
        Self { file, access, control }
    }

    fn write(&self, grants: &Grants) {
        fs::write(&self.file, text_of(grants)).expect("the temporary folder is writable");
        self.access.reload().expect("it is a good file");
    }
}

/// Numbers from the input; zeros after its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.byte() % from.len()]
    }

    fn tube(&mut self) -> TubeName {
        TubeName::new(self.pick(&TUBES).as_bytes()).expect("they are good names")
    }

    fn grants(&mut self) -> Grants {
        std::array::from_fn(|_| std::array::from_fn(|_| self.pick(&PATTERNS)))
    }
}

struct Client {
    name: usize,
    guarded: ConnId,
    guard: Guard,
    twin: ConnId,
    waits: bool,
}

struct World<'a> {
    now: Arc<AtomicU64>,
    door: &'a Door,
    grants: Grants,
    hub: Arc<Hub>,
    twin: Arc<Hub>,
    clients: Vec<Client>,
}

/// Plays the session that the input describes.
pub fn run(data: &[u8]) {
    let mut door = DOOR.lock().unwrap_or_else(PoisonError::into_inner);
    let door = door.get_or_insert_with(Door::open);
    let mut input = Input(data);
    let grants = input.grants();
    door.write(&grants);
    let now = Arc::new(AtomicU64::new(Nanos::from_secs(1000).0));
    let hub = |control| {
        let config = Config::from_args(["jq-server".into()]).expect("there are no flags");
        let clock = Clock::told(Arc::clone(&now));
        Hub::with_control(&config, clock, Opened::in_memory(0), control)
    };
    let (hub, twin) = (hub(Some(Arc::clone(&door.control))), hub(None));
    let clients = Vec::new();
    let mut world = World { now, door, grants, hub, twin, clients };
    for name in 0..NAMES.len() {
        world.connect(name);
    }
    while !input.0.is_empty() {
        world.step(&mut input);
        world.compare();
    }
}

impl World<'_> {
    fn connect(&mut self, name: usize) {
        let shown = Shown { acts_as: Some(NAMES[name].into()), ..Shown::default() };
        self.clients.push(Client {
            name,
            guarded: self.hub.connect(Waker::noop().clone()),
            guard: Guard::new(&self.door.control, shown),
            twin: self.twin.connect(Waker::noop().clone()),
            waits: false,
        });
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() {
            0..8 => {
                self.grants = input.grants();
                self.door.write(&self.grants);
                for at in 0..self.clients.len() {
                    self.reloaded(at);
                }
            }
            8..16 => {
                let seconds = input.byte() as u64;
                self.now.fetch_add(Nanos::from_secs(seconds).0, Ordering::Relaxed);
                self.tick();
            }
            _ => {
                let at = input.byte() % self.clients.len();
                // Later than anything before, in both.
                self.now.fetch_add(1_000_000, Ordering::Relaxed);
                // The twin hears nothing of what is refused, but time passes for it too.
                self.tick();
                self.collect();
                if !self.clients[at].waits {
                    let requests = request(input);
                    self.ask(at, &requests);
                }
            }
        }
        self.collect();
    }

    /// What is due happens, in both.
    fn tick(&self) {
        let now = self.now.load(Ordering::Relaxed);
        for hub in [&self.hub, &self.twin] {
            while hub.tick().is_some_and(|at| at.0 <= now) {}
        }
    }

    /// The file was read again. A connection that waits looks again at once.
    fn reloaded(&mut self, at: usize) {
        if !self.clients[at].waits {
            return;
        }
        let may = self.may(at, &Request::Command(Command::Reserve));
        let Client { guarded, guard, twin, .. } = &mut self.clients[at];
        self.hub.judge_wait(*guarded, guard);
        if !may {
            let twin = *twin;
            self.twin.change(|engine, mut sink, _| engine.refuse_wait(twin, &mut sink));
        }
    }

    fn ask(&mut self, at: usize, requests: &[Request]) {
        let may = self.may(at, &requests[0]);
        let is_list = matches!(requests[0], Request::Command(Command::ListTubes));
        let is_stats = matches!(requests[0], Request::Command(Command::Stats));
        let names = is_list.then(|| self.visible(at));
        let sums = is_stats.then(|| self.sums(at));
        let client = &mut self.clients[at];
        let batch =
            || Batch { requests: requests.iter().cloned().zip(1..).collect(), ..Batch::default() };
        let mut guarded = batch();
        self.hub.renew(client.guarded, &mut client.guard);
        let applied = self.hub.apply_guarded(client.guarded, &mut guarded, &mut client.guard);
        let told = guarded.outcome.out.to_bytes();
        assert_eq!(applied.end, requests.len(), "{requests:?}");
        if !may {
            assert_eq!(told.escape_ascii().to_string(), REFUSED.escape_ascii().to_string());
            assert_eq!(applied.flow, Flow::Continue, "{requests:?}");
            return;
        }
        let mut free = batch();
        let expected = self.twin.apply(client.twin, &mut free);
        assert_eq!(applied.flow, expected.flow, "{requests:?}");
        client.waits = applied.flow == Flow::Blocked;
        let expected = free.outcome.out.to_bytes();
        if let Some(names) = names {
            assert_eq!(lines(&told), names, "list-tubes of {}", NAMES[client.name]);
        } else if let Some(sums) = sums {
            assert_eq!(values(&told), sums, "stats of {}", NAMES[client.name]);
        } else {
            assert_eq!(
                told.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{requests:?} of {}",
                NAMES[client.name]
            );
        }
        if applied.flow == Flow::Close {
            let client = self.clients.remove(at);
            let reason = jq_engine::CloseReason::Quit;
            self.hub.disconnect(client.guarded, reason);
            self.twin.disconnect(client.twin, reason);
            self.connect(client.name);
        }
    }

    /// Takes the answers to those who waited.
    fn collect(&mut self) {
        for client in &mut self.clients {
            let told = self.hub.collect(client.guarded).map(|(out, _)| out.to_bytes());
            let expected = self.twin.collect(client.twin).map(|(out, _)| out.to_bytes());
            assert_eq!(told, expected, "the end of a wait");
            client.waits &= told.is_none();
        }
    }

    /// Both queues are the same.
    fn compare(&self) {
        let all = |hub: &Hub| {
            hub.read(|engine, now| {
                let size = PageSize { items: 1000, looks: 100_000 };
                let tubes = engine.tubes_page(now, Cursor(0), size).items;
                let names: Vec<_> = tubes.iter().map(|tube| tube.name.to_string()).collect();
                let jobs = |name: &String| engine.jobs_page(name, None, Cursor(0), size);
                let jobs: Vec<Vec<JobInfo>> =
                    names.iter().filter_map(jobs).map(|page| page.items).collect();
                (tubes, jobs)
            })
        };
        let ((tubes, jobs), (expected_tubes, expected_jobs)) = (all(&self.hub), all(&self.twin));
        assert_eq!(tubes, expected_tubes);
        assert_eq!(jobs, expected_jobs);
    }

    /// Whether the rules allow a request: by names, and with a look at the twin.
    fn may(&self, at: usize, request: &Request) -> bool {
        let client = &self.clients[at];
        let conn = self.twin.read(|engine, _| engine.connection(client.twin)).expect("it is there");
        let can = |right: usize, tube: &str| self.can(client.name, right, tube);
        let used = conn.used.as_str();
        let job = |id: u64| self.twin.read(|engine, _| engine.job(id)).map(|(job, _)| job);
        let is_own = |job: &JobInfo| job.holder == Some(client.twin);
        // Of a job that is not there, everybody is told so.
        let about = |id: u64, own: usize, other: usize| {
            job(id).is_none_or(|job| can(if is_own(&job) { own } else { other }, job.tube.as_str()))
        };
        let command = match request {
            Request::Put(_) => return can(PUT, used),
            Request::Command(Command::Quit) => return true,
            _ if client.name == 3 => return false,
            Request::Command(command) => command,
            _ => return true,
        };
        match command {
            Command::Use(tube) => (0..6).any(|right| can(right, tube.as_str())),
            Command::Watch(tube) => can(RESERVE, tube.as_str()),
            Command::Reserve | Command::ReserveWithTimeout(_) | Command::BatchReserve { .. } => {
                conn.watched.iter().all(|tube| can(RESERVE, tube.as_str()))
            }
            Command::ReserveJob(id) => about(*id, RESERVE, RESERVE),
            Command::Delete(id) => about(*id, RESERVE, DELETE),
            Command::Release { id, .. } | Command::Bury { id, .. } | Command::Touch(id) => {
                !job(*id).is_some_and(|job| is_own(&job) && !can(RESERVE, job.tube.as_str()))
            }
            Command::Peek(id) | Command::StatsJob(id) => {
                about(*id, RESERVE, PEEK) || about(*id, PEEK, PEEK)
            }
            Command::PeekReady | Command::PeekDelayed | Command::PeekBuried => can(PEEK, used),
            Command::Kick(_) => can(KICK, used),
            Command::KickJob(id) => about(*id, KICK, KICK),
            Command::StatsTube(tube) => can(PEEK, tube.as_str()),
            Command::PauseTube(tube, _) => can(PAUSE, tube.as_str()),
            Command::ClearTube(tube) => can(DELETE, tube.as_str()),
            Command::ListJobs(query) => {
                can(PEEK, query.tube.as_ref().map_or(used, |tube| tube.as_str()))
            }
            Command::Move(order) => can(PUT, order.to.as_str()) && about(order.id, RESERVE, DELETE),
            Command::Ignore(_)
            | Command::ListTubes
            | Command::ListTubeUsed
            | Command::ListTubesWatched
            | Command::Stats
            | Command::Quit => true,
        }
    }

    fn can(&self, name: usize, right: usize, tube: &str) -> bool {
        let pattern = match name {
            0 => "*",
            1 | 2 => self.grants[name - 1][right],
            _ => return false,
        };
        match pattern {
            "*" => true,
            "a*" => tube.starts_with('a'),
            "*b" => tube.ends_with('b'),
            name => name == tube,
        }
    }

    fn sees(&self, name: usize, tube: &str) -> bool {
        (0..6).any(|right| self.can(name, right, tube))
    }

    fn visible(&self, at: usize) -> Vec<String> {
        let mut free = Batch::default();
        // A connection of its own, that leaves no trace but in the counters.
        free.requests.push((Request::Command(Command::ListTubes), 1));
        self.twin.apply(self.clients[at].twin, &mut free);
        let names = lines(&free.outcome.out.to_bytes());
        names.into_iter().filter(|tube| self.sees(self.clients[at].name, tube)).collect()
    }

    /// Some values of `stats`.
    fn sums(&self, at: usize) -> Vec<u64> {
        let name = self.clients[at].name;
        let mut sums = vec![0; SUMS.len()];
        self.twin.read(|engine, now| {
            let tubes = engine.tubes_page(now, Cursor(0), PageSize { items: 1000, looks: 100_000 });
            for tube in tubes.items.iter().filter(|tube| self.sees(name, tube.name.as_str())) {
                let of_tube = [tube.ready, tube.reserved, tube.delayed, tube.buried, 1];
                sums.iter_mut().zip(of_tube).for_each(|(sum, more)| *sum += more);
            }
        });
        sums
    }
}

const SUMS: [&str; 5] = [
    "current-jobs-ready",
    "current-jobs-reserved",
    "current-jobs-delayed",
    "current-jobs-buried",
    "current-tubes",
];

fn values(stats: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(stats);
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        line.and_then(|value| value.parse().ok()).expect("it is in the stats")
    };
    SUMS.iter().map(|key| value(key)).collect()
}

fn lines(list: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(list);
    text.lines().filter_map(|line| line.strip_prefix("- ")).map(str::to_owned).collect()
}

/// One command, or the two requests of a put.
fn request(input: &mut Input<'_>) -> Vec<Request> {
    let job = |input: &mut Input<'_>| 1 + input.byte() as u64 % 8;
    let few = |input: &mut Input<'_>| input.byte() as u32 % 4;
    let command = match input.byte() % 40 {
        0..10 => {
            let body: Box<[u8]> = [b'x'; 3].into();
            let header =
                PutHeader { priority: few(input), delay: few(input) / 2, ttr: 60, size: 3 };
            let end = match input.byte() % 8 {
                0 => Request::BrokenBody,
                1 => Request::UnheldBody,
                _ => Request::Body(body),
            };
            return vec![Request::Put(header), end];
        }
        10 => Command::Reserve,
        11..15 => Command::ReserveWithTimeout(Some(few(input) / 3)),
        15 => Command::BatchReserve { max: 1 + few(input), timeout: few(input) / 3 },
        16 => Command::ReserveJob(job(input)),
        17 | 18 => Command::Delete(job(input)),
        19 => Command::Release { id: job(input), priority: few(input), delay: few(input) / 2 },
        20 => Command::Bury { id: job(input), priority: few(input) },
        21 => Command::Touch(job(input)),
        22 | 23 => Command::Watch(input.tube()),
        24 | 25 => Command::Ignore(input.tube()),
        26 | 27 => Command::Use(input.tube()),
        28 => Command::Peek(job(input)),
        29 => match input.byte() % 3 {
            0 => Command::PeekReady,
            1 => Command::PeekDelayed,
            _ => Command::PeekBuried,
        },
        30 => Command::Kick(few(input)),
        31 => Command::KickJob(job(input)),
        32 => Command::Stats,
        33 => Command::StatsJob(job(input)),
        34 => Command::StatsTube(input.tube()),
        35 => Command::ListTubes,
        36 => match input.byte() % 4 {
            0 => Command::ListTubeUsed,
            1 => Command::ListTubesWatched,
            2 => Command::Quit,
            _ => Command::PauseTube(input.tube(), few(input)),
        },
        37 => Command::ClearTube(input.tube()),
        38 => {
            let tube = input.byte().is_multiple_of(2).then(|| input.tube());
            let state = input.byte().is_multiple_of(2).then_some(JobState::Ready);
            Command::ListJobs(Box::new(JobQuery { tube, state, cursor: 0, count: few(input) }))
        }
        _ => Command::Move(Box::new(JobMove { id: job(input), to: input.tube() })),
    };
    vec![Request::Command(command)]
}
