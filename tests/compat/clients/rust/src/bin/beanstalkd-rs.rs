//! beanstalkd-rs: every function of its asynchronous connection, over TCP and unix sockets.
//!
//! It cuts stats replies into lines itself and leaves the quotes round a value on. From version
//! 1.13, beanstalkd quotes the names in them (1.12 only quotes its own version).
//! `JQ_QUOTED_NAMES=1` says that the server does.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use beanstalk_client_suites::{Check, Error, LARGE, Outcome, PATIENCE, Server, TEXT, keys};
use beanstalk_client_suites::{binary, crowded, denied, equal, has_keys, holds, number, pick, setting};
use beanstalkd_rs::Error as Refused;
use beanstalkd_rs::{BuryResult, DeleteResult, KickJobResult, PauseTubeResult, TouchResult};
use beanstalkd_rs::{Connection, IgnoreResult, Job, PutResult, ReleaseResult, ReserveResult};

fn main() -> ExitCode {
    let mut checks: Vec<Check> = vec![
        ("connect, quit, and a refused connection", |s, t| wait(connecting(s, t))),
        ("put keeps priority, delay and ttr", |s, t| wait(putting(s, t))),
        ("bodies come back as they were: empty, UTF-8, binary, large", |s, t| wait(bodies(s, t))),
        ("use and list-tube-used", |s, t| wait(using(s, t))),
        ("watch, ignore, NOT_IGNORED, list-tubes-watched", |s, t| wait(watching(s, t))),
        ("reserve takes the lowest (priority, id)", |s, t| wait(reserve_order(s, t))),
        ("reserve-with-timeout times out", |s, t| wait(timing_out(s, t))),
        ("reserve-job takes ready, delayed and buried jobs", |s, t| wait(reserve_job(s, t))),
        ("delete: anyone's job, unless reserved elsewhere", |s, t| wait(deleting(s, t))),
        ("release with priority and delay", |s, t| wait(releasing(s, t))),
        ("bury, kick (buried jobs first) and kick-job", |s, t| wait(burying(s, t))),
        ("touch gives a job its whole ttr again", |s, t| wait(touching(s, t))),
        ("peek, peek-ready, peek-delayed, peek-buried", |s, t| wait(peeking(s, t))),
        ("stats has every key and counts", |s, t| wait(stats(s, t))),
        ("stats-job has the right values", |s, t| wait(stats_job(s, t))),
        ("stats-tube has the right values", |s, t| wait(stats_tube(s, t))),
        ("list-tubes", |s, t| wait(listing(s, t))),
        ("pause-tube holds jobs back, ends, and 0 resumes", |s, t| wait(pausing(s, t))),
        ("DEADLINE_SOON ends a waiting reserve", |s, t| wait(deadline_soon(s, t))),
        ("a job whose ttr has passed goes to another worker", |s, t| wait(expiry(s, t))),
        ("errors leave the connection usable", |s, t| wait(errors(s, t))),
        ("a full tube refuses a put, and a server with too many connections closes", |s, t| {
            wait(limits(s, t))
        }),
        ("what is not allowed is an error, and a put does not break the connection", |s, t| {
            wait(rights(s, t))
        }),
        ("quit gives the reserved jobs back", |s, t| wait(quitting(s, t))),
        ("a blocked reserve is satisfied by another connection", |s, t| wait(blocking(s, t))),
    ];
    if std::env::var_os("JQ_UNIX_SOCKET").is_some() {
        checks.push(("unix socket", |_, t| wait(unix_socket(t))));
    } else {
        println!("skip unix socket: JQ_UNIX_SOCKET is not set");
    }
    beanstalk_client_suites::run("beanstalkd-rs", &checks, |server| {
        wait(async { Ok(connect(server).await?.list_tubes().await?) })
    })
}

/// Runs a check on a runtime of its own.
fn wait<T>(check: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(check)
}

async fn connect(server: &Server) -> Result<Connection, Refused> {
    Connection::tcp_connect(&format!("{}:{}", server.host, server.port)).await
}

/// A client that uses and watches only that tube.
async fn client(server: &Server, tube: &str) -> Result<Connection, Refused> {
    let mut client = connect(server).await?;
    client.use_tube(tube).await?;
    client.watch(tube).await?;
    client.ignore("default").await?;
    Ok(client)
}

async fn put(client: &mut Connection, body: &str, pri: u32, delay: u32) -> Result<u64, Refused> {
    Ok(client.put(pri, delay, 60, body).await?.id())
}

/// The job that a reserve must have given.
fn reserved(result: ReserveResult) -> Result<Job, Error> {
    match result {
        ReserveResult::Reserved(job) => Ok(job),
        other => Err(format!("expected a job, got {other:?}").into()),
    }
}

fn job(id: u64, body: impl Into<Vec<u8>>) -> Job {
    Job { id, body: body.into() }
}

/// A name as it stands in a stats reply.
fn stated(name: &str) -> String {
    let quoted = std::env::var("JQ_QUOTED_NAMES").is_ok_and(|value| value == "1");
    if quoted { format!("\"{name}\"") } else { name.into() }
}

/// The value of one key of stats-job.
async fn of_job(client: &mut Connection, id: u64, key: &str) -> Result<String, Error> {
    let mut stats = client.stats_job(id).await?.ok_or("no such job")?;
    stats.remove(key).ok_or_else(|| format!("no {key} in stats-job").into())
}

/// Polls until the condition holds.
async fn until(mut condition: impl AsyncFnMut() -> Result<bool, Error>) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await? {
        holds(Instant::now() < deadline, || format!("still not so after {PATIENCE:?}"))?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn connecting(server: &Server, _tube: &str) -> Outcome {
    let mut client = connect(server).await?;
    equal(client.list_tube_used().await?, "default")?;
    client.quit().await?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let dead = listener.local_addr()?.to_string();
    drop(listener);
    let refused = Connection::tcp_connect(&dead).await;
    holds(matches!(refused, Err(Refused::Io(_))), || "not refused".into())
}

async fn putting(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    let id = client.put(u32::MAX, 60, u32::MAX, "x").await?.id();
    let stats = client.stats_job(id).await?.ok_or("no such job")?;
    equal(pick(&stats, ["pri", "delay", "ttr"]), ["4294967295", "60", "4294967295"])?;
    equal(pick(&stats, ["state"]), ["delayed"])?;
    client.delete(id).await?;
    let id = put(&mut client, "x", 0, 1).await?;
    equal(reserved(client.reserve_with_timeout(5).await?)?.id, id)?;
    equal(client.delete(id).await?, DeleteResult::Deleted)
}

async fn bodies(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    let large = binary().repeat(LARGE / binary().len());
    for body in [vec![], TEXT.into(), binary(), large, vec![0xff; LARGE]] {
        let put = client.put(0, 0, 60, &body).await?;
        let id = put.id();
        equal(put, PutResult::Inserted(id))?;
        equal(client.peek(id).await?, Some(job(id, body.clone())))?;
        equal(reserved(client.reserve_with_timeout(5).await?)?, job(id, body))?;
        client.delete(id).await?;
    }
    Ok(())
}

async fn using(server: &Server, tube: &str) -> Outcome {
    let mut client = connect(server).await?;
    equal(client.use_tube(tube).await?, tube)?;
    holds(matches!(client.use_tube("-dash").await, Err(Refused::BadFormat)), || "-dash".into())?;
    equal(client.list_tube_used().await?, tube)
}

async fn watching(server: &Server, tube: &str) -> Outcome {
    let mut client = connect(server).await?;
    let [a, b] = ["a", "b"].map(|end| format!("{tube}-{end}"));
    for (tube, count) in [(&a, 2), (&b, 3), (&b, 3)] {
        equal(client.watch(tube).await?, count)?;
    }
    equal(client.list_tubes_watched().await?, ["default", &a, &b])?;
    for (tube, count) in [("default", 2), (tube, 2), (&a, 1)] {
        equal(client.ignore(tube).await?, IgnoreResult::Watching(count))?;
    }
    equal(client.ignore(&b).await?, IgnoreResult::NotIgnored)?;
    equal(client.list_tubes_watched().await?, [b])
}

async fn reserve_order(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    let other = format!("{tube}-b");
    client.watch(&other).await?;
    let last = put(&mut client, "last", 9, 0).await?;
    client.use_tube(&other).await?;
    let first = put(&mut client, "first", 0, 0).await?;
    let second = put(&mut client, "second", 0, 0).await?;
    for (id, body) in [(first, "first"), (second, "second"), (last, "last")] {
        equal(reserved(client.reserve().await?)?, job(id, body))?;
        equal(of_job(&mut client, id, "state").await?, "reserved")?;
    }
    for id in [first, second, last] {
        client.delete(id).await?;
    }
    Ok(())
}

async fn timing_out(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    equal(client.reserve_with_timeout(0).await?, ReserveResult::TimedOut)?;
    equal(client.reserve_with_timeout(1).await?, ReserveResult::TimedOut)
}

async fn reserve_job(server: &Server, tube: &str) -> Outcome {
    let (mut client, mut other) = (client(server, tube).await?, client(server, tube).await?);
    let buried = put(&mut client, "buried", 0, 0).await?;
    client.reserve().await?;
    client.bury(buried, 0).await?;
    let ready = put(&mut client, "ready", 0, 0).await?;
    let delayed = put(&mut client, "delayed", 0, 60).await?;
    for (id, body) in [(ready, "ready"), (delayed, "delayed"), (buried, "buried")] {
        equal(client.reserve_job(id).await?, Some(job(id, body)))?;
        equal(other.reserve_job(id).await?, None)?;
        client.delete(id).await?;
        equal(client.reserve_job(id).await?, None)?;
    }
    Ok(())
}

async fn deleting(server: &Server, tube: &str) -> Outcome {
    let (mut client, mut other) = (client(server, tube).await?, client(server, tube).await?);
    let id = put(&mut client, "x", 0, 0).await?;
    client.reserve().await?;
    equal(other.delete(id).await?, DeleteResult::NotFound)?;
    client.release(id, 0, 0).await?;
    equal(other.delete(id).await?, DeleteResult::Deleted)?;
    equal(client.delete(id).await?, DeleteResult::NotFound)
}

async fn releasing(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    let id = put(&mut client, "x", 7, 0).await?;
    client.reserve().await?;
    equal(client.release(id, 5, 60).await?, ReleaseResult::Released)?;
    let stats = client.stats_job(id).await?.ok_or("no such job")?;
    let values = pick(&stats, ["state", "pri", "delay", "releases"]);
    equal(values, ["delayed", "5", "60", "1"])?;
    client.kick_job(id).await?;
    client.reserve().await?;
    client.release(id, 0, 1).await?;
    equal(reserved(client.reserve_with_timeout(5).await?)?.id, id)?;
    client.delete(id).await?;
    equal(client.release(id, 0, 0).await?, ReleaseResult::NotFound)
}

async fn burying(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    let mut ids = [put(&mut client, "x", 0, 0).await?, put(&mut client, "x", 0, 0).await?, 0];
    for &id in &ids[..2] {
        client.reserve().await?;
        equal(client.bury(id, 3).await?, BuryResult::Buried)?;
    }
    let stats = client.stats_job(ids[0]).await?.ok_or("no such job")?;
    equal(pick(&stats, ["state", "pri", "buries"]), ["buried", "3", "1"])?;
    ids[2] = put(&mut client, "x", 0, 60).await?;
    for (bound, kicked) in [(1, 1), (9, 1), (9, 1), (9, 0)] {
        equal(client.kick(bound).await?, kicked)?;
    }
    for id in ids {
        equal(of_job(&mut client, id, "state").await?, "ready")?;
        equal(client.kick_job(id).await?, KickJobResult::NotFound)?;
    }
    let id = reserved(client.reserve().await?)?.id;
    client.bury(id, 0).await?;
    equal(client.bury(id, 0).await?, BuryResult::NotFound)?;
    equal(client.kick_job(id).await?, KickJobResult::Kicked)?;
    equal(of_job(&mut client, id, "state").await?, "ready")?;
    for id in ids {
        client.delete(id).await?;
    }
    Ok(())
}

async fn touching(server: &Server, tube: &str) -> Outcome {
    let (mut client, mut other) = (client(server, tube).await?, client(server, tube).await?);
    let id = put(&mut client, "x", 0, 0).await?;
    client.reserve().await?;
    let mut before = 0;
    until(async || {
        before = of_job(&mut client, id, "time-left").await?.parse()?;
        Ok(before < 59)
    })
    .await?;
    until(async || {
        equal(client.touch(id).await?, TouchResult::Touched)?;
        Ok(of_job(&mut client, id, "time-left").await?.parse::<u64>()? > before)
    })
    .await?;
    equal(other.touch(id).await?, TouchResult::NotFound)?;
    equal(client.delete(id).await?, DeleteResult::Deleted)
}

async fn peeking(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    equal(client.peek_ready().await?, None)?;
    equal(client.peek_delayed().await?, None)?;
    equal(client.peek_buried().await?, None)?;
    let buried = put(&mut client, "buried", 0, 0).await?;
    client.reserve().await?;
    client.bury(buried, 0).await?;
    let ready = put(&mut client, "ready", 0, 0).await?;
    let delayed = put(&mut client, "delayed", 0, 60).await?;
    equal(client.peek_ready().await?, Some(job(ready, "ready")))?;
    equal(client.peek_delayed().await?, Some(job(delayed, "delayed")))?;
    equal(client.peek_buried().await?, Some(job(buried, "buried")))?;
    for (id, body) in [(ready, "ready"), (delayed, "delayed"), (buried, "buried")] {
        equal(client.peek(id).await?, Some(job(id, body)))?;
        client.delete(id).await?;
        equal(client.peek(id).await?, None)?;
    }
    Ok(())
}

async fn stats(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    let before = client.stats().await?;
    has_keys(&before, keys::STATS)?;
    let id = put(&mut client, "x", 0, 0).await?;
    client.delete(id).await?;
    let after = client.stats().await?;
    for key in ["cmd-put", "cmd-delete", "cmd-stats", "total-jobs"] {
        holds(number(&after, key)? > number(&before, key)?, || key.into())?;
    }
    for key in ["current-connections", "current-producers", "current-tubes", "pid"] {
        holds(number(&after, key)? > 0, || key.into())?;
    }
    equal(pick(&after, ["draining"]), ["false"])?;
    for name in pick(&after, ["hostname", "os", "platform"]) {
        equal(name, stated(name.trim_matches('"')))?;
    }
    Ok(())
}

async fn stats_job(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    let id = client.put(4, 0, 100, "x").await?.id();
    client.reserve().await?;
    let stats = client.stats_job(id).await?.ok_or("no such job")?;
    has_keys(&stats, keys::STATS_JOB)?;
    let left = number(&stats, "time-left")?;
    holds((97..=100).contains(&left), || format!("time-left is {left}"))?;
    equal(number(&stats, "id")?, id)?;
    let values = pick(&stats, ["tube", "state", "pri", "delay", "ttr", "reserves", "timeouts"]);
    equal(values, [&stated(tube), "reserved", "4", "0", "100", "1", "0"])?;
    client.delete(id).await?;
    equal(client.stats_job(id).await?, None)
}

async fn stats_tube(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    equal(client.stats_tube(&format!("{tube}-unknown")).await?, None)?;
    let mut ids = [0; 3];
    for (id, (pri, delay)) in ids.iter_mut().zip([(1023, 0), (1024, 0), (0, 60)]) {
        *id = put(&mut client, "x", pri, delay).await?;
    }
    let stats = client.stats_tube(tube).await?.ok_or("no such tube")?;
    has_keys(&stats, keys::STATS_TUBE)?;
    let states = ["urgent", "ready", "reserved", "delayed", "buried"];
    for (state, count) in states.into_iter().zip([1, 2, 0, 1, 0]) {
        equal((state, number(&stats, &format!("current-jobs-{state}"))?), (state, count))?;
    }
    let names = ["name", "total-jobs", "current-using", "current-watching", "current-waiting"];
    equal(pick(&stats, names), [&stated(tube), "3", "1", "1", "0"])?;
    for id in ids {
        client.delete(id).await?;
    }
    let stats = client.stats_tube(tube).await?.ok_or("no such tube")?;
    equal(pick(&stats, ["cmd-delete"]), ["3"])
}

async fn listing(server: &Server, tube: &str) -> Outcome {
    let mut client = connect(server).await?;
    let before = client.list_tubes().await?;
    holds(!before.iter().any(|t| t == tube), || format!("{before:?}"))?;
    client.use_tube(tube).await?;
    let tubes = client.list_tubes().await?;
    holds(["default", tube].iter().all(|t| tubes.iter().any(|u| u == t)), || format!("{tubes:?}"))
}

async fn pausing(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    let unknown = format!("{tube}-unknown");
    equal(client.pause_tube(&unknown, 1).await?, PauseTubeResult::NotFound)?;
    let id = put(&mut client, "x", 0, 0).await?;
    equal(client.pause_tube(tube, 60).await?, PauseTubeResult::Paused)?;
    equal(client.reserve_with_timeout(0).await?, ReserveResult::TimedOut)?;
    let stats = client.stats_tube(tube).await?.ok_or("no such tube")?;
    equal(pick(&stats, ["pause", "cmd-pause-tube"]), ["60", "1"])?;
    client.pause_tube(tube, 0).await?;
    client.reserve().await?;
    client.release(id, 0, 0).await?;
    client.pause_tube(tube, 1).await?;
    equal(reserved(client.reserve_with_timeout(5).await?)?.id, id)?;
    equal(client.delete(id).await?, DeleteResult::Deleted)
}

async fn deadline_soon(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    let id = client.put(0, 0, 2, "x").await?.id();
    client.reserve().await?;
    equal(client.reserve().await?, ReserveResult::DeadlineSoon)?;
    equal(client.delete(id).await?, DeleteResult::Deleted)
}

async fn expiry(server: &Server, tube: &str) -> Outcome {
    let (mut slow, mut other) = (client(server, tube).await?, client(server, tube).await?);
    let id = slow.put(0, 0, 1, "x").await?.id();
    slow.reserve().await?;
    // The slow worker keeps asking, since beanstalkd 1.12 loses timers of silent connections.
    until(async || Ok(of_job(&mut slow, id, "timeouts").await? == "1")).await?;
    equal(reserved(other.reserve_with_timeout(5).await?)?.id, id)?;
    equal(slow.release(id, 0, 0).await?, ReleaseResult::NotFound)?;
    equal(other.delete(id).await?, DeleteResult::Deleted)
}

async fn errors(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube).await?;
    let limit = usize::try_from(number(&client.stats().await?, "max-job-size")?)?;
    let too_big = client.put(0, 0, 60, vec![b'x'; limit + 1]).await;
    holds(matches!(too_big, Err(Refused::JobTooBig)), || format!("too big: {too_big:?}"))?;
    let id = client.put(0, 0, 60, vec![b'x'; limit]).await?.id();
    client.delete(id).await?;
    let two = client.watch("two words").await;
    holds(matches!(two, Err(Refused::BadFormat)), || format!("two words: {two:?}"))?;
    equal(client.list_tube_used().await?, tube)
}

async fn limits(server: &Server, tube: &str) -> Outcome {
    let Some(full) = setting("JQ_FULL_TUBE") else { return Ok(()) };
    let mut client = client(server, tube).await?;
    client.use_tube(&full).await?;
    let refused = client.put(0, 0, 60, "x").await;
    holds(matches!(refused, Err(Refused::OutOfMemory)), || format!("full: {refused:?}"))?;
    client.use_tube(tube).await?;
    let id = client.put(0, 0, 60, "x").await?.id();
    client.delete(id).await?;
    let Some(crowded) = crowded(server) else { return Ok(()) };
    let stats = match connect(&crowded).await {
        Ok(mut client) => client.stats().await,
        Err(error) => Err(error),
    };
    holds(stats.is_err(), || format!("crowded: {stats:?}"))
}

async fn rights(server: &Server, _: &str) -> Outcome {
    let Some(denied) = denied(server) else { return Ok(()) };
    let mut client = connect(&denied).await?;
    for _ in 0..2 {
        let put = client.put(0, 0, 60, "quit").await;
        holds(matches!(put, Err(Refused::InternalError)), || format!("put: {put:?}"))?;
        let reserve = client.reserve_with_timeout(0).await;
        holds(matches!(reserve, Err(Refused::InternalError)), || format!("{reserve:?}"))?;
    }
    Ok(())
}

async fn quitting(server: &Server, tube: &str) -> Outcome {
    let (mut gone, mut other) = (client(server, tube).await?, client(server, tube).await?);
    let id = gone.put(0, 0, 600, "x").await?.id();
    gone.reserve().await?;
    gone.quit().await?;
    equal(reserved(other.reserve_with_timeout(5).await?)?.id, id)?;
    equal(other.delete(id).await?, DeleteResult::Deleted)
}

async fn blocking(server: &Server, tube: &str) -> Outcome {
    let (mut worker, mut producer) = (client(server, tube).await?, client(server, tube).await?);
    let waiting = tokio::spawn(async move {
        let job = reserved(worker.reserve().await.map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
        worker.delete(job.id).await.map_err(|error| error.to_string())?;
        Ok::<u64, String>(job.id)
    });
    until(async || {
        let stats = producer.stats_tube(tube).await?.ok_or("no such tube")?;
        Ok(number(&stats, "current-waiting")? == 1)
    })
    .await?;
    let id = put(&mut producer, "x", 0, 0).await?;
    equal(tokio::time::timeout(PATIENCE, waiting).await???, id)
}

async fn unix_socket(tube: &str) -> Outcome {
    let mut client = Connection::unix_connect(&std::env::var("JQ_UNIX_SOCKET")?).await?;
    client.use_tube(tube).await?;
    client.watch(tube).await?;
    let id = put(&mut client, TEXT, 0, 0).await?;
    equal(reserved(client.reserve().await?)?, job(id, TEXT))?;
    equal(client.delete(id).await?, DeleteResult::Deleted)?;
    Ok(client.quit().await?)
}
