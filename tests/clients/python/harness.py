"""Runs the tests of a suite one after the other, each with a deadline, and prints a line for each.

Not a framework: a test is a function that gets a `Bench` (addresses, unique names) and raises where something is not as it must be.
"""

import argparse
import os
import signal
import socket
import sys
import time
import traceback
import uuid

_tests = []


def test(quick=True, seconds=30, kills=False):
    """Marks a test.

    `quick`: part of the short run. `seconds`: after which it has failed, whatever it waits for. `kills`: kills nodes, and so runs
    only where `--kills` asks for it, when nothing else uses the cluster.
    """

    def mark(function):
        _tests.append((function, quick, seconds, kills))
        return function

    return mark


class Skip(Exception):
    """Not a failure: this client or this cluster cannot do it, and the reason says why."""


class Bench:
    def __init__(self, arguments):
        self.bootstrap = arguments.bootstrap
        self.servers = arguments.bootstrap.split(",")
        self.replicas = min(3, arguments.replicas)
        self.control = arguments.control
        self.quick = arguments.quick

    @staticmethod
    def name(what):
        return f"{what}-{uuid.uuid4().hex[:10]}"

    def kill(self, node_id):
        """Kills a node with signal 9; it is started again by what started it."""
        host, port = self.control.rsplit(":", 1)
        with socket.create_connection((host, int(port)), 10) as connection, connection.makefile("rw") as lines:
            lines.write(f"kill {node_id}\n")
            lines.flush()
            answer = lines.readline().strip()
        if answer != "ok":
            raise AssertionError(f"the node was not killed: {answer}")


def eq(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: {_short(found)} instead of {_short(wanted)}")


def check(holds, what):
    if not holds:
        raise AssertionError(what)


def raises(kinds, action, what):
    """The error that `action` must raise."""
    try:
        result = action()
    except kinds as error:
        return error
    raise AssertionError(f"{what}: no error, but {_short(result)}")


def eventually(condition, what, seconds=15):
    """Waits until `condition` gives something true, which is returned."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what} (last: {_short(found)})")
        time.sleep(0.05)


def _short(value):
    text = repr(value)
    return text if len(text) < 300 else f"{text[:140]} … {text[-140:]} ({len(text)} characters)"


class _Late(BaseException):
    pass


def _late(*_):
    raise _Late()


def _run(function, bench, seconds):
    """None, or what is wrong."""
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(seconds)
    try:
        function(bench)
        return None
    except _Late:
        where = traceback.extract_tb(sys.exc_info()[2])
        ours = [frame for frame in where if frame.filename.endswith("suite.py")]
        line = f" at line {ours[-1].lineno}: {ours[-1].line}" if ours else ""
        return f"not done after {seconds} s{line}"
    finally:
        signal.alarm(0)


def main(title):
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--control", help="host:port that kills nodes when asked to")
    parser.add_argument("--kills", action="store_true", help="run the tests that kill nodes, and only them")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="tests whose name contains this")
    parser.add_argument("--trace", action="store_true")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    passed, failed = 0, 0
    for function, quick, seconds, kills in _tests:
        if (arguments.quick and not quick) or kills != arguments.kills or arguments.only not in function.__name__:
            continue
        began = time.monotonic()
        try:
            wrong = _run(function, bench, seconds)
        except Skip as reason:
            print(f"skipped {function.__name__}: {reason}", flush=True)
            continue
        except Exception as error:  # noqa: BLE001: whatever a client raises is this test's failure
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith("suite.py")]
            wrong = f"{type(error).__name__}: {error}" + (f" (line {frames[-1].lineno})" if frames else "")
            if arguments.trace:
                traceback.print_exc()
        if wrong is None:
            passed += 1
            print(f"ok {function.__name__} ({time.monotonic() - began:.2f} s)", flush=True)
        else:
            failed += 1
            print(f"FAILED {function.__name__} ({time.monotonic() - began:.2f} s): {wrong}", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    # Not sys.exit: a client that a failed test left behind must not hold the process.
    os._exit(1 if failed or not passed else 0)
