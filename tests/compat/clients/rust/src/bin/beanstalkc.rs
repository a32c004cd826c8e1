//! beanstalkc: every function of its connection and of its jobs. It has no reserve-job, and speaks
//! TCP only; it quits when it is dropped.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use beanstalk_client_suites::{Check, Error, LARGE, Outcome, Server, TEXT, keys};
use beanstalk_client_suites::{binary, crowded, denied, equal, has_keys, holds, number, pick};
use beanstalk_client_suites::{setting, until};
use beanstalkc::{Beanstalkc, BeanstalkcError, BeanstalkcResult};

const ZERO: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let checks: &[Check] = &[
        ("connect, reconnect, and a refused connection", connecting),
        ("put keeps priority, delay and ttr", putting),
        ("bodies come back as they were: empty, UTF-8, binary, large", bodies),
        ("use and list-tube-used", using),
        ("watch, ignore, NOT_IGNORED, and the order of list-tubes-watched", watching),
        ("reserve takes the lowest (priority, id) of all watched tubes", reserve_order),
        ("reserve-with-timeout times out", timing_out),
        ("delete: anyone's job, unless another connection has reserved it", deleting),
        ("release with priority and delay", releasing),
        ("bury, kick (buried jobs first, then delayed ones) and kick-job", burying),
        ("touch gives a reserved job its whole ttr again", touching),
        ("peek, peek-ready, peek-delayed, peek-buried", peeking),
        ("stats has every key and counts", stats),
        ("stats-job has every key and the right values", stats_job),
        ("stats-tube has every key and the right values", stats_tube),
        ("list-tubes", listing),
        ("pause-tube holds jobs back, ends by itself, and 0 resumes", pausing),
        ("DEADLINE_SOON ends a waiting reserve", deadline_soon),
        ("a job whose ttr has passed goes to another worker", expiry),
        ("errors leave the connection usable: JOB_TOO_BIG, BAD_FORMAT", errors),
        ("a full tube refuses a put, and a server with too many connections closes", limits),
        ("what is not allowed is an error, and a put does not break the connection", rights),
        ("quit gives the reserved jobs back", quitting),
        ("a blocked reserve is satisfied by another connection", blocking),
    ];
    beanstalk_client_suites::run("beanstalkc", checks, |server| Ok(connect(server)?.tubes()?))
}

fn connect(server: &Server) -> BeanstalkcResult<Beanstalkc> {
    Beanstalkc::new().host(&server.host).port(server.port).connect()
}

/// A client that uses and watches only that tube.
fn client(server: &Server, tube: &str) -> BeanstalkcResult<Beanstalkc> {
    let mut client = connect(server)?;
    client.use_tube(tube)?;
    client.watch(tube)?;
    client.ignore("default")?;
    Ok(client)
}

/// Fails unless the server refused with that answer, in beanstalkc's spelling.
fn refused<T>(result: BeanstalkcResult<T>, answer: &str) -> Outcome {
    match result {
        Err(
            BeanstalkcError::CommandFailed(actual) | BeanstalkcError::UnexpectedResponse(actual),
        ) => equal(actual, answer),
        Err(error) => Err(error.into()),
        Ok(_) => Err(format!("expected {answer}, but it succeeded").into()),
    }
}

fn state(client: &mut Beanstalkc, id: u64) -> Result<String, Error> {
    Ok(client.stats_job(id)?.remove("state").unwrap_or_default())
}

fn connecting(server: &Server, tube: &str) -> Outcome {
    let mut first = client(server, tube)?;
    equal(first.using()?, tube)?;
    // A new connection knows nothing of the tubes of the one before.
    let mut second = first.reconnect()?;
    equal(second.using()?, "default")?;

    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    drop(listener);
    let dead = Beanstalkc::new().host("127.0.0.1").port(port).connection_timeout(Some(SECOND));
    holds(matches!(dead.connect(), Err(BeanstalkcError::ConnectionError(_))), || "refused".into())
}

fn putting(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    let longest = Duration::from_secs(u32::MAX.into());
    let id = client.put(b"x", u32::MAX, MINUTE, longest)?;
    let stats = client.stats_job(id)?;
    equal(pick(&stats, ["pri", "delay", "ttr"]), ["4294967295", "60", "4294967295"])?;
    equal(pick(&stats, ["state", "tube"]), ["delayed", tube])?;
    client.delete(id)?;

    let id = client.put_default(b"x")?;
    equal(pick(&client.stats_job(id)?, ["pri", "delay", "ttr"]), ["2147483648", "0", "120"])?;
    client.delete(id)?;

    let id = client.put(b"x", 0, SECOND, MINUTE)?;
    equal(client.reserve_with_timeout(5 * SECOND)?.id(), id)?;
    Ok(client.delete(id)?)
}

fn bodies(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    let large = binary().repeat(LARGE / binary().len());
    for body in [vec![], TEXT.into(), binary(), large, vec![0xff; LARGE]] {
        let id = client.put_default(&body)?;
        equal(client.peek(id)?.body(), &body[..])?;
        let mut job = client.reserve_with_timeout(5 * SECOND)?;
        equal((job.id(), job.body()), (id, &body[..]))?;
        job.delete()?;
    }
    Ok(())
}

fn using(server: &Server, tube: &str) -> Outcome {
    let mut client = connect(server)?;
    equal(client.using()?, "default")?;
    equal(client.use_tube(tube)?, tube)?;
    refused(client.use_tube("-dash"), "BadFormat")?;
    equal(client.using()?, tube)
}

fn watching(server: &Server, tube: &str) -> Outcome {
    let mut client = connect(server)?;
    let [a, b] = ["a", "b"].map(|end| format!("{tube}-{end}"));
    equal([client.watch(&a)?, client.watch(&b)?, client.watch(&b)?], [2, 3, 3])?;
    equal(client.watching()?, ["default", &a, &b])?;
    equal([client.ignore("default")?, client.ignore(tube)?, client.ignore(&a)?], [2, 2, 1])?;
    refused(client.ignore(&b), "NotIgnored")?;
    equal(client.watching()?, [b])
}

fn reserve_order(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    let other = format!("{tube}-b");
    client.watch(&other)?;
    let last = client.put(b"last", 9, ZERO, MINUTE)?;
    client.use_tube(&other)?;
    let first = client.put(b"first", 0, ZERO, MINUTE)?;
    let second = client.put(b"second", 0, ZERO, MINUTE)?;
    for id in [first, second, last] {
        let job = client.reserve()?;
        equal((job.id(), job.reserved()), (id, true))?;
        equal(state(&mut client, id)?, "reserved")?;
    }
    for id in [first, second, last] {
        client.delete(id)?;
    }
    Ok(())
}

fn timing_out(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    refused(client.reserve_with_timeout(ZERO), "TimedOut")?;
    refused(client.reserve_with_timeout(SECOND), "TimedOut")
}

fn deleting(server: &Server, tube: &str) -> Outcome {
    let (mut client, mut other) = (client(server, tube)?, client(server, tube)?);
    let id = client.put_default(b"x")?;
    client.reserve()?;
    refused(other.delete(id), "NotFound")?;
    client.release_default(id)?;
    other.delete(id)?;
    refused(client.delete(id), "NotFound")
}

fn releasing(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    let id = client.put(b"x", 7, ZERO, MINUTE)?;
    client.reserve()?.release(5, MINUTE)?;
    let stats = client.stats_job(id)?;
    let values = pick(&stats, ["state", "pri", "delay", "releases"]);
    equal(values, ["delayed", "5", "60", "1"])?;
    client.kick_job(id)?;
    client.reserve()?.release_default()?;
    equal(pick(&client.stats_job(id)?, ["state", "pri"]), ["ready", "5"])?;
    client.reserve()?;
    client.release(id, 0, SECOND)?;
    let mut job = client.reserve_with_timeout(5 * SECOND)?;
    equal(job.id(), id)?;
    job.delete()?;
    refused(client.release_default(id), "NotFound")
}

fn burying(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    let buried = [client.put_default(b"x")?, client.put_default(b"x")?];
    for _ in buried {
        client.reserve()?.bury(3)?;
    }
    let stats = client.stats_job(buried[0])?;
    equal(pick(&stats, ["state", "pri", "buries"]), ["buried", "3", "1"])?;
    let delayed = client.put(b"x", 0, MINUTE, MINUTE)?;
    equal([client.kick(1)?, client.kick(9)?, client.kick(9)?, client.kick(9)?], [1, 1, 1, 0])?;
    for id in [buried[0], buried[1], delayed] {
        equal(state(&mut client, id)?, "ready")?;
        refused(client.kick_job(id), "NotFound")?;
        client.delete(id)?;
    }

    let id = client.put(b"x", 6, ZERO, MINUTE)?;
    client.reserve()?.bury_default()?;
    equal(pick(&client.stats_job(id)?, ["state", "pri"]), ["buried", "6"])?;
    refused(client.bury_default(id), "NotFound")?;
    client.peek(id)?.kick()?;
    client.reserve()?;
    client.bury(id, 2)?;
    client.kick_job(id)?;
    equal(state(&mut client, id)?, "ready")?;
    Ok(client.delete(id)?)
}

fn touching(server: &Server, tube: &str) -> Outcome {
    let (mut client, mut other) = (client(server, tube)?, client(server, tube)?);
    let id = client.put(b"x", 0, ZERO, MINUTE)?;
    let mut job = client.reserve()?;
    until(|| Ok(number(&job.stats()?, "time-left")? < 59))?;
    let before = number(&job.stats()?, "time-left")?;
    until(|| {
        job.touch()?;
        Ok(number(&job.stats()?, "time-left")? > before)
    })?;
    refused(other.touch(id), "NotFound")?;
    Ok(job.delete()?)
}

fn peeking(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    refused(client.peek_ready(), "NotFound")?;
    refused(client.peek_delayed(), "NotFound")?;
    refused(client.peek_buried(), "NotFound")?;
    let buried = client.put_default(b"buried")?;
    client.reserve()?.bury_default()?;
    let ready = client.put_default(b"ready")?;
    let delayed = client.put(b"delayed", 0, MINUTE, MINUTE)?;
    for (id, body) in [(ready, "ready"), (delayed, "delayed"), (buried, "buried")] {
        let job = match body {
            "ready" => client.peek_ready()?,
            "delayed" => client.peek_delayed()?,
            _ => client.peek_buried()?,
        };
        equal((job.id(), job.body(), job.reserved()), (id, body.as_bytes(), false))?;
        equal(client.peek(id)?.body(), body.as_bytes())?;
        client.delete(id)?;
        refused(client.peek(id), "NotFound")?;
    }
    Ok(())
}

fn stats(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    let before = client.stats()?;
    has_keys(&before, keys::STATS)?;
    let id = client.put_default(b"x")?;
    client.delete(id)?;
    let after = client.stats()?;
    for key in ["cmd-put", "cmd-delete", "cmd-stats", "total-jobs"] {
        holds(number(&after, key)? > number(&before, key)?, || key.into())?;
    }
    for key in ["current-connections", "current-producers", "current-tubes", "pid"] {
        holds(number(&after, key)? > 0, || key.into())?;
    }
    equal(pick(&after, ["draining"]), ["false"])?;
    // Not os: beanstalkd 1.12 leaves "#1 SMP..." unquoted, which is a comment to YAML.
    for value in pick(&after, ["version", "hostname", "platform"]) {
        holds(!value.is_empty() && !value.contains('"'), || format!("unclean: {value:?}"))?;
    }
    Ok(())
}

fn stats_job(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    let id = client.put(b"x", 4, ZERO, 100 * SECOND)?;
    client.reserve()?;
    let stats = client.stats_job(id)?;
    has_keys(&stats, keys::STATS_JOB)?;
    let left = number(&stats, "time-left")?;
    holds((97..=100).contains(&left), || format!("time-left is {left}"))?;
    equal(number(&stats, "id")?, id)?;
    let values = pick(&stats, ["tube", "state", "pri", "delay", "ttr", "reserves", "timeouts"]);
    equal(values, [tube, "reserved", "4", "0", "100", "1", "0"])?;
    client.delete(id)?;
    refused(client.stats_job(id), "NotFound")
}

fn stats_tube(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    refused(client.stats_tube(&format!("{tube}-unknown")), "NotFound")?;
    let ids = [
        client.put(b"x", 1023, ZERO, MINUTE)?,
        client.put(b"x", 1024, ZERO, MINUTE)?,
        client.put(b"x", 0, MINUTE, MINUTE)?,
    ];
    let stats = client.stats_tube(tube)?;
    has_keys(&stats, keys::STATS_TUBE)?;
    let states = ["urgent", "ready", "reserved", "delayed", "buried"];
    for (state, count) in states.into_iter().zip([1, 2, 0, 1, 0]) {
        equal((state, number(&stats, &format!("current-jobs-{state}"))?), (state, count))?;
    }
    let names = ["name", "total-jobs", "current-using", "current-watching", "current-waiting"];
    equal(pick(&stats, names), [tube, "3", "1", "1", "0"])?;
    for id in ids {
        client.delete(id)?;
    }
    equal(number(&client.stats_tube(tube)?, "cmd-delete")?, 3u64)
}

fn listing(server: &Server, tube: &str) -> Outcome {
    let mut client = connect(server)?;
    holds(!client.tubes()?.iter().any(|t| t == tube), || "there before it is used".into())?;
    client.use_tube(tube)?;
    let tubes = client.tubes()?;
    holds(["default", tube].iter().all(|t| tubes.iter().any(|u| u == t)), || format!("{tubes:?}"))
}

fn pausing(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    refused(client.pause_tube(&format!("{tube}-unknown"), SECOND), "NotFound")?;
    let id = client.put_default(b"x")?;
    client.pause_tube(tube, MINUTE)?;
    refused(client.reserve_with_timeout(ZERO), "TimedOut")?;
    let stats = client.stats_tube(tube)?;
    equal(pick(&stats, ["pause", "cmd-pause-tube"]), ["60", "1"])?;
    let left = number(&stats, "pause-time-left")?;
    holds((57..=60).contains(&left), || format!("pause-time-left is {left}"))?;
    client.pause_tube(tube, ZERO)?;
    client.reserve()?.release_default()?;
    client.pause_tube(tube, SECOND)?;
    equal(client.reserve_with_timeout(5 * SECOND)?.id(), id)?;
    Ok(client.delete(id)?)
}

fn deadline_soon(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    let id = client.put(b"x", 0, ZERO, 2 * SECOND)?;
    client.reserve()?;
    refused(client.reserve(), "DeadlineSoon")?;
    Ok(client.delete(id)?)
}

fn expiry(server: &Server, tube: &str) -> Outcome {
    let (mut slow, mut other) = (client(server, tube)?, client(server, tube)?);
    let id = slow.put(b"x", 0, ZERO, SECOND)?;
    slow.reserve()?;
    // The slow worker keeps asking, since beanstalkd 1.12 loses timers of silent connections.
    until(|| Ok(number(&slow.stats_job(id)?, "timeouts")? == 1))?;
    equal(other.reserve_with_timeout(5 * SECOND)?.id(), id)?;
    refused(slow.release_default(id), "NotFound")?;
    Ok(other.delete(id)?)
}

fn errors(server: &Server, tube: &str) -> Outcome {
    let mut client = client(server, tube)?;
    let limit = usize::try_from(number(&client.stats()?, "max-job-size")?)?;
    refused(client.put_default(&vec![b'x'; limit + 1]), "JobTooBig")?;
    let id = client.put_default(&vec![b'x'; limit])?;
    client.delete(id)?;
    refused(client.watch("two words"), "BadFormat")?;
    equal(client.using()?, tube)
}

fn limits(server: &Server, tube: &str) -> Outcome {
    let Some(full) = setting("JQ_FULL_TUBE") else { return Ok(()) };
    let mut client = client(server, tube)?;
    client.use_tube(&full)?;
    refused(client.put_default(b"x"), "OutOfMemory")?;
    client.use_tube(tube)?;
    let id = client.put_default(b"x")?;
    client.delete(id)?;
    let Some(crowded) = crowded(server) else { return Ok(()) };
    let stats = connect(&crowded).and_then(|mut client| client.stats());
    holds(stats.is_err(), || format!("crowded: {stats:?}"))
}

fn rights(server: &Server, _: &str) -> Outcome {
    let Some(denied) = denied(server) else { return Ok(()) };
    let mut client = connect(&denied)?;
    refused(client.put_default(b"quit"), "InternalError")?;
    refused(client.reserve_with_timeout(ZERO), "InternalError")?;
    refused(client.put_default(b"quit"), "InternalError")
}

fn quitting(server: &Server, tube: &str) -> Outcome {
    let (mut gone, mut other) = (client(server, tube)?, client(server, tube)?);
    let id = gone.put(b"x", 0, ZERO, 600 * SECOND)?;
    gone.reserve()?;
    drop(gone);
    equal(other.reserve_with_timeout(5 * SECOND)?.id(), id)?;
    Ok(other.delete(id)?)
}

fn blocking(server: &Server, tube: &str) -> Outcome {
    let (mut worker, mut producer) = (client(server, tube)?, client(server, tube)?);
    let reserved = thread::spawn(move || {
        let mut job = worker.reserve()?;
        job.delete()?;
        Ok::<u64, BeanstalkcError>(job.id())
    });
    until(|| Ok(number(&producer.stats_tube(tube)?, "current-waiting")? == 1))?;
    let id = producer.put_default(b"x")?;
    equal(reserved.join().map_err(|_| "the worker panicked")??, id)
}
