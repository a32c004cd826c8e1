"""What the Python suites share: running checks, and a few words to write them with."""

import os
import secrets
import sys
import threading
import time
import traceback
from pathlib import Path

EXPECTED = Path(__file__).resolve().parent.parent / "expected"

#: Seconds that a condition may take to come true. Only a broken server lets this pass.
PATIENCE = 6

BINARY = bytes(range(256)) + b"\r\n\x00\r\nINSERTED 1\r\n"
TEXT = "naïve ☃ \U0001f40d"
#: Just under the default limit of 65,535, and more than any socket hands over at once.
LARGE = 65_000


class Skip(Exception):
    """Raised by a check that does not apply; its text says why."""


class Suite:
    def __init__(self, name):
        self.name = name
        self.host, self.port = sys.argv[1], int(sys.argv[2])
        # Several suites and several runs share a server, hence names that nobody else has.
        self.prefix = f"{name}-{os.getpid()}-{secrets.token_hex(4)}"
        self._checks = []

    def check(self, title):
        """Registers a function of one argument: the name of a tube that is the check's own."""

        def register(function):
            self._checks.append((title, function))
            return function

        return register

    def run(self, list_tubes):
        """Runs the checks and exits. `list_tubes` asks the server over a new connection."""

        @self.check("every tube of this run is gone, so no job or watcher is left")
        def _(_tube):
            until(lambda: not any(t.startswith(self.prefix) for t in list_tubes()))

        failed = passed = 0
        for number, (title, function) in enumerate(self._checks, 1):
            try:
                function(f"{self.prefix}-{number}")
            except Skip as reason:
                print(f"skip {title}: {reason}", flush=True)
            except Exception as error:
                failed += 1
                print(f"FAIL {title}: {type(error).__name__}: {error}", flush=True)
                traceback.print_exc()
            else:
                passed += 1
                print(f"ok   {title}", flush=True)
        print(f"{self.name}: {passed} passed, {failed} failed", flush=True)
        sys.exit(1 if failed else 0)


def equal(actual, expected):
    if actual != expected:
        raise AssertionError(f"expected {expected!r:.200}, got {actual!r:.200}")


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


def raises(kind, function, *args, **kwargs):
    """Calls the function and returns the exception of that kind which it must raise."""
    try:
        result = function(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"expected {kind}, got the result {result!r}")


def until(condition):
    """Polls until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {PATIENCE} s")
        time.sleep(0.02)


def setting(name):
    """What the environment says; without it, the check does not apply."""
    if name not in os.environ:
        raise Skip(f"{name} is not set")
    return os.environ[name]


def in_background(function):
    """Starts a thread; the returned function waits for its end and gives its result."""
    outcome = []

    def body():
        try:
            outcome.append((function(), None))
        except Exception as error:
            outcome.append((None, error))

    # A daemon, so that a reserve which never returns does not keep the process alive.
    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def join():
        thread.join(PATIENCE)
        if not outcome:
            raise AssertionError(f"still blocked after {PATIENCE} s")
        result, error = outcome[0]
        if error is not None:
            raise error
        return result

    return join


def has_keys(reply, name):
    """Checks that a stats reply has all of beanstalkd's keys, in beanstalkd's order."""
    expected = (EXPECTED / f"{name}.txt").read_text().split()
    equal([key for key in reply if key in set(expected)], expected)


def unix_socket():
    path = os.environ.get("JQ_UNIX_SOCKET")
    if not path:
        raise Skip("JQ_UNIX_SOCKET is not set")
    return path
