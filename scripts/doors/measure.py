#!/usr/bin/env python3
"""What each door costs, and how soon it acknowledges: client libraries against the real binary, one after the other.

    measure.py --heimdall target/release/heimdall [--count 100000] [--rate 20000] [CLIENT …]

For each client: records sent as fast as one client can (CPU of the server for each record), then at the rate (time until a batch of 500
is acknowledged). The CPU is the whole server's: decoding, journal, templates, detectors, store.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHIP = Path(__file__).resolve().parents[2] / "crates/heimdall/tests/doors/ship.py"
DOORS = {"otlp_logs_grpc": "otlp_grpc", "otlp_traces_grpc": "otlp_grpc", "otlp_logs_http": "otlp_http", "fluent": "fluent", "hec": "hec"}
CLIENTS = ["ndjson", "elasticsearch", "loki", "hec", "datadog", "fluent", "otlp_logs_http", "otlp_logs_grpc", "otlp_traces_grpc"]


# What was acknowledged is judged and made searchable after that.
SETTLE_SECONDS = 3


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ship(client, target, count, run, rate):
    command = [sys.executable, SHIP, client, "--target", target, "--count", str(count), "--run", run, "--rate", str(rate)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().splitlines()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heimdall", required=True)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("clients", nargs="*", default=CLIENTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        server = subprocess.Popen(
            [args.heimdall, "serve", "--data-dir", data, "--listen", "127.0.0.1:0"],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            listeners = data / "run/listeners.json"
            while not listeners.exists():
                time.sleep(0.05)
            addresses = json.loads(listeners.read_text())
            for client in args.clients:
                target = addresses[DOORS.get(client, "http")]
                before = cpu_seconds(server.pid)
                fast = ship(client, target, args.count, f"fast-{client}", 0)
                time.sleep(SETTLE_SECONDS)
                cost = (cpu_seconds(server.pid) - before) / args.count * 1e6
                paced = ship(client, target, args.count, f"paced-{client}", args.rate)
                print(f"{client:18} {cost:5.1f} µs/record   {fast[0]}   at {args.rate:.0f}/s: {paced[-1]}", flush=True)
        finally:
            server.terminate()
            server.wait(timeout=60)


if __name__ == "__main__":
    main()
