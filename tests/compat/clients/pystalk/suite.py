"""pystalk: every function of BeanstalkClient, and ProductionPool with a dead server in it.

pystalk has no touch, no peek by id, no plain reserve, no reserve-job and no list-tube-used.
"""

import itertools
import logging
import socket

from harness import BINARY, LARGE, TEXT, Suite
from harness import equal, has_keys, holds, in_background, raises, setting, until
from pystalk import BeanstalkClient, BeanstalkConnectionError, BeanstalkError, ProductionPool

suite = Suite("pystalk")
logging.disable()  # the pool reports the dead server that it is given on purpose


def connect(tube, **options):
    """A client that uses and watches only that tube."""
    client = BeanstalkClient(suite.host, suite.port, **options)
    client.use(tube)
    client.watch(tube)
    return client


def put(client, data, **options):
    status, id = client.put_job(data, **options)
    equal(status, b"INSERTED")
    return id


def refused(message, function, *args, **kwargs):
    equal(raises(BeanstalkError, function, *args, **kwargs).message, message)


def state(client, job):
    return client.stats_job(job)["state"]


def unused_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@suite.check("connect, by URI too, ping, and a refused connection")
def _(tube):
    client = BeanstalkClient.from_uri(f"beanstalkd://{suite.host}:{suite.port}", socket_timeout=5)
    equal((client.host, client.port, client.ping()), (suite.host, suite.port, True))
    holds("default" in client.list_tubes(), "no default tube")
    # pystalk refuses to wait for a job longer than its socket would.
    raises(ValueError, client.reserve_job, timeout=5)
    client.close()
    raises(ValueError, BeanstalkClient.from_uri, "redis://localhost")
    dead = BeanstalkClient("127.0.0.1", unused_port())
    raises(BeanstalkConnectionError, dead.ping)
    raises(BeanstalkConnectionError, dead.stats)


@suite.check("put keeps priority, delay and ttr")
def _(tube):
    client = connect(tube)
    id = put(client, "x", pri=2**32 - 1, delay=60, ttr=2**32 - 1)
    stats = client.stats_job(id)
    equal([stats[k] for k in ("pri", "delay", "ttr")], [2**32 - 1, 60, 2**32 - 1])
    equal((stats["state"], stats["tube"]), ("delayed", tube))
    client.delete_job(id)
    id = put(client, "x")
    equal([client.stats_job(id)[k] for k in ("pri", "delay", "ttr")], [65536, 0, 120])
    client.delete_job(id)
    id = put(client, "x", delay=1)
    equal(client.reserve_job(5).job_id, id)
    client.delete_job(id)
    client.close()


@suite.check("bodies come back as they were: empty, UTF-8, binary, large")
def _(tube):
    text, binary = connect(tube, auto_decode=True), connect(tube)
    for client, body in (
        (text, ""),
        (text, TEXT),
        (binary, b""),
        (binary, BINARY),
        (binary, BINARY * (LARGE // len(BINARY))),
        (binary, b"\xff" * LARGE),
    ):
        id = put(client, body)
        equal(client.peek_ready().job_data, body)
        job = client.reserve_job(5)
        equal((job.job_id, job.job_data), (id, body))
        client.delete_job(job)
    equal(text.stats_tube(tube)["name"], tube)
    text.close()
    binary.close()


@suite.check("use, using, put_job_into")
def _(tube):
    client = BeanstalkClient(suite.host, suite.port)
    first, second = f"{tube}-a", f"{tube}-b"
    client.use(first)
    with client.using(second) as inserter:
        _, id = inserter.put_job(TEXT, pri=3, delay=60, ttr=30)
    stats = client.stats_job(id)
    equal([stats[k] for k in ("tube", "pri", "delay", "ttr")], [second, 3, 60, 30])
    client.delete_job(id)
    _, id = client.put_job_into(second, b"x", pri=4, delay=50, ttr=40)
    stats = client.stats_job(id)
    equal([stats[k] for k in ("tube", "pri", "delay", "ttr")], [second, 4, 50, 40])
    client.delete_job(id)
    id = put(client, "x")
    equal(client.stats_job(id)["tube"], first)
    client.delete_job(id)
    refused("BAD_FORMAT", client.use, "-dash")
    client.close()


@suite.check("watch, ignore, watchlist, NOT_IGNORED")
def _(tube):
    client = BeanstalkClient(suite.host, suite.port)
    a, b = f"{tube}-a", f"{tube}-b"
    client.watch(a)  # the first watch drops "default"
    client.watch(b)
    equal(client.watchlist, {a, b})
    equal([client.stats_tube(t)["current-watching"] for t in (a, b)], [1, 1])
    client.ignore(a)
    refused("NOT_FOUND", client.stats_tube, a)
    refused("NOT_IGNORED", client.ignore, b)
    raises(KeyError, client.ignore, tube)
    client.close()

    client = connect(tube)
    client.watchlist = {a, b}
    equal(client.watchlist, {a, b})
    equal([client.stats_tube(t)["current-watching"] for t in (tube, a, b)], [0, 1, 1])
    client.close()


@suite.check("reserve takes the lowest (priority, id) of all watched tubes")
def _(tube):
    a, b = f"{tube}-a", f"{tube}-b"
    client = connect(a)
    client.watch(b)
    last = put(client, "last", pri=9)
    client.use(b)
    first, second = put(client, "first", pri=0), put(client, "second", pri=0)
    jobs = list(client.reserve_iter())
    equal([job.job_id for job in jobs], [first, second, last])
    equal(state(client, jobs[0]), "reserved")
    for job in jobs:
        client.delete_job(job)
    client.close()


@suite.check("reserve-with-timeout times out")
def _(tube):
    client = connect(tube)
    refused("TIMED_OUT", client.reserve_job, 0)
    refused("TIMED_OUT", client.reserve_job, 1)
    client.close()


@suite.check("delete: anyone's job, unless another connection has reserved it")
def _(tube):
    client, other = connect(tube), connect(tube)
    put(client, "x")
    job = client.reserve_job(0)
    refused("NOT_FOUND", other.delete_job, job)
    equal(client.release_job(job), b"RELEASED")
    other.delete_job(job)
    refused("NOT_FOUND", client.delete_job, job.job_id)
    client.close()
    other.close()


@suite.check("release with priority and delay")
def _(tube):
    client = connect(tube)
    id = put(client, "x", pri=7)
    equal(client.release_job(client.reserve_job(0), pri=5, delay=60), b"RELEASED")
    stats = client.stats_job(id)
    equal([stats[k] for k in ("state", "pri", "delay", "releases")], ["delayed", 5, 60, 1])
    client.kick_job(id)
    client.release_job(client.reserve_job(0).job_id, delay=1)
    job = client.reserve_job(5)
    equal(job.job_id, id)
    client.release_job(job)
    refused("NOT_FOUND", client.release_job, job)
    client.delete_job(job)
    client.close()


@suite.check("bury, kick (buried jobs first, then delayed ones) and kick-job")
def _(tube):
    client = connect(tube)
    buried = [put(client, "x"), put(client, "x")]
    for _ in buried:
        equal(client.bury_job(client.reserve_job(0), pri=3), b"BURIED")
    stats = client.stats_job(buried[0])
    equal([stats[k] for k in ("state", "pri", "buries")], ["buried", 3, 1])
    delayed = put(client, "x", delay=60)
    kicks = [client.kick_jobs(bound) for bound in (1, 9, 9, 9)]
    equal(kicks, [(b"KICKED", n) for n in (1, 1, 1, 0)])
    equal([state(client, id) for id in (*buried, delayed)], ["ready"] * 3)
    refused("NOT_FOUND", client.kick_job, delayed)
    job = client.reserve_job(0)
    client.bury_job(job.job_id)
    refused("NOT_FOUND", client.bury_job, job)
    client.kick_job(job)
    stats = client.stats_job(job)
    equal([stats[k] for k in ("state", "kicks")], ["ready", 2])
    for id in (*buried, delayed):
        client.delete_job(id)
    client.close()


@suite.check("peek-ready, peek-delayed, peek-buried, once and as iterators")
def _(tube):
    client = connect(tube)
    for peek in (client.peek_ready, client.peek_delayed, client.peek_buried):
        refused("NOT_FOUND", peek)
    buried = put(client, "buried")
    client.bury_job(client.reserve_job(0))
    ready, delayed = put(client, "ready"), put(client, "delayed", delay=60)
    for id, body, peek, peek_iter in (
        (ready, b"ready", client.peek_ready, client.peek_ready_iter),
        (delayed, b"delayed", client.peek_delayed, client.peek_delayed_iter),
        (buried, b"buried", client.peek_buried, client.peek_buried_iter),
    ):
        equal((peek().job_id, peek().job_data), (id, body))
        seen = []
        # Bounded: a peek that keeps finding the deleted job would never end.
        for job in itertools.islice(peek_iter(), 3):
            seen.append(job.job_id)
            client.delete_job(job)
        equal(seen, [id])
    client.close()


@suite.check("stats has every key and counts")
def _(tube):
    client = connect(tube)
    before = client.stats()
    has_keys(before, "stats")
    client.delete_job(put(client, "x", pri=1))
    after = client.stats()
    for key in ("cmd-put", "cmd-delete", "cmd-stats", "total-jobs"):
        holds(after[key] > before[key], key)
    for key in ("current-connections", "current-producers", "current-tubes", "pid"):
        holds(after[key] > 0, key)
    holds(after["draining"] is False, "draining")
    holds(isinstance(after["rusage-utime"], float), "rusage-utime")
    # Not os: beanstalkd 1.12 leaves "#1 SMP..." unquoted, which is a comment to YAML.
    for key in ("version", "hostname", "platform"):
        holds(after[key] and '"' not in str(after[key]), f"{key}: {after[key]}")
    client.close()


@suite.check("stats-job has every key and the right values")
def _(tube):
    client = connect(tube)
    id = put(client, "x", pri=4, ttr=100)
    job = client.reserve_job(0)
    stats = client.stats_job(job)
    has_keys(stats, "stats-job")
    holds(97 <= stats.pop("time-left") <= 100, "time-left")
    expected = {"id": id, "tube": tube, "state": "reserved", "pri": 4, "delay": 0, "ttr": 100}
    expected |= {"file": 0, "reserves": 1, "timeouts": 0, "releases": 0, "buries": 0, "kicks": 0}
    equal({key: stats[key] for key in expected}, expected)
    client.delete_job(job)
    refused("NOT_FOUND", client.stats_job, id)
    client.close()


@suite.check("stats-tube has every key and the right values")
def _(tube):
    client = connect(tube)
    refused("NOT_FOUND", client.stats_tube, f"{tube}-unknown")
    ids = [put(client, "urgent", pri=1023), put(client, "x", pri=1024), put(client, "x", delay=60)]
    stats = client.stats_tube(tube)
    has_keys(stats, "stats-tube")
    states = ("urgent", "ready", "reserved", "delayed", "buried")
    equal([stats[f"current-jobs-{state}"] for state in states], [1, 2, 0, 1, 0])
    keys = ("name", "total-jobs", "current-using", "current-watching", "current-waiting", "pause")
    equal([stats[k] for k in keys], [tube, 3, 1, 1, 0, 0])
    for id in ids:
        client.delete_job(id)
    equal(client.stats_tube(tube)["cmd-delete"], 3)
    client.close()


@suite.check("list-tubes")
def _(tube):
    client = BeanstalkClient(suite.host, suite.port)
    holds(tube not in client.list_tubes(), "there before it is used")
    client.use(tube)
    holds({tube, "default"} <= set(client.list_tubes()), "not there while it is used")
    client.close()


@suite.check("pause-tube holds jobs back, ends by itself, and unpause resumes")
def _(tube):
    client = connect(tube)
    refused("NOT_FOUND", client.pause_tube, f"{tube}-unknown")
    id = put(client, "x")
    equal(client.pause_tube(tube), b"PAUSED")
    refused("TIMED_OUT", client.reserve_job, 0)
    stats = client.stats_tube(tube)
    equal((stats["pause"], stats["cmd-pause-tube"]), (3600, 1))
    equal(client.unpause_tube(tube), b"PAUSED")
    client.release_job(client.reserve_job(0))
    client.pause_tube(tube, 1)
    equal(client.reserve_job(5).job_id, id)
    client.delete_job(id)
    client.close()


@suite.check("DEADLINE_SOON ends a waiting reserve")
def _(tube):
    client = connect(tube)
    put(client, "x", ttr=2)
    job = client.reserve_job(0)
    refused("DEADLINE_SOON", client.reserve_job, 5)
    client.delete_job(job)
    client.close()


@suite.check("a job whose ttr has passed goes to another worker")
def _(tube):
    slow, other = connect(tube), connect(tube)
    put(slow, "x", ttr=1)
    job = slow.reserve_job(0)
    # The slow worker keeps asking, since beanstalkd 1.12 loses timers of silent connections.
    until(lambda: slow.stats_job(job)["timeouts"] == 1)
    equal(other.reserve_job(5).job_id, job.job_id)
    refused("NOT_FOUND", slow.release_job, job)
    other.delete_job(job)
    slow.close()
    other.close()


@suite.check("errors leave the connection usable: JOB_TOO_BIG, BAD_FORMAT")
def _(tube):
    client = connect(tube)
    limit = client.stats()["max-job-size"]
    refused("JOB_TOO_BIG", client.put_job, b"x" * (limit + 1))
    client.delete_job(put(client, b"x" * limit))
    refused("BAD_FORMAT", client.stats_tube, "two words")
    refused("NOT_FOUND", client.peek_ready)
    client.close()


@suite.check("a full tube refuses a put, and a server with too many connections closes")
def _(tube):
    client = connect(tube)
    client.use(setting("JQ_FULL_TUBE"))
    refused("OUT_OF_MEMORY", client.put_job, "x")
    client.use(tube)
    client.delete_job(put(client, "x"))
    client.close()
    crowded = BeanstalkClient(suite.host, int(setting("JQ_CROWDED_PORT")))
    refused("OUT_OF_MEMORY", crowded.stats)


@suite.check("what is not allowed is an error, and a put does not break the connection")
def _(tube):
    denied = BeanstalkClient(suite.host, int(setting("JQ_DENIED_PORT")))
    refused("INTERNAL_ERROR", denied.put_job, "quit")
    refused("INTERNAL_ERROR", denied.reserve_job, 0)
    refused("INTERNAL_ERROR", denied.put_job, "quit")
    denied.close()


@suite.check("closing gives reserved jobs back, and the client connects again as it was")
def _(tube):
    client = connect(tube)
    put(client, "x", ttr=600)
    job = client.reserve_job(0)
    client.close()
    equal(client.reserve_job(5).job_id, job.job_id)
    client.delete_job(job)
    id = put(client, "x")
    equal(client.stats_job(id)["tube"], tube)
    client.delete_job(id)
    client.close()


@suite.check("a waiting reserve is satisfied by another connection")
def _(tube):
    worker, producer = connect(tube), connect(tube)
    reserved = in_background(lambda: worker.reserve_job(60))
    until(lambda: producer.stats_tube(tube)["current-waiting"] == 1)
    id = put(producer, "x")
    equal(reserved().job_id, id)
    worker.delete_job(id)
    worker.close()
    producer.close()


@suite.check("ProductionPool puts round a server that is down")
def _(tube):
    client = connect(tube)
    live = f"beanstalk://{suite.host}:{suite.port}"
    dead = f"beanstalk://127.0.0.1:{unused_port()}"
    pool = ProductionPool.from_uris([dead, live], socket_timeout=5, initial_shuffle=False)
    pool.use(tube)
    _, first = pool.put_job("x", pri=2, delay=60)
    _, second = pool.put_job_into(f"{tube}-b", "x", pri=3)
    equal([client.stats_job(id)["tube"] for id in (first, second)], [tube, f"{tube}-b"])
    equal([client.stats_job(id)["pri"] for id in (first, second)], [2, 3])
    for id in (first, second):
        client.delete_job(id)
    limit = client.stats()["max-job-size"]
    refused("JOB_TOO_BIG", pool.put_job, b"x" * (limit + 1))
    # The pool has no close of its own: its one live connection ends with this object.
    del pool
    client.close()


def list_tubes():
    client = BeanstalkClient(suite.host, suite.port)
    try:
        return client.list_tubes()
    finally:
        client.close()


suite.run(list_tubes)
