"""greenstalk: every function of its Client, every error that a client can provoke."""

import socket

import greenstalk
from harness import BINARY, LARGE, TEXT, Suite
from harness import equal, has_keys, holds, in_background, raises, setting, unix_socket, until

suite = Suite("greenstalk")
address = (suite.host, suite.port)


def connect(tube, encoding="utf-8"):
    """A client that uses and watches only that tube."""
    return greenstalk.Client(address, encoding=encoding, use=tube, watch=tube)


def state(client, job):
    return client.stats_job(job)["state"]


@suite.check("connect by address and by socket, with several tubes, and close")
def _(tube):
    with connect(tube) as client:
        holds(str(suite.port) in repr(client), repr(client))
        equal((client.using(), client.watching()), (tube, [tube]))
    raises((OSError, ValueError), client.using)

    with greenstalk.Client(socket.create_connection(address), watch=["default", tube]) as client:
        equal((client.using(), client.watching()), ("default", ["default", tube]))


@suite.check("put keeps priority, delay and ttr")
def _(tube):
    with connect(tube) as client:
        id = client.put("x", priority=2**32 - 1, delay=60, ttr=2**32 - 1)
        stats = client.stats_job(id)
        equal([stats[k] for k in ("pri", "delay", "ttr")], [2**32 - 1, 60, 2**32 - 1])
        equal((stats["state"], stats["tube"]), ("delayed", tube))
        holds(58 <= stats["time-left"] <= 60, stats)
        client.delete(id)

        defaults = client.stats_job(id := client.put("x"))
        equal([defaults[k] for k in ("pri", "delay", "ttr")], [2**16, 0, 60])
        client.delete(id)

        id = client.put("x", delay=1)
        equal(client.reserve(timeout=5).id, id)
        client.delete(id)


@suite.check("bodies come back as they were: empty, UTF-8, binary, large")
def _(tube):
    with connect(tube) as text, connect(tube, encoding=None) as binary:
        for client, body in (
            (text, ""),
            (text, TEXT),
            (binary, b""),
            (binary, BINARY),
            (binary, BINARY * (LARGE // len(BINARY))),
            (binary, b"\xff" * LARGE),
        ):
            id = client.put(body)
            equal(client.peek(id).body, body)
            job = client.reserve(timeout=5)
            equal((job.id, job.body), (id, body))
            client.delete(job)


@suite.check("use and list-tube-used")
def _(tube):
    with greenstalk.Client(address) as client:
        equal(client.using(), "default")
        client.use(tube)
        equal(client.using(), tube)
        raises(greenstalk.BadFormatError, client.use, "-dash")
        equal(client.using(), tube)


@suite.check("watch, ignore, NOT_IGNORED, and the order of list-tubes-watched")
def _(tube):
    a, b = f"{tube}-a", f"{tube}-b"
    with greenstalk.Client(address) as client:
        equal([client.watch(a), client.watch(b), client.watch(b)], [2, 3, 3])
        equal(client.watching(), ["default", a, b])
        equal([client.ignore("default"), client.ignore(tube), client.ignore(a)], [2, 2, 1])
        raises(greenstalk.NotIgnoredError, client.ignore, b)
        equal(client.watching(), [b])


@suite.check("reserve takes the lowest (priority, id) of all watched tubes")
def _(tube):
    a, b = f"{tube}-a", f"{tube}-b"
    with connect(a) as client:
        client.watch(b)
        last = client.put("last", priority=9)
        client.use(b)
        first, second = client.put("first", priority=0), client.put("second", priority=0)
        equal([client.reserve().id for _ in range(3)], [first, second, last])
        equal(state(client, first), "reserved")
        for id in (first, second, last):
            client.delete(id)


@suite.check("reserve-with-timeout times out")
def _(tube):
    with connect(tube) as client:
        raises(greenstalk.TimedOutError, client.reserve, timeout=0)
        raises(greenstalk.TimedOutError, client.reserve, timeout=1)


@suite.check("reserve-job takes ready, delayed and buried jobs, not reserved ones")
def _(tube):
    with connect(tube) as client, connect(tube) as other:
        buried = client.put("buried")
        client.bury(client.reserve(timeout=0))
        ids = [client.put("ready"), client.put("delayed", delay=60), buried]
        for id, body in zip(ids, ("ready", "delayed", "buried")):
            job = client.reserve_job(id)
            equal((job.id, job.body), (id, body))
            raises(greenstalk.NotFoundError, other.reserve_job, id)
            client.delete(job)
            raises(greenstalk.NotFoundError, client.reserve_job, id)


@suite.check("delete: anyone's job, unless another connection has reserved it")
def _(tube):
    with connect(tube) as client, connect(tube) as other:
        id = client.put("x")
        job = client.reserve(timeout=0)
        raises(greenstalk.NotFoundError, other.delete, id)
        client.release(job)
        other.delete(id)
        raises(greenstalk.NotFoundError, client.delete, id)


@suite.check("release with priority and delay")
def _(tube):
    with connect(tube) as client:
        id = client.put("x", priority=7)
        client.release(client.reserve(timeout=0), priority=5, delay=60)
        stats = client.stats_job(id)
        equal([stats[k] for k in ("state", "pri", "delay", "releases")], ["delayed", 5, 60, 1])
        client.kick_job(id)
        client.release(client.reserve(timeout=0), delay=1)
        job = client.reserve(timeout=5)
        equal(job.id, id)
        client.release(job)
        equal((state(client, job), client.stats_job(job)["pri"]), ("ready", 2**16))
        raises(greenstalk.NotFoundError, client.release, job)
        client.delete(job)


@suite.check("bury, kick (buried jobs first, then delayed ones) and kick-job")
def _(tube):
    with connect(tube) as client:
        buried = [client.put("x"), client.put("x")]
        for _ in buried:
            client.bury(client.reserve(timeout=0), priority=3)
        stats = client.stats_job(buried[0])
        equal([stats[k] for k in ("state", "pri", "buries")], ["buried", 3, 1])
        delayed = client.put("x", delay=60)
        equal([client.kick(1), client.kick(9), client.kick(9), client.kick(9)], [1, 1, 1, 0])
        equal([state(client, id) for id in (*buried, delayed)], ["ready"] * 3)
        raises(greenstalk.NotFoundError, client.kick_job, delayed)

        job = client.reserve(timeout=0)
        client.bury(job)
        raises(greenstalk.NotFoundError, client.bury, job)
        client.kick_job(job)
        stats = client.stats_job(job)
        equal([stats[k] for k in ("state", "kicks")], ["ready", 2])
        for id in (*buried, delayed):
            client.delete(id)


@suite.check("touch gives a reserved job its whole ttr again")
def _(tube):
    with connect(tube) as client, connect(tube) as other:
        client.put("x", ttr=60)
        job = client.reserve(timeout=0)
        until(lambda: client.stats_job(job)["time-left"] < 59)
        before = client.stats_job(job)["time-left"]

        def touched():
            client.touch(job)
            return client.stats_job(job)["time-left"] > before

        until(touched)
        raises(greenstalk.NotFoundError, other.touch, job)
        client.delete(job)


@suite.check("peek, peek-ready, peek-delayed, peek-buried")
def _(tube):
    with connect(tube) as client:
        for peek in (client.peek_ready, client.peek_delayed, client.peek_buried):
            raises(greenstalk.NotFoundError, peek)
        buried = client.put("buried")
        client.bury(client.reserve(timeout=0))
        ready, delayed = client.put("ready"), client.put("delayed", delay=60)
        for id, body, peek in (
            (ready, "ready", client.peek_ready),
            (delayed, "delayed", client.peek_delayed),
            (buried, "buried", client.peek_buried),
        ):
            equal((peek().id, peek().body), (id, body))
            equal((client.peek(id).id, client.peek(id).body), (id, body))
            client.delete(id)
            raises(greenstalk.NotFoundError, client.peek, id)


@suite.check("stats has every key and counts")
def _(tube):
    with connect(tube) as client:
        before = client.stats()
        has_keys(before, "stats")
        client.delete(client.put("x", priority=1))
        after = client.stats()
        for key in ("cmd-put", "cmd-delete", "cmd-stats", "total-jobs"):
            holds(after[key] > before[key], key)
        for key in ("current-connections", "current-tubes", "total-connections", "pid"):
            holds(after[key] > 0, key)
        holds(after["current-producers"] > 0, "current-producers")
        holds(float(after["rusage-utime"]) >= 0 <= float(after["rusage-stime"]), after)
        equal(after["draining"], "false")
        for key in ("version", "hostname", "os", "platform"):
            holds(after[key] and '"' not in after[key], f"{key}: {after[key]}")


@suite.check("stats-job has every key and the right values")
def _(tube):
    with connect(tube) as client:
        id = client.put("x", priority=4, ttr=100)
        job = client.reserve(timeout=0)
        stats = client.stats_job(job)
        has_keys(stats, "stats-job")
        holds(97 <= stats.pop("time-left") <= 100, "time-left")
        holds(0 <= stats.pop("age") <= 3, "age")
        expected = {"id": id, "tube": tube, "state": "reserved", "pri": 4, "delay": 0, "ttr": 100}
        expected |= {"file": 0, "reserves": 1, "timeouts": 0, "releases": 0, "buries": 0, "kicks": 0}
        equal({key: stats[key] for key in expected}, expected)
        client.delete(job)
        raises(greenstalk.NotFoundError, client.stats_job, id)


@suite.check("stats-tube has every key and the right values")
def _(tube):
    with connect(tube) as client:
        raises(greenstalk.NotFoundError, client.stats_tube, f"{tube}-unknown")
        ids = [client.put("buried")]
        client.bury(client.reserve(timeout=0))
        ids += [client.put("reserved")]
        client.reserve(timeout=0)
        ids += [client.put("urgent", priority=1023), client.put("ready", priority=1024)]
        ids += [client.put("delayed", delay=60)]
        stats = client.stats_tube(tube)
        has_keys(stats, "stats-tube")
        states = ("urgent", "ready", "reserved", "delayed", "buried")
        equal([stats[f"current-jobs-{state}"] for state in states], [1, 2, 1, 1, 1])
        keys = ("name", "total-jobs", "current-using", "current-watching", "current-waiting", "pause")
        equal([stats[k] for k in keys], [tube, 5, 1, 1, 0, 0])
        for id in ids:
            client.delete(id)
        equal(client.stats_tube(tube)["cmd-delete"], 5)


@suite.check("list-tubes")
def _(tube):
    with greenstalk.Client(address) as client:
        holds(tube not in client.tubes(), "there before it is used")
        client.use(tube)
        holds({tube, "default"} <= set(client.tubes()), "not there while it is used")


@suite.check("pause-tube holds jobs back, ends by itself, and 0 resumes")
def _(tube):
    with connect(tube) as client:
        raises(greenstalk.NotFoundError, client.pause_tube, f"{tube}-unknown", 1)
        id = client.put("x")
        client.pause_tube(tube, 60)
        raises(greenstalk.TimedOutError, client.reserve, timeout=0)
        stats = client.stats_tube(tube)
        equal((stats["pause"], stats["cmd-pause-tube"]), (60, 1))
        holds(57 <= stats["pause-time-left"] <= 60, stats)
        client.pause_tube(tube, 0)
        client.release(client.reserve(timeout=0))
        client.pause_tube(tube, 1)
        equal(client.reserve(timeout=5).id, id)
        client.delete(id)


@suite.check("DEADLINE_SOON ends a waiting reserve")
def _(tube):
    with connect(tube) as client:
        client.put("x", ttr=2)
        job = client.reserve(timeout=0)
        raises(greenstalk.DeadlineSoonError, client.reserve, timeout=5)
        client.touch(job)
        raises(greenstalk.DeadlineSoonError, client.reserve)
        client.delete(job)


@suite.check("a job whose ttr has passed goes to another worker")
def _(tube):
    with connect(tube) as slow, connect(tube) as other:
        slow.put("x", ttr=1)
        job = slow.reserve(timeout=0)
        # The slow worker keeps asking, since beanstalkd 1.12 loses timers of silent connections.
        until(lambda: slow.stats_job(job)["timeouts"] == 1)
        equal(other.reserve(timeout=5).id, job.id)
        raises(greenstalk.NotFoundError, slow.release, job)
        other.delete(job)


@suite.check("errors leave the connection usable: JOB_TOO_BIG, BAD_FORMAT, UNKNOWN_COMMAND")
def _(tube):
    with connect(tube, encoding=None) as client:
        limit = client.stats()["max-job-size"]
        raises(greenstalk.JobTooBigError, client.put, b"x" * (limit + 1))
        client.delete(client.put(b"x" * limit))
        raises(greenstalk.BadFormatError, client.watch, "two words")
        # The body of a put that is refused as malformed is read as commands. Here it is an empty
        # line, so there is one answer more than greenstalk waits for.
        raises(greenstalk.BadFormatError, client.put, b"", priority=-1)
        raises(greenstalk.UnknownCommandError, client.using)
        equal(client.using(), tube)


@suite.check("a full tube refuses a put, and a server with too many connections closes")
def _(tube):
    with greenstalk.Client(address, use=setting("JQ_FULL_TUBE")) as client:
        raises(greenstalk.OutOfMemoryError, client.put, "x")
        client.use(tube)
        client.delete(client.put("x"))
    crowded = (suite.host, int(setting("JQ_CROWDED_PORT")))
    raises(greenstalk.OutOfMemoryError, lambda: greenstalk.Client(crowded).stats())


@suite.check("what is not allowed is an error, and a put does not break the connection")
def _(tube):
    denied = greenstalk.Client((suite.host, int(setting("JQ_DENIED_PORT"))))
    raises(greenstalk.InternalError, denied.put, "quit")
    raises(greenstalk.InternalError, denied.reserve, 0)
    raises(greenstalk.InternalError, denied.put, "quit")
    denied.close()


@suite.check("closing the connection gives its reserved jobs back")
def _(tube):
    with connect(tube) as other:
        client = connect(tube)
        client.put("x", ttr=600)
        job = client.reserve(timeout=0)
        client.close()
        equal(other.reserve(timeout=5).id, job.id)
        other.delete(job)


@suite.check("a blocked reserve is satisfied by another connection")
def _(tube):
    with connect(tube) as worker, connect(tube) as producer:
        reserved = in_background(worker.reserve)
        until(lambda: producer.stats_tube(tube)["current-waiting"] == 1)
        id = producer.put("x")
        equal(reserved().id, id)
        worker.delete(id)


@suite.check("unix socket")
def _(tube):
    with greenstalk.Client(unix_socket(), use=tube, watch=tube) as client:
        id = client.put(TEXT)
        job = client.reserve(timeout=0)
        equal((job.id, job.body), (id, TEXT))
        client.delete(job)


def list_tubes():
    with greenstalk.Client(address) as client:
        return client.tubes()


suite.run(list_tubes)
