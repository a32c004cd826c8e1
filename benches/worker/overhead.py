#!/usr/bin/env python3
"""The overhead of jq-worker on top of the processes that it runs.

    cargo build --release
    benches/worker/overhead.py

Times, in interleaved rounds, the same number of starts of `true`: with `xargs -P8`, and as jobs of
jq-worker with concurrency 8, from the start of the worker until the last job is deleted, including
storing and serving the results. Then it times jobs of one persistent process. Prints medians and
ratios.
"""

import argparse
import contextlib
import glob
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

TUBE = "bench"
PATIENCE = 120  # seconds

# Answers each line at once. C would be faster, but not everybody has a compiler.
ECHO = """
import sys
for _ in sys.stdin.buffer:
    sys.stdout.buffer.write(b'{"output":1}\\n')
    sys.stdout.buffer.flush()
"""


class Queue:
    """A jq-server on a free port of this machine."""

    def __init__(self, program):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [program, "-l", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.stream = socket.create_connection(("127.0.0.1", self.port)).makefile("rwb")
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    sys.exit("the server does not start")
                time.sleep(0.01)

    def put(self, count):
        self.stream.write(b"use %s\r\n" % TUBE.encode())
        for _ in range(count):
            body = b'{"id":"%s","type":"bench"}' % str(uuid.uuid4()).encode()
            self.stream.write(b"put 0 0 60 %d\r\n%s\r\n" % (len(body), body))
        self.stream.flush()
        for _ in range(count + 1):
            self.stream.readline()

    def deleted(self):
        self.stream.write(b"stats-tube %s\r\n" % TUBE.encode())
        self.stream.flush()
        size = int(self.stream.readline().split()[1])
        text = self.stream.read(size + 2).decode()
        return int(text.split("cmd-delete: ")[1].split()[0])

    def stop(self):
        self.stream.close()
        self.process.kill()
        self.process.wait()


def by_worker(args, count, concurrency, handler, sync):
    """Seconds from the start of the worker until the last job is deleted."""
    queue = Queue(os.path.join(args.bin, "jq-server"))
    # Not emptied before the end: file systems are slow for a while after many deletions.
    folder = os.path.join(args.folder, str(uuid.uuid4()))
    os.makedirs(folder)
    config = os.path.join(folder, "worker.toml")
    with open(config, "w", encoding="ascii") as file:
        file.write(
            f"servers = ['127.0.0.1:{queue.port}']\ntubes = ['{TUBE}']\nlisten = '127.0.0.1:0'\n"
            f"results = 'results'\nconcurrency = {concurrency}\nsync = '{sync}'\n"
            f"[handlers.bench]\n{handler}"
        )
    with contextlib.ExitStack() as stack:
        stack.callback(queue.stop)
        queue.put(count)
        log = stack.enter_context(open(os.path.join(folder, "log"), "w", encoding="utf-8"))
        start = time.monotonic()
        command = [os.path.join(args.bin, "jq-worker"), "--config", config]
        worker = subprocess.Popen(command, stderr=log)
        stack.callback(worker.wait)
        stack.callback(worker.send_signal, signal.SIGTERM)
        while queue.deleted() < count:
            if time.monotonic() - start > PATIENCE:
                sys.exit(f"not done within {PATIENCE} s; see {folder}/log")
            time.sleep(0.002)
        took = time.monotonic() - start
    results = 0
    for pack in glob.glob(os.path.join(folder, "results/packs/*.pack")):
        with open(pack, "rb") as file:
            results += sum(1 for _ in file)
    if results != count:
        sys.exit(f"{results} results of {count} jobs")
    return took


def by_xargs(count):
    lines = b"".join(b"%d\n" % number for number in range(count))
    start = time.monotonic()
    subprocess.run(["xargs", "-P8", "-n1", "true"], input=lines, check=True)
    return time.monotonic() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", default="target/release", help="where the programs are")
    parser.add_argument("--jobs", type=int, default=1000, help="processes in each round")
    parser.add_argument("--lines", type=int, default=20000, help="persistent jobs in each round")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jq-overhead-") as folder:
        args.folder = folder
        echo = os.path.join(folder, "echo.py")
        with open(echo, "w", encoding="ascii") as file:
            file.write(ECHO)
        true = "command = ['true']\n"
        stays = f"command = ['{sys.executable}', '{echo}']\nmode = 'persistent'\npipeline = 16\n"
        times = {"xargs": [], "always": [], "never": [], "lines": [], "lines, never": []}
        for _ in range(args.rounds):
            times["xargs"].append(by_xargs(args.jobs))
            times["always"].append(by_worker(args, args.jobs, 8, true, "always"))
            times["never"].append(by_worker(args, args.jobs, 8, true, "never"))
        for _ in range(args.rounds):
            times["lines"].append(by_worker(args, args.lines, 16, stays, "always"))
            times["lines, never"].append(by_worker(args, args.lines, 16, stays, "never"))
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"{args.jobs} processes, 8 at a time, time relative to xargs -P8:")
    for sync in ("always", "never"):
        print(f"    jq-worker, sync = {sync!r}: {median[sync] / median['xargs']:.2f}")
    print("one persistent process, pipeline = 16, jobs a second:")
    for name, sync in (("lines", "always"), ("lines, never", "never")):
        print(f"    jq-worker, sync = {sync!r}: {args.lines / median[name]:.0f}")


if __name__ == "__main__":
    main()
