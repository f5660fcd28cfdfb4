#!/usr/bin/env python3
"""What each door costs, and how soon it acknowledges: clients against the real binary, one after the other.

    measure.py --heimdall target/release/heimdall [--count 100000] [--rate 20000] [CLIENT …]

For each client a server of its own: records sent as fast as one client can (CPU of the server for each record), then at the rate (time
until a batch of 500 is acknowledged; where the protocol has no acknowledgement, until the server's own counter of durable records has
it, looked at every 5 ms). The CPU is the whole server's: decoding, journal, templates, detectors, store.
The client runs beside it on the same cores. Clients whose broker or engine is not installed are left out with a word.
"""
import argparse
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

SHIP = Path(__file__).resolve().parents[2] / "crates/heimdall/tests/doors/ship.py"
# What was acknowledged is judged and made searchable after that.
SETTLE_SECONDS = 3
PATIENCE_SECONDS = 120
# Of the endpoint that is scraped, and how often.
SCRAPED_SAMPLES, SCRAPES = 20_000, 20


class Door:
    """A client's way in: settings of the server, the listener it sends to, and the door whose counter tells what is durable."""

    def __init__(self, config="", listener="http", counted=None, broker=None):
        self.config, self.listener, self.counted, self.broker = config, listener, counted, broker


TLS = '[doors.syslog]\ntls_listen = "127.0.0.1:0"\n[doors.syslog.tls]\ncert_file = "cert.pem"\nkey_file = "key.pem"\n'
# Topics are made and subscribed to before anything is measured.
KAFKA = '[doors.kafka]\nbrokers = "{address}"\ntopics = ["ship"]\nstart = "earliest"\n'
MQTT = '[[doors.mqtt]]\nurl = "mqtt://{address}"\nclient_id = "heimdall"\ntopics = [{{ filter = "ship/#" }}]\n'
DOORS = {
    "ndjson": Door(),
    "elasticsearch": Door(),
    "loki": Door(),
    "hec": Door(listener="hec"),
    "datadog": Door(),
    "fluent": Door(listener="fluent"),
    "otlp_logs_http": Door(listener="otlp_http"),
    "otlp_logs_grpc": Door(listener="otlp_grpc"),
    "otlp_metrics_grpc": Door(listener="otlp_grpc"),
    "otlp_traces_grpc": Door(listener="otlp_grpc"),
    "heimdall_grpc": Door(listener="grpc"),
    "influx": Door(),
    "remote_write": Door(),
    "journald": Door(),
    "lumberjack": Door('[doors.lumberjack]\nlisten = "127.0.0.1:0"\n', "lumberjack"),
    "relp": Door('[doors.syslog]\nrelp_listen = "127.0.0.1:0"\n', "relp"),
    "syslog_tcp": Door(listener="syslog_tcp", counted="syslog_tcp"),
    "syslog_tls": Door(TLS, "syslog_tls", "syslog_tls"),
    "syslog_udp": Door(listener="syslog_udp", counted="syslog_udp"),
    "gelf_tcp": Door('[doors.gelf]\ntcp_listen = "127.0.0.1:0"\n', "gelf_tcp", "gelf_tcp"),
    "statsd": Door('[doors.statsd]\nudp_listen = "127.0.0.1:0"\nflush_interval = "1s"\n', "statsd"),
    "mqtt": Door(MQTT, "broker", "mqtt", "mosquitto"),
    "kafka": Door(KAFKA, "broker", "kafka", "tansu"),
}
CLIENTS = [*DOORS, "scrape", "docker"]


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(what, is_so, pause=0.05):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if is_so():
                return
        except OSError:
            pass
        time.sleep(pause)
    sys.exit(f"not within {PATIENCE_SECONDS} s: {what}")


class Server:
    def __init__(self, binary, folder, config):
        self.data, self.folder = folder / "data", folder
        (folder / "heimdall.toml").write_text(config)
        self.log = open(folder / "log", "wb")
        self.process = subprocess.Popen(
            [binary, "serve", "--data-dir", self.data, "--listen", "127.0.0.1:0"], cwd=folder, stdout=self.log, stderr=self.log
        )
        listeners = self.data / "run/listeners.json"
        until("the server listens", lambda: listeners.exists() or self.process.poll() is not None)
        if self.process.poll() is not None:
            sys.exit((folder / "log").read_text()[-2000:])
        self.addresses = json.loads(listeners.read_text())

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def accepted(self, door):
        with urllib.request.urlopen(f"http://{self.addresses['http']}/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f'ingest_records_total{{door="{door}",outcome="accepted"}}'):
                    return int(line.rsplit(" ", 1)[1])
        return 0

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def start_broker(program, folder, address):
    if program == "mosquitto":
        port = address.rsplit(":", 1)[1]
        config = folder / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\nuser root\n")
        command = [program, "-c", config]
    else:
        url = f"tcp://{address}"
        command = [program, "broker", "--cluster-id", "hd", "--listener-url", url, "--advertised-listener-url", url]
        command += ["--storage-engine", "sqlite://tansu.db"]
    broker = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host, port = address.rsplit(":", 1)
    until("the broker listens", lambda: socket.create_connection((host, int(port))).close() is None)
    return broker


def ship(client, target, count, run, rate, counted=None):
    command = [sys.executable, SHIP, client, "--target", target, "--count", str(count), "--run", run, "--rate", str(rate)]
    command += ["--counted", counted] if counted else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{client}: {done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()


def through(server, door, client, args, target):
    """Both runs of one client."""
    counted = f"{server.addresses['http']}/{door.counted}" if door.counted else None
    if door.broker:  # the subscription is there when something has come
        until("the subscription", lambda: ship(client, target, 1, "first", 0) and server.accepted(door.counted) > 0)
    before, already = server.cpu(), server.accepted(door.counted) if door.counted else 0
    fast = ship(client, target, args.count, f"fast_{client}", 0)
    if door.counted and door.counted != "syslog_udp":  # what is sent faster than it can be taken is lost there
        until("all is taken", lambda: server.accepted(door.counted) - already >= args.count)
    time.sleep(SETTLE_SECONDS)
    taken = server.accepted(door.counted) - already if door.counted else args.count
    cost = (server.cpu() - before) / taken * 1e6
    note = f" ({taken} taken)" if taken < args.count else ""
    paced = ship(client, target, args.count, f"paced_{client}", args.rate, counted)
    print(f"{client:18} {cost:5.1f} µs/record   {fast[0]}{note}   at {args.rate:.0f}/s: {paced[-1]}", flush=True)


def measure(client, args, folder):
    door, target, broker = DOORS[client], None, None
    if door.broker and shutil.which(door.broker) is None:
        print(f"{client:18} skipped: {door.broker} is not installed", flush=True)
        return
    if "cert.pem" in door.config:
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
        subprocess.run(make.split(), cwd=folder, check=True, capture_output=True)
    if door.broker:
        target = free_address()
        broker = start_broker(door.broker, folder, target)
    server = Server(args.heimdall, folder, door.config.format(address=target) if door.broker else door.config)
    try:
        through(server, door, client, args, target or server.addresses[door.listener])
    finally:
        server.stop()
        if broker:
            broker.kill()
            broker.wait()


def scrape(args, folder):
    """An endpoint with as many samples as the rate has a second, asked every second."""
    asked = []

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(time.perf_counter())
            body = "".join(f'ship{{series="s{n}",path="/cart"}} {n + len(asked)}\n' for n in range(SCRAPED_SAMPLES)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    endpoint = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    config = f'[[doors.scrape]]\njob = "ship"\ntargets = ["127.0.0.1:{endpoint.server_port}"]\ninterval = "1s"\n'
    server = Server(args.heimdall, folder, config)
    try:
        until("a first scrape", lambda: server.accepted("scrape") > 0)
        before, already, first, times = server.cpu(), server.accepted("scrape"), len(asked), []
        for number in range(first, first + SCRAPES):
            until("a scrape", lambda: len(asked) > number)
            until("its samples", lambda: server.accepted("scrape") >= already + SCRAPED_SAMPLES, pause=0.005)
            now = server.accepted("scrape")
            times.append(time.perf_counter() - asked[number])
            already = now
        cost = (server.cpu() - before) / (SCRAPES * SCRAPED_SAMPLES) * 1e6
        times.sort()
        print(f"{'scrape':18} {cost:5.1f} µs/sample   {SCRAPES} scrapes of {SCRAPED_SAMPLES}, one a second: "
              f"counted after {times[len(times) // 2] * 1e3:.1f} ms (p50), {times[-1] * 1e3:.1f} ms (max), the endpoint's own time included", flush=True)
    finally:
        server.stop()
        endpoint.shutdown()


def docker(args, folder):
    """Lines of one container, as fast as the engine takes them."""
    engine, image = os.environ.get("DOCKER_HOST", ""), os.environ.get("DOORS_IMAGE", "")
    if not engine.startswith("unix://") or not image:
        print(f"{'docker':18} skipped: DOCKER_HOST (unix://…) and DOORS_IMAGE (an image with a shell) are not set", flush=True)
        return
    server = Server(args.heimdall, folder, f'[doors.docker]\nsocket = "{engine.removeprefix("unix://")}"\ninclude = ["doors-cost"]\n')
    script = f"i=0; while [ $i -lt {args.count} ]; do echo line $i of a container that writes; i=$((i+1)); done; sleep 5"
    try:
        before, began = server.cpu(), time.perf_counter()
        command = ["docker", "run", "-d", "--rm", "--network", "host", "--name", "doors-cost", image, "sh", "-c", script]
        subprocess.run(command, check=True, capture_output=True)
        until("all lines are taken", lambda: server.accepted("docker") >= args.count)
        seconds = time.perf_counter() - began
        time.sleep(SETTLE_SECONDS)
        cost = (server.cpu() - before) / args.count * 1e6
        print(f"{'docker':18} {cost:5.1f} µs/record   {args.count} lines written and taken in {seconds:.1f} s", flush=True)
    finally:
        server.stop()
        subprocess.run(["docker", "rm", "-f", "doors-cost"], capture_output=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heimdall", required=True, type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("clients", nargs="*", default=CLIENTS)
    args = parser.parse_args()
    args.heimdall = args.heimdall.resolve()
    others = {"scrape": scrape, "docker": docker}
    for client in args.clients:
        with tempfile.TemporaryDirectory() as folder:
            if client in others:
                others[client](args, Path(folder))
            else:
                measure(client, args, Path(folder))


if __name__ == "__main__":
    main()
