"""What the measurements here share: a server with a queue in it, clients, and how numbers are shown."""

import contextlib
import http.client
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PATIENCE = 60  # seconds
TOKEN = "token-of-these-measurements"
PIPELINED = 500  # commands in flight while a queue is filled
BODY = 100  # bytes


def cores():
    """The cores for the server and for its clients: one each if there are two."""
    allowed = sorted(os.sched_getaffinity(0))
    return {allowed[0]}, {allowed[min(1, len(allowed) - 1)]}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu(pid):
    """Seconds of processor time of a process so far, of all its threads."""
    tasks, spent = f"/proc/{pid}/task", 0
    for task in os.listdir(tasks):
        with open(f"{tasks}/{task}/schedstat", encoding="ascii") as file:
            spent += int(file.read().split()[0])
    return spent / 1e9


def resident(pid):
    """Resident bytes of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Server:
    """A jq-server on free ports of this machine, without a log. Ends with the `with` block."""

    def __init__(self, folder, serves_http=True, cpus=None):
        self.port, self.http_port = free_port(), free_port()
        command = [os.path.join(folder, "jq-server"), "-l", "127.0.0.1", "-p", str(self.port)]
        self.tokens = tempfile.NamedTemporaryFile("w", suffix=".toml")
        if serves_http:
            self.tokens.write(f'[[token]]\nname = "bench"\nrole = "operate"\ntoken = "{TOKEN}"\n')
            self.tokens.flush()
            command += ["--http", f"127.0.0.1:{self.http_port}", "--http-token-file", self.tokens.name]
        pin = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=pin)
        try:
            self.await_port(self.port)
            while serves_http and self.request("GET", "/readyz")[0] != 200:
                time.sleep(0.01)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.tokens.close()

    def await_port(self, port):
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit("jq-server does not start")
            time.sleep(0.01)

    @property
    def pid(self):
        return self.process.pid

    def cpu(self):
        """Seconds of processor time so far, of all threads."""
        return cpu(self.pid)

    def resident(self):
        """Resident bytes."""
        return resident(self.pid)

    def request(self, method, path, content=None):
        """The status and the content of an answer."""
        client = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=PATIENCE)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        with contextlib.closing(client):
            client.request(method, path, content, headers)
            answer = client.getresponse()
            return answer.status, answer.read()


class Client:
    """A connection to the queue."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.replies.close()
        self.socket.close()

    def command(self, line):
        """The first line of the reply."""
        self.socket.sendall(line + b"\r\n")
        return self.replies.readline()

    def use(self, tube):
        if self.command(b"use " + tube) != b"USING " + tube + b"\r\n":
            sys.exit("the server does not answer to use")

    def put(self, bodies, delay=0):
        """Puts jobs with these bodies, many at a time."""
        batches = [bodies[at : at + PIPELINED] for at in range(0, len(bodies), PIPELINED)]
        on_their_way = 0
        for batch in batches:
            self.socket.sendall(b"".join(put(body, delay) for body in batch))
            self.inserted(on_their_way)
            on_their_way = len(batch)
        self.inserted(on_their_way)

    def inserted(self, count):
        """Awaits the replies to so many puts."""
        for _ in range(count):
            if not self.replies.readline().startswith(b"INSERTED "):
                sys.exit("the server has refused a put")


def put(body, delay=0):
    return b"put 1000 %d 600 %d\r\n%s\r\n" % (delay, len(body), body)


def bodies(first, count):
    """Bodies of which no two are the same."""
    return [b"%-*d" % (BODY, number) for number in range(first, first + count)]


def fill(client, tube, count, first=0):
    """Puts so many jobs into a tube."""
    client.use(tube)
    for at in range(0, count, 20 * PIPELINED):
        client.put(bodies(first + at, min(20 * PIPELINED, count - at)))


def make_tubes(client, count):
    """Makes so many tubes, with one delayed job each."""
    for at in range(0, count, PIPELINED):
        names = [b"tube-%d" % number for number in range(at, min(at + PIPELINED, count))]
        client.socket.sendall(b"".join(b"use %s\r\n%s" % (name, put(b"x", 100000)) for name in names))
        for _ in range(2 * len(names)):
            client.replies.readline()


def spread(values, unit="", scale=1.0, digits=0):
    """The median of the rounds, and the smallest and the largest."""
    low, middle, high = (f(values) * scale for f in (min, statistics.median, max))
    return f"{middle:,.{digits}f}{unit} ({low:,.{digits}f} to {high:,.{digits}f})"


def quantile(ordered, share):
    """The value that this share of values does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Probe:
    """A connection that puts, reserves and deletes one job after the other and should not notice anything.
    It notes how long it waits for each reply. An HTTP client acts in the same thread, so that the two do
    not take the core from each other."""

    def __init__(self, server):
        self.client = Client(server)
        self.client.use(b"innocent")
        self.client.command(b"watch innocent")
        self.client.command(b"ignore default")
        self.socket = self.client.socket
        self.socket.setblocking(False)
        self.waits = []
        self.watch(None, 0.2)

    def close(self):
        self.client.__exit__()

    def watch(self, actor, seconds):
        """Goes on for so many seconds, and until the actor has done all. Returns the waits in order of
        size, in seconds."""
        self.waits = []
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        if actor:
            poll.register(actor.socket, select.POLLIN)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or (actor and not actor.done):
            job = self.ask(poll, actor, put(b"x" * BODY)).split()[1]
            self.ask(poll, actor, b"reserve\r\n")
            self.ask(poll, actor, b"delete %s\r\n" % job)
        return sorted(self.waits)

    def ask(self, poll, actor, command):
        sent = time.perf_counter()
        self.socket.send(command)
        reply = b""
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(10)}
            is_answered = False
            if self.socket.fileno() in ready:
                reply += self.socket.recv(4096)
                lines = 2 if reply.startswith(b"RESERVED") else 1
                is_answered = reply.count(b"\r\n") == lines
            if is_answered:
                self.waits.append(time.perf_counter() - sent)
            # Also if the probe is answered, which it may be each time.
            if actor:
                actor.step(actor.socket.fileno() in ready)
            if is_answered:
                return reply
            if time.perf_counter() - sent > PATIENCE:
                sys.exit("the queue does not answer")


class Actor:
    """An HTTP client that does what `script` says: a generator that yields requests as (method, path,
    content), gets the content of each answer, and yields a number to wait for so many seconds."""

    def __init__(self, server, script):
        self.socket = socket.create_connection(("127.0.0.1", server.http_port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.script, self.done, self.wakes = script, False, None
        self.began, self.took = time.perf_counter(), None
        self.go_on(None)

    def close(self):
        self.socket.close()

    def go_on(self, content):
        try:
            wish = self.script.send(content)
        except StopIteration:
            self.done, self.took = True, time.perf_counter() - self.began
            return
        if not isinstance(wish, tuple):
            self.wakes = time.perf_counter() + wish
            return
        method, path, content = wish
        content = (content or "").encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        if content:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        self.answer = b""
        self.pieces, self.missing = [], None
        self.socket.setblocking(True)
        self.socket.sendall(head.encode() + b"\r\n" + content)
        self.socket.setblocking(False)

    def step(self, is_ready):
        if self.done:
            return
        if self.wakes is not None:
            if time.perf_counter() >= self.wakes:
                self.wakes = None
                self.go_on(None)
            return
        if not is_ready:
            return
        piece = self.socket.recv(1 << 16)
        if not piece:
            sys.exit("the HTTP server has closed the connection")
        if self.missing is None:
            self.answer += piece
            head, end, piece = self.answer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 2"):
                sys.exit(f"the HTTP server answered: {self.answer.decode()}")
            fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
            self.missing = int(fields[b"content-length"])
        self.pieces.append(piece)
        self.missing -= len(piece)
        if self.missing == 0:
            self.go_on(b"".join(self.pieces))
