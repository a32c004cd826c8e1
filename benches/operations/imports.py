#!/usr/bin/env python3
"""How fast `jq-ctl import` fills a queue.

    cargo build --release -p jq-server -p jq-ctl
    benches/operations/imports.py

Imports a file of a million jobs into an empty server, again and again. Prints jobs a second, and by second of
either program's processor time. The server has the first core alone; jq-ctl has the second.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

from support import BODY, Client, Server, cores, spread


def write(file, jobs):
    """A file as `jq-ctl export` writes it."""
    for number in range(jobs):
        body = "%-*d" % (BODY, number)
        job = {"id": number + 1, "tube": "big", "state": "ready", "priority": 1000, "delay": 0, "ttr": 60}
        file.write(json.dumps(job | {"body": body}, separators=(",", ":")) + "\n")
    file.flush()


def measure(args, file, cpus, own):
    """Jobs a second, by the clock and by the processor time of both programs."""
    with Server(args.bin, serves_http=False, cpus=cpus) as server:
        command = [os.path.join(args.bin, "jq-ctl"), "--server", f"127.0.0.1:{server.port}"]
        pin = lambda: os.sched_setaffinity(0, own)
        before, began = server.cpu(), time.perf_counter()
        process = subprocess.Popen([*command, "import", file], stdout=subprocess.DEVNULL, preexec_fn=pin)
        _, status, usage = os.wait4(process.pid, 0)
        took, cpu = time.perf_counter() - began, server.cpu() - before
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit("jq-ctl has failed")
        with Client(server) as client:
            client.command(b"stats-tube big")
            while not (line := client.replies.readline()).startswith(b"current-jobs-ready"):
                pass
            if int(line.split()[1]) != args.jobs:
                raise SystemExit(f"not all jobs are in the queue: {line.decode()}")
        return {
            "jobs a second": args.jobs / took,
            "by second of the server": args.jobs / cpu,
            "by second of jq-ctl": args.jobs / (usage.ru_utime + usage.ru_stime),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", default="target/release", help="where the programs are")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cpus, own = cores()
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        write(file, args.jobs)
        rounds = [measure(args, file.name, cpus, own) for _ in range(args.rounds)]
    print(f"{args.jobs} jobs of {BODY} bytes:")
    for name in rounds[0]:
        print(f"    {name}: {spread([round_[name] for round_ in rounds])}")


if __name__ == "__main__":
    main()
