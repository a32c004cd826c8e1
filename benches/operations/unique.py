#!/usr/bin/env python3
"""What the policy `unique` costs a put, and the memory of a job.

    cargo build --release
    benches/operations/unique.py

Two servers have a tube of a million jobs with different bodies; in one of them the tube is unique. Then they
take puts of more such jobs in turn, many at a time and one by one. Prints the processor time of the server
for a put, and resident bytes of a job.
"""

import argparse

from support import BODY, Client, Server, bodies, cores, fill, put, spread

TUBE = b"big"


def measured(server, action, count):
    """Microseconds of the server's processor time for each of so many puts."""
    before = server.cpu()
    action()
    return (server.cpu() - before) / count * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", default="target/release", help="where the programs are")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--puts", type=int, default=50_000, help="of each round, many at a time")
    parser.add_argument("--single", type=int, default=5_000, help="of each round, one by one")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    cpus, _ = cores()
    with Server(args.bin, cpus=cpus) as plain, Server(args.bin, cpus=cpus) as unique:
        status, answer = unique.request("PUT", "/api/v1/tubes/big/policy", '{"unique":true}')
        if status not in (200, 201, 204):
            raise SystemExit(f"the policy was refused: {answer.decode()}")
        servers, memory = {"plain": plain, "unique": unique}, {}
        for name, server in servers.items():
            before = server.resident()
            with Client(server) as client:
                fill(client, TUBE, args.jobs)
            memory[name] = (server.resident() - before) / args.jobs
        many, single = {name: [] for name in servers}, {name: [] for name in servers}
        first = args.jobs
        for _ in range(args.rounds):
            batch = bodies(first, args.puts)
            one_by_one = [put(body) for body in bodies(first + args.puts, args.single)]
            first += args.puts + args.single
            for name, server in servers.items():
                with Client(server) as client:
                    client.use(TUBE)
                    many[name].append(measured(server, lambda: client.put(batch), args.puts))

                    def put_each():
                        for command in one_by_one:
                            client.socket.sendall(command)
                            client.inserted(1)

                    single[name].append(measured(server, put_each, args.single))
    print(f"on top of {args.jobs} jobs of {BODY} bytes; microseconds of the server for a put:")
    for how, times in (("many at a time", many), ("one by one", single)):
        ratios = [one / other for one, other in zip(times["unique"], times["plain"])]
        shown = ", ".join(f"{name} {spread(of_it, digits=2)}" for name, of_it in times.items())
        print(f"    {how}: {shown}; ratio {spread(ratios, digits=2)}")
    print(f"resident bytes of a job: plain {memory['plain']:.0f}, unique {memory['unique']:.0f}")


if __name__ == "__main__":
    main()
