//! The worker itself: until a signal, or somebody over HTTP, has it stop.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jq_http::Tls;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::{EXIT_LISTEN, Failed};
use crate::config::{Config, Flags};
use crate::exec;
use crate::front::Front;
use crate::retry::{Backoff, jitter};
use crate::store::{Store, StoreError, Swept};
use crate::web::{self, WebOptions};
use crate::worker::{Blank, StartError, Worker};

/// Expired results are looked for at most so often.
const SWEEP_AT_MOST: Duration = Duration::from_secs(60);

/// When looking for them failed, it is tried again after so long.
const SWEEP_AGAIN: Duration = Duration::from_secs(600);

/// Between two steps of such a look, others have the disk.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// Delays between attempts to open a state directory that cannot be used at present.
const OPEN_AGAIN: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };

/// How long killed jobs may take to be gone when the worker stops.
const ABANDON: Duration = Duration::from_secs(15);

pub(super) fn serve(config: Config, flags: Flags) -> Result<(), Failed> {
    config.require_tubes()?;
    exec::adopt_orphans()?;
    super::runtime()?.block_on(run(config, flags))
}

async fn run(config: Config, flags: Flags) -> Result<(), Failed> {
    let mut signals = Signals::register()?;
    let mut blank = Blank::new(config)?;
    let first = match blank.open() {
        Err(error) if !error.is_temporary() => return Err(StartError::Store(error).into()),
        first => first,
    };
    let setup = &blank.setup;
    let halt = watch::Sender::new(false);
    let front = Arc::new(Front::new(
        setup.name.clone(),
        setup.config.results.clone(),
        setup.config.concurrency,
        halt.clone(),
    ));
    let (end, ended) = watch::channel(false);
    let (mut serving, mut served_at) = (None, None);
    if let Some(address) = setup.config.listen {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| {
            Failed::new(EXIT_LISTEN, format!("cannot listen on {address}: {error}"))
        })?;
        let address = listener.local_addr()?;
        served_at = Some(address);
        info!(%address, "serving results");
        let options = WebOptions {
            token: setup.config.token.clone(),
            cors_origins: setup.config.cors_origins.clone(),
            prefix: setup.config.prefix(),
        };
        let (front, stop) = (Arc::clone(&front), over(ended.clone()));
        serving = Some(match setup.config.listen_tls.clone() {
            None => tokio::spawn(web::serve(listener, front, options, stop)),
            Some(files) => {
                let listener = Tls::with_files(listener, files);
                tokio::spawn(web::serve(listener, front, options, stop))
            }
        });
    }
    blank.setup.config.served_at = served_at;
    let store = match first {
        Ok(store) => Some(store),
        Err(error) => wait_for_store(&blank, error, &front, &mut signals, &halt).await?,
    };
    if let Some(store) = store {
        work(blank, store, &front, &flags, &mut signals, &halt).await;
    }
    end.send_replace(true);
    if let Some(serving) = serving {
        match serving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "stopped serving results"),
            Err(_) => error!("stopped serving results"),
        }
    }
    info!("stopped");
    Ok(())
}

/// Opens the state directory as soon as that is possible. A service manager would not start us again if
/// we exited because of it. `None`: the worker is to stop.
async fn wait_for_store(
    blank: &Blank,
    mut error: StoreError,
    front: &Front,
    signals: &mut Signals,
    halt: &watch::Sender<bool>,
) -> Result<Option<Store>, Failed> {
    let mut halted = halt.subscribe();
    let mut failures = 0_u32;
    loop {
        failures = failures.saturating_add(1);
        let delay = OPEN_AGAIN.delay(failures, jitter());
        front.set_problem(error.to_string());
        warn!(
            reason = "state_directory",
            retry_in = ?delay,
            "taking no jobs: the state directory cannot be used: {error}"
        );
        let again = sleep(delay);
        tokio::pin!(again);
        loop {
            let request = tokio::select! {
                () = &mut again => break,
                request = signals.next() => request,
                _ = halted.wait_for(|halt| *halt) => return Ok(None),
            };
            match request {
                Request::Stop(_) => return Ok(None),
                Request::Hold => front.set_held(true),
                Request::Unhold => front.set_held(false),
                Request::Reload => warn!("the configuration is not read again before the start"),
            }
        }
        match blank.open() {
            Ok(store) => {
                info!(reason = "state_directory", "over: the state directory works again");
                return Ok(Some(store));
            }
            Err(next) if next.is_temporary() => error = next,
            Err(next) => return Err(StartError::Store(next).into()),
        }
    }
}

/// Works until it is to stop.
async fn work(
    blank: Blank,
    store: Store,
    front: &Front,
    flags: &Flags,
    signals: &mut Signals,
    halt: &watch::Sender<bool>,
) {
    let worker = Arc::new(Worker::with(blank, store));
    let setup = worker.setup();
    let is_held = front.set_worker(worker.surface(halt.clone()));
    worker.room.set_held(is_held);
    let watching = tokio::spawn(exec::keep_keepers_going());
    let sweeping = tokio::spawn(sweep(Arc::clone(&worker)));
    let names: Vec<String> = setup.config.servers.iter().map(ToString::to_string).collect();
    let tubes: Vec<String> = setup.config.tubes.iter().map(ToString::to_string).collect();
    info!(
        id = setup.name.id,
        version = setup.name.version,
        servers = names.join(" "),
        tubes = tubes.join(" "),
        concurrency = setup.config.concurrency,
        results = %setup.config.results.display(),
        "jq-worker"
    );
    drop(setup);
    worker.start();
    let limited = wait(&worker, flags, signals, halt).await;
    stop(&worker, signals, limited).await;
    sweeping.abort();
    watching.abort();
}

async fn over(mut ended: watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
}

/// Does as it is asked until it is to stop. Tells whether jobs have a limited time to finish.
async fn wait(
    worker: &Worker,
    flags: &Flags,
    signals: &mut Signals,
    halt: &watch::Sender<bool>,
) -> bool {
    let mut halted = halt.subscribe();
    loop {
        let request = tokio::select! {
            request = signals.next() => request,
            _ = halted.wait_for(|halt| *halt) => {
                info!("halting once the running jobs have finished");
                return false;
            }
        };
        match request {
            Request::Stop(signal) => {
                let setup = worker.setup();
                let limit = setup.config.stop_timeout;
                info!(signal, running = worker.room.running(), ?limit, "stopping");
                return true;
            }
            Request::Hold => {
                info!("on hold: no jobs are taken until SIGCONT");
                worker.room.set_held(true);
            }
            Request::Unhold => {
                info!("taking jobs again");
                worker.room.set_held(false);
            }
            Request::Reload => {
                let reloaded = Config::load(flags).and_then(|config| worker.reload(config));
                if let Err(error) = reloaded {
                    error!(%error, "the configuration cannot be used; the old one stays in force");
                }
            }
        }
    }
}

/// Lets jobs finish, for so long, or until a second signal.
async fn stop(worker: &Worker, signals: &mut Signals, limited: bool) {
    let limit = worker.setup().config.stop_timeout;
    let at_last = async {
        if limited {
            sleep(limit).await;
            return "stop_timeout is over";
        }
        std::future::pending().await
    };
    let again = async {
        while !matches!(signals.next().await, Request::Stop(_)) {}
        "a second signal was received"
    };
    let why = tokio::select! {
        () = worker.finish() => None,
        why = at_last => Some(why),
        why = again => Some(why),
    };
    if let Some(why) = why {
        warn!(
            running = worker.room.running(),
            "killing the running jobs and returning them to the queue: {why}"
        );
        worker.abandon();
        if timeout(ABANDON, worker.finish()).await.is_err() {
            error!("some jobs could not be ended");
        }
    }
    worker.stop_processes().await;
    worker.store.nothing_runs();
    worker.remember_waiting();
}

async fn sweep(worker: Arc<Worker>) {
    loop {
        let retention = worker.setup().config.retention;
        let next = match sweep_once(&worker, retention).await {
            Ok(next) => next,
            Err(error) => {
                warn!(%error, "cannot look for expired results; will retry");
                Some(SystemTime::now() + SWEEP_AGAIN)
            }
        };
        let wait = next
            .map_or(retention, |next| next.duration_since(SystemTime::now()).unwrap_or_default());
        // What is written from now on expires no sooner than that.
        sleep(wait.min(retention).max(SWEEP_AT_MOST)).await;
    }
}

async fn sweep_once(
    worker: &Arc<Worker>,
    retention: Duration,
) -> std::io::Result<Option<SystemTime>> {
    let mut sweep = worker.store.sweep(retention);
    loop {
        let task = Arc::clone(worker);
        let step = move || (task.store.step(&mut sweep), sweep);
        let (swept, same) = tokio::task::spawn_blocking(step).await?;
        sweep = same;
        match swept? {
            Swept::More => sleep(SWEEP_PAUSE).await,
            Swept::All(next) => return Ok(next),
        }
    }
}

enum Request {
    Stop(&'static str),
    Hold,
    Unhold,
    Reload,
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    stop: Signal,
    cont: Signal,
}

impl Signals {
    fn register() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            stop: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            cont: signal(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.term.recv() => Request::Stop("SIGTERM"),
            _ = self.int.recv() => Request::Stop("SIGINT"),
            _ = self.hup.recv() => Request::Reload,
            _ = self.stop.recv() => Request::Hold,
            _ = self.cont.recv() => Request::Unhold,
        }
    }
}
