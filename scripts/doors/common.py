"""What the checks of doors with real clients share: the example server, started, killed and asked what it holds.

Build it first: cargo build --release -p heimdall-doors --example doors
The environment says where it is (DOORS_EXAMPLE) and where files may go (DOORS_DIR).
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
EXAMPLE = os.environ.get("DOORS_EXAMPLE", os.path.join(TARGET, "release", "examples", "doors"))


def need(*, modules=(), programs=()):
    """Ends the check with a plain message when something it needs is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    missing += [name for name in programs if shutil.which(name) is None]
    if not os.path.exists(EXAMPLE):
        missing.append(EXAMPLE)
    if missing:
        print(f"skipped: not installed: {', '.join(missing)}")
        sys.exit(0)


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, config):
        self.dir = tempfile.mkdtemp(prefix="doors-", dir=os.environ.get("DOORS_DIR"))
        self.config = os.path.join(self.dir, "config.toml")
        with open(self.config, "w") as file:
            file.write(config)
        self.log = open(os.path.join(self.dir, "log"), "ab")
        self.process = None
        self.kills = 0

    def start(self):
        listeners = os.path.join(self.dir, "listeners.json")
        if os.path.exists(listeners):
            os.remove(listeners)
        self.process = subprocess.Popen([EXAMPLE, self.dir, self.config], stdout=self.log, stderr=self.log)
        for _ in range(400):
            if os.path.exists(listeners):
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit(f"the server did not start: see {self.log.name}")

    def kill(self):
        """As a crash, and a start after it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills += 1
        time.sleep(0.1)
        self.start()

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def records(self):
        records = []
        with open(os.path.join(self.dir, "records.ndjson")) as file:
            for line in file:
                try:
                    records.append(json.loads(line))
                except ValueError:
                    pass  # the last line, half written
        return records

    def settle(self, count, seconds=60):
        """Waits until nothing more comes, and at least so many records are there."""
        before, end = -1, time.time() + seconds
        while time.time() < end:
            found = len(self.records())
            if found == before and found >= count:
                return
            before = found
            time.sleep(1)


def verdict(name, sent, texts, kills, doubled_allowed=False):
    lost, doubled = sent - len(set(texts)), len(texts) - len(set(texts))
    print(f"{name}: sent {sent}, kills {kills}, lost {lost}, doubled {doubled}")
    if lost or (doubled and not doubled_allowed):
        sys.exit(1)
