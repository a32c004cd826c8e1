#!/usr/bin/env python3
"""How long others wait while an operator does something big.

    cargo build --release
    benches/operations/stalls.py

One connection puts, reserves and deletes jobs of its own. Meanwhile an HTTP client reads all pages of a tube
of a million jobs, scrapes /metrics of 10,000 tubes again and again, changes the priority of the million jobs,
deletes as many of another tube, or clears the tube; or nobody does anything. Prints how long the connection
has waited for its replies, how long each of it took, and what pages take.
"""

import argparse
import json
import statistics
import time

from support import Actor, Client, Probe, Server, cores, fill, make_tubes, quantile, spread

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "longest": 1.0}
TARGET = 0.002
"""Seconds that nobody should wait longer than."""
PAGE = "/api/v1/tubes/big/jobs?limit=1000"


def following(page):
    """The cursor of the next page, if there is one. Not parsed: that would take milliseconds."""
    at = page.rfind(b'"next":"', len(page) - 200)
    return page[at + 8 : page.index(b'"', at + 8)].decode() if at >= 0 else None


def pages(cursors):
    """Reads all pages, and notes where each begins."""
    cursor = ""
    while cursor is not None:
        cursors.append(cursor)
        page = yield "GET", PAGE + (f"&cursor={cursor}" if cursor else ""), None
        cursor = following(page)


def scrapes(seconds):
    """Scrapes, again and again."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        yield "GET", "/metrics", None


def bulk(request):
    """Has many jobs changed, and waits until all are."""
    begun = yield "POST", "/api/v1/bulk", json.dumps(request)
    number = json.loads(begun)["id"]
    while True:
        progress = json.loads((yield "GET", f"/api/v1/bulk/{number}", None))
        if progress["state"] != "running":
            return
        yield 0.05


def clear():
    """Clears the tube."""
    yield "POST", "/api/v1/tubes/big/clear", None


def read_page(server, cursor):
    """A page, and the seconds that it took."""
    began = time.perf_counter()
    _, page = server.request("GET", PAGE + (f"&cursor={cursor}" if cursor else ""))
    return page, time.perf_counter() - began


def page_times(server, cursors, count):
    """Seconds that pages take, in turn: the first, the last that is full, and the one at the end, which
    finds no more jobs of this tube and looks through the places of others."""
    full = len(json.loads(read_page(server, "")[0])["jobs"])
    is_full = lambda cursor: len(json.loads(read_page(server, cursor)[0])["jobs"]) == full
    which = {"first": "", "last full": next(filter(is_full, reversed(cursors))), "end": cursors[-1]}
    times = {name: [] for name in which}
    for _ in range(count):
        for name, cursor in which.items():
            times[name].append(read_page(server, cursor)[1])
    return {name: statistics.median(of_it) for name, of_it in times.items()}


def measure(args, waits, took, page, cpus):
    """One round of everything."""
    with Server(args.bin, cpus=cpus) as server:
        with Client(server) as client:
            make_tubes(client, args.tubes)
            fill(client, b"big", args.jobs)
            fill(client, b"other", args.jobs)
        cursors = []
        scripts = {
            "nothing": None,
            "pages": pages(cursors),
            "scrapes": scrapes(args.seconds),
            "bulk set": bulk({"action": "set", "tube": "big", "priority": 5}),
            "bulk delete": bulk({"action": "delete", "tube": "other"}),
            "clear": clear(),
        }
        for name, script in scripts.items():
            probe = Probe(server)
            actor = Actor(server, script) if script else None
            waits.setdefault(name, []).append(probe.watch(actor, args.seconds))
            if actor:
                took.setdefault(name, []).append(actor.took)
            probe.close()
            if actor:
                actor.close()
            if name == "pages":
                for which, seconds in page_times(server, cursors, 50).items():
                    page.setdefault(which, []).append(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", default="target/release", help="where the programs are")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--tubes", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement, at least")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pin", action="store_true", help="keep all threads of the server on one core")
    args = parser.parse_args()
    waits, took, page = {}, {}, {}
    for _ in range(args.rounds):
        measure(args, waits, took, page, cores()[0] if args.pin else None)
    print(f"{args.jobs} jobs, {args.tubes} tubes, {args.rounds} rounds; milliseconds:")
    for name, rounds in waits.items():
        print(f"    {name}: {spread([len(ordered) for ordered in rounds])} replies")
        if name in took:
            print(f"        it took {spread(took[name], unit=' s', digits=2)}")
        for which, share in QUANTILES.items():
            values = [quantile(ordered, share) for ordered in rounds]
            print(f"        {which} {spread(values, scale=1e3, digits=3)}")
        longer = [sum(wait > TARGET for wait in ordered) for ordered in rounds]
        print(f"        longer than {TARGET * 1e3:.0f} ms: {spread(longer)}")
    for which, values in page.items():
        print(f"    page, {which}: {spread(values, scale=1e3, digits=3)}")


if __name__ == "__main__":
    main()
