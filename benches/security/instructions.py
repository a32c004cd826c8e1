#!/usr/bin/env python3
"""What rights cost: instructions of the whole server for each command, with `--auth` and without.

    cargo build --release
    benches/security/instructions.py

One client puts, reserves and deletes jobs, one command at a time or several at once, and callgrind counts. What a start
and an end take is left out: it is the same in a short run and in a longer one. Needs valgrind.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "operations"))
from support import free_port  # noqa: E402

PATIENCE = 60  # seconds
PRINCIPAL = '[[principal]]\nname = "bench"\nput = ["*"]\nreserve = ["*"]\npeek = ["*"]\n'


def connect(port):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                sys.exit("jq-server does not start")
            time.sleep(0.05)


def exercise(client, jobs, at_once):
    """Puts, reserves and deletes so many jobs."""
    replies = client.makefile("rb")

    def ask(commands, lines):
        client.sendall(b"".join(commands))
        return [replies.readline() for _ in range(lines)]

    ask([b"use bench\r\nwatch bench\r\n"], 2)
    while jobs > 0:
        count = min(at_once, jobs)
        inserted = ask([b"put 0 0 60 10\r\n0123456789\r\n"] * count, count)
        ask([b"reserve\r\n"] * count, 2 * count)
        ask([b"delete %s\r\n" % line.split()[1] for line in inserted], count)
        jobs -= count


def instructions(binary, auth, jobs, at_once):
    """All that a server executes which handles so many jobs."""
    port = free_port()
    listen = f"tcp://127.0.0.1:{port}"
    options = ["--auth", auth, "--listen", f"{listen}?as=bench"] if auth else ["--listen", listen]
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary]
    server = subprocess.Popen(valgrind + options, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        with connect(port) as client:
            exercise(client, jobs, at_once)
        server.terminate()
        log = server.communicate(timeout=PATIENCE)[1]
    finally:
        server.kill()
        server.wait()
    counted = re.search(r"Collected : (\d+)", log)
    return int(counted.group(1)) if counted else sys.exit(log)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", default="target/release", help="where the program is")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--at-most", type=float, help="the ratio above which this fails")
    args = parser.parse_args()
    binary = os.path.join(args.bin, "jq-server")
    worst = 0
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as auth:
        auth.write(PRINCIPAL)
        auth.flush()
        for at_once in (1, 20):
            each = {}
            for name, file in (("without", None), ("with", auth.name)):
                short, long = (instructions(binary, file, jobs, at_once) for jobs in (args.jobs // 4, args.jobs))
                each[name] = (long - short) / (3 * (args.jobs - args.jobs // 4))
            ratio = each["with"] / each["without"]
            worst = max(worst, ratio)
            print(
                f"{at_once} at a time: {each['without']:.0f} instructions for each command, "
                f"{each['with']:.0f} with --auth: {ratio:.3f}"
            )
    if args.at_most and worst > args.at_most:
        sys.exit(f"more than {args.at_most}")


if __name__ == "__main__":
    main()
