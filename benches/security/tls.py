#!/usr/bin/env python3
"""What TLS costs a server: processor time for each command, and memory of an idle connection.

    cargo build --release
    benches/security/tls.py

50 clients put, reserve and delete, each one job after the other, with one command on its way. They talk in turn to
jq-server without TLS, to jq-server with TLS, and to beanstalkd behind stunnel. Each server has one core, and the
clients have another one. Prints commands for each second of processor time of the server (that of stunnel included),
and ratios. Then opens idle connections to jq-server with TLS, and prints the resident bytes that each takes.

Needs openssl for the certificate. Without beanstalkd or stunnel, these are left out.
"""

import argparse
import contextlib
import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "operations"))
from support import BODY, cores, cpu, free_port, put, resident, spread  # noqa: E402

PATIENCE = 60  # seconds


def certificate(folder):
    """The files of a certificate that has signed itself, and of its key."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    subject = ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert]
    subprocess.run(command.split() + subject, check=True, capture_output=True)
    return cert, key


class Peer:
    """Processes that serve, together, at a port: with TLS or without. Ends them with the `with` block."""

    def __init__(self, name, commands, port, cpus, ca=None):
        self.name, self.port = name, port
        self.context = ssl.create_default_context(cafile=ca) if ca else None
        self.processes = [
            subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                preexec_fn=lambda: os.sched_setaffinity(0, cpus),
            )
            for command in commands
        ]
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                with self.connect() as probe:
                    probe.sendall(b"list-tube-used\r\n")
                    if probe.recv(100) == b"USING default\r\n":
                        return
            if time.monotonic() > deadline:
                self.stop()
                sys.exit(f"{name} does not start")
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context is None:
            return plain
        return self.context.wrap_socket(plain, server_hostname="localhost")

    def cpu(self):
        """Seconds of processor time so far, of all threads of all processes."""
        return sum(cpu(process.pid) for process in self.processes)

    def resident(self):
        """Resident bytes of the first process."""
        return resident(self.processes[0].pid)


def peers(args, folder, cpus):
    """The servers, each a function that starts it."""
    cert, key = certificate(folder)
    server = os.path.join(args.bin, "jq-server")

    def plain():
        port = free_port()
        return Peer("jq-server", [[server, "-l", "127.0.0.1", "-p", str(port)]], port, cpus)

    def secure():
        port = free_port()
        command = [server, "--listen", f"tls://127.0.0.1:{port}", "--tls-cert", cert, "--tls-key", key]
        return Peer("jq-server with TLS", [command], port, cpus, ca=cert)

    def behind_stunnel():
        port, inner = free_port(), free_port()
        config = os.path.join(folder, "stunnel.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(
                f"foreground = yes\npid =\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
                f"[queue]\naccept = 127.0.0.1:{port}\n"
                f"connect = 127.0.0.1:{inner}\ncert = {cert}\nkey = {key}\n"
            )
        commands = [["beanstalkd", "-l", "127.0.0.1", "-p", str(inner)], ["stunnel4", config]]
        return Peer("beanstalkd behind stunnel", commands, port, cpus, ca=cert)

    found = {"plain": plain, "tls": secure}
    if shutil.which("beanstalkd") and shutil.which("stunnel4"):
        found["stunnel"] = behind_stunnel
    else:
        print("beanstalkd or stunnel4 is missing, and left out")
    return found


def reply(client, lines):
    """Reads a reply of so many lines."""
    read = b""
    while read.count(b"\r\n") < lines:
        piece = client.recv(4096)
        if not piece:
            sys.exit("the server has closed a connection")
        read += piece
    return read


def work(peer, clients, jobs):
    """Each client does so many jobs. Returns commands for each second of the server's processor time."""
    request = put(b"x" * BODY)
    for number, client in enumerate(clients):
        client.sendall(b"use t%d\r\nwatch t%d\r\nignore default\r\n" % (number, number))
        reply(client, 3)
    before = peer.cpu()
    for _ in range(jobs):
        # One command of each client is on its way, and no more.
        for client in clients:
            client.sendall(request)
        numbers = [reply(client, 1).split()[1] for client in clients]
        for client in clients:
            client.sendall(b"reserve\r\n")
        for client in clients:
            reply(client, 2)
        for client, number in zip(clients, numbers):
            client.sendall(b"delete %s\r\n" % number)
        for client in clients:
            reply(client, 1)
    return 3 * jobs * len(clients) / (peer.cpu() - before)


def throughput(args, starts):
    """The commands for each second of processor time, round by round, of each server."""
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(start()) for name, start in starts.items()}
        clients = {
            name: [stack.enter_context(peer.connect()) for _ in range(args.clients)]
            for name, peer in servers.items()
        }
        for name, peer in servers.items():
            work(peer, clients[name], max(1, args.jobs // 10))
        rates = {name: [] for name in servers}
        for _ in range(args.rounds):
            for name, peer in servers.items():
                rates[name].append(work(peer, clients[name], args.jobs))
        for name, peer in servers.items():
            print(f"{peer.name}: {spread(rates[name])} commands for each second of processor time")
        for name in rates:
            if name != "tls":
                ratios = [one / other for one, other in zip(rates["tls"], rates[name])]
                print(f"    jq-server with TLS to {servers[name].name}: {spread(ratios, digits=2)}")


def idle(args, start):
    """Resident bytes of each idle connection; each has had a command answered."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(args.idle, hard - 100)
    with start() as peer:
        before = peer.resident()
        connections = []
        for _ in range(count):
            connections.append(peer.connect())
            connections[-1].sendall(b"list-tube-used\r\n")
            reply(connections[-1], 1)
        each = (peer.resident() - before) / count
        print(f"{peer.name}: {each:,.0f} resident bytes for each of {count} idle connections")
        for connection in connections:
            connection.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", default="target/release", help="where the programs are")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=400, help="of each client in each round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections")
    args = parser.parse_args()
    cpus, own = cores()
    os.sched_setaffinity(0, own)
    with tempfile.TemporaryDirectory() as folder:
        starts = peers(args, folder, cpus)
        throughput(args, starts)
        idle(args, starts["plain"])
        idle(args, starts["tls"])


if __name__ == "__main__":
    main()
