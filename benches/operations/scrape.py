#!/usr/bin/env python3
"""What a scrape of /metrics each second costs the queue's clients.

    cargo build --release && cargo build --release -p jq-compare
    benches/operations/scrape.py

50 connections put, reserve and delete beside 10,000 tubes. Servers take turns: one without --http, and one
with --http whose metrics are scraped each second. Prints commands a second, and by second of the server's
processor time, which depends less on what else the machine does. The server has the first core alone; its
clients have the second.
"""

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import threading

from support import Client, Server, cores, make_tubes, spread

METRICS = {"commands_per_second": "commands a second", "commands_per_cpu_second": "by second of the server"}


@contextlib.contextmanager
def scraped(server, every):
    """Scrapes meanwhile. Yields a list of the sizes of the answers."""
    over, sizes = threading.Event(), []

    def scrape():
        while not over.wait(every):
            sizes.append(len(server.request("GET", "/metrics")[1]))

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def measure(args, serves_http, cpus):
    """The metrics of one round, and the bytes of each scrape."""
    with Server(args.bin, serves_http, cpus) as server, contextlib.ExitStack() as stack:
        with Client(server) as client:
            make_tubes(client, args.tubes)
        sizes = stack.enter_context(scraped(server, args.every)) if serves_http else []
        result = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".json"))
        load = [os.path.join(args.bin, "jq-compare"), "--rounds", "1", "--json", result.name]
        load += ["--server", f"jq=addr:127.0.0.1:{server.port}@{server.pid}"]
        load += ["--scenario", f"cycle-{args.connections}", "--seconds", str(args.seconds)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(load, check=True, **quiet)
        [scenario] = json.load(result)["scenarios"]
        return scenario["servers"][0]["rounds"][0], sizes


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", default="target/release", help="where the programs are")
    parser.add_argument("--tubes", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5, help="of each round")
    parser.add_argument("--every", type=float, default=1, help="seconds between scrapes")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    server_cpus, own = cores()
    rounds, sizes = {False: [], True: []}, []
    for _ in range(args.rounds):
        for serves_http, of_it in rounds.items():
            # The load takes its core from those that are allowed here.
            round_, scrapes = measure(args, serves_http, server_cpus)
            of_it.append(round_)
            sizes += scrapes
    print(f"{args.connections} connections, {args.tubes} tubes, {args.rounds} rounds, {len(sizes)} scrapes")
    if sizes:
        print(f"    bytes of a scrape: {spread(sizes)}")
    for key, name in METRICS.items():
        without, scraped_ = ([round_[key] for round_ in rounds[http]] for http in (False, True))
        ratios = [one / other for one, other in zip(scraped_, without)]
        print(f"    {name}: without --http {spread(without)}, scraped {spread(scraped_)}")
        print(f"        ratio {spread(ratios, digits=3)}")


if __name__ == "__main__":
    main()
