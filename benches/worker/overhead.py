#!/usr/bin/env python3
"""The overhead of jq-worker on top of the processes that it runs.

    cargo build --release
    benches/worker/overhead.py

Times, in interleaved rounds, the same number of starts of `true`: with `xargs -P8`, and as jobs of
jq-worker with concurrency 8, from the start of the worker until the last job is deleted, including
storing and serving the results. Then it times jobs of one persistent process, in C if there is a compiler.
Prints medians and ratios, also of the processors' time, which depends less on what else the machine does.
That of jq-worker includes the queue.
"""

import argparse
import contextlib
import ctypes
import glob
import os
import resource
import shutil
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

# Answers each line at once.
ECHO_IN_C = r"""
#include <string.h>
#include <unistd.h>
int main(void) {
    static char in[1 << 16], out[sizeof in * 14];
    for (ssize_t bytes; (bytes = read(0, in, sizeof in)) > 0;) {
        size_t length = 0;
        for (ssize_t at = 0; at < bytes; at++)
            if (in[at] == '\n') length += strlen(strcpy(out + length, "{\"output\":1}\n"));
        for (size_t at = 0; at < length;) at += write(1, out + at, length - at);
    }
}
"""
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


def measured(function, *args):
    """Seconds of the clock, and of the processors."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = function(*args)
    # What the worker left, such as processes between it and those of jobs, which end by themselves.
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def echo_command(folder):
    """What answers lines, and in which language."""
    source, program = os.path.join(folder, "echo.c"), os.path.join(folder, "echo")
    with open(source, "w", encoding="ascii") as file:
        file.write(ECHO_IN_C)
    compiler = shutil.which("cc")
    if compiler and subprocess.run([compiler, "-O2", "-o", program, source], check=False).returncode == 0:
        return f"['{program}']", "C"
    program += ".py"
    with open(program, "w", encoding="ascii") as file:
        file.write(ECHO)
    return f"['{sys.executable}', '{program}']", "Python"


def show(name, values):
    print(f"    {name}: median {statistics.median(values):.2f}, {min(values):.2f} to {max(values):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", default="target/release", help="where the programs are")
    parser.add_argument("--jobs", type=int, default=1000, help="processes in each round")
    parser.add_argument("--lines", type=int, default=20000, help="persistent jobs in each round")
    parser.add_argument("--folder", help="where state directories are made")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pipeline", type=int, default=32)
    parser.add_argument("--concurrency", type=int, default=128, help="of persistent jobs")
    args = parser.parse_args()
    # Processes whose parent has ended become children of this one (PR_SET_CHILD_SUBREAPER), to be counted.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="jq-overhead-", dir=args.folder) as folder:
        args.folder = folder
        true = "command = ['true']\n"
        ratios = {"always": [], "never": []}
        for _ in range(args.rounds):
            xargs = measured(by_xargs, args.jobs)
            for sync, of_sync in ratios.items():
                ours = measured(by_worker, args, args.jobs, 8, true, sync)
                of_sync.append([one / other for one, other in zip(ours, xargs)])
        print(f"{args.jobs} processes, 8 at a time, relative to xargs -P8:")
        for sync, of_sync in ratios.items():
            show(f"sync = {sync!r}, time", [time for time, _ in of_sync])
            show(f"sync = {sync!r}, time of processors", [cpu for _, cpu in of_sync])
        echo, language = echo_command(folder)
        stays = f"command = {echo}\nmode = 'persistent'\npipeline = {args.pipeline}\n"
        speeds = {"always": [], "never": []}
        for _ in range(args.rounds):
            for sync, of_sync in speeds.items():
                took, cpu = measured(by_worker, args, args.lines, args.concurrency, stays, sync)
                of_sync.append((args.lines / took, cpu / args.lines * 1e6))
        print(f"one persistent process in {language}, pipeline = {args.pipeline}:")
        for sync, of_sync in speeds.items():
            show(f"sync = {sync!r}, jobs a second", [speed for speed, _ in of_sync])
            show(f"sync = {sync!r}, microseconds of processors for each", [cpu for _, cpu in of_sync])


if __name__ == "__main__":
    main()
