"""Sends numbered records with the client libraries people use, each with its own retries, until all are acknowledged.

    ship.py CLIENT --target HOST:PORT --count N --run ID [--batch N] [--rate RECORDS_PER_SECOND] [--counted HOST:PORT/DOOR]

Record n of a run has the message `RUN n`; sample n of the metric RUN has the value n. Prints `sent N in S s` at the end, with the
times until a batch was acknowledged; exit 1 when something was given up.
What a library gives up after its own retries is sent again as it was, as an application with a queue does.
Where the protocol has no acknowledgement, --counted names the server's HTTP address and the door, and the time of a batch is that
until the server's own counter of accepted (durable) records of that door has it.
"""

import argparse
import json
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from datetime import datetime, timezone

PATIENCE_SECONDS = 120


class GivenUp(Exception):
    pass


def batches(args):
    """Ranges of record numbers; with a rate, each when it is due."""
    began = time.monotonic()
    for start in range(0, args.count, args.batch):
        if args.rate:
            time.sleep(max(0.0, began + start / args.rate - time.monotonic()))
        yield range(start, min(start + args.batch, args.count))


def message(args, n):
    return f"{args.run} {n}"


def moment(n):
    """A time of its own for every record: ns since the epoch, a little in the past."""
    return BEGIN - 3_600_000_000_000 + n * 1_000


BEGIN = time.time_ns()


LATENCIES = []


def until_taken(send):
    """Calls `send` until it returns true."""
    began = time.perf_counter()
    try_until_taken(send)
    LATENCIES.append(time.perf_counter() - began)


def try_until_taken(send):
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = 0.05
    while True:
        try:
            if send():
                return
        except (OSError, urllib.error.URLError) as error:
            last = error
        else:
            last = "not taken"
        if time.monotonic() > deadline:
            raise GivenUp(last)
        time.sleep(pause)
        pause = min(pause * 2, 1.0)


class Counted:
    """Watches the server's counter of accepted records of a door: when each batch sent has arrived in it."""

    POLL_SECONDS = 0.005

    def __init__(self, where):
        self.address, door = where.split("/")
        self.wanted = f'ingest_records_total{{door="{door}",outcome="accepted"}} '
        self.begun, self.sent, self.due = self.now(), 0, []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def now(self):
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(self.wanted):
                    return int(line.rsplit(" ", 1)[1])
        return 0

    def batch(self, records):
        """So many more have just been given to the socket."""
        self.sent += records
        self.due.append((self.sent, time.perf_counter()))

    def watch(self):
        deadline = None
        while self.due or not self.ended.is_set():
            arrived = self.now() - self.begun
            while self.due and self.due[0][0] <= arrived:
                LATENCIES.append(time.perf_counter() - self.due.pop(0)[1])
            if self.ended.is_set():
                deadline = deadline or time.monotonic() + PATIENCE_SECONDS
                if time.monotonic() > deadline:
                    return
            time.sleep(self.POLL_SECONDS)

    def finish(self):
        self.ended.set()
        self.thread.join()
        if self.due:
            raise GivenUp(f"{self.sent - (self.now() - self.begun)} records were never counted")


def told(args, batch):
    """A batch of a protocol without acknowledgements has been sent."""
    if args.counter:
        args.counter.batch(len(batch))


def read(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            raise ConnectionResetError("closed")
        data += piece
    return data


def connect(args):
    host, port = args.target.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def bytes_field(number, data):
    """A field of a Protocol Buffers message: text, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def post(args, path, body, headers, accepted=(200, 202, 204)):
    def send():
        request = urllib.request.Request(f"http://{args.target}{path}", data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status in accepted
        except urllib.error.HTTPError as error:
            if error.code in (429, 503):
                return False
            raise GivenUp(f"{error.code}: {error.read()[:400]}") from error

    until_taken(send)


# ---- one function for each client ------------------------------------------------------------------------------


def ndjson(args):
    for number, batch in enumerate(batches(args)):
        lines = (json.dumps({"timestamp": moment(n), "service": "ship", "message": message(args, n)}) for n in batch)
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": f"{args.run}-{number}"}
        post(args, "/api/v1/ingest/logs", "\n".join(lines).encode(), headers)


def loki(args):
    for batch in batches(args):
        values = [[str(moment(n)), message(args, n)] for n in batch]
        body = {"streams": [{"stream": {"service_name": "ship"}, "values": values}]}
        post(args, "/loki/api/v1/push", json.dumps(body).encode(), {"Content-Type": "application/json"})


def hec(args):
    """With indexer acknowledgement: a batch whose ack id is not confirmed is sent again."""
    channel = "00872DC6-AC83-4EDE-8AFE-8413C3825C4C"
    headers = {"X-Splunk-Request-Channel": channel, "Content-Type": "application/json"}
    for batch in batches(args):
        events = (
            json.dumps({"time": moment(n) / 1e9, "source": "ship", "event": {"service": "ship", "message": message(args, n)}})
            for n in batch
        )
        body = "".join(events).encode()

        def send(body=body):
            request = urllib.request.Request(f"http://{args.target}/services/collector/event", data=body, headers=headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                ack = json.load(answer)["ackId"]
            asked = json.dumps({"acks": [ack]}).encode()
            request = urllib.request.Request(f"http://{args.target}/services/collector/ack", data=asked, headers=headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["acks"][str(ack)]

        until_taken(send)


def datadog(args):
    for batch in batches(args):
        entries = [{"message": message(args, n), "service": "ship", "timestamp": moment(n) // 1_000_000} for n in batch]
        post(args, "/api/v2/logs", json.dumps(entries).encode(), {"Content-Type": "application/json"})


def gelf(args):
    for n in range(args.count):
        entry = {"version": "1.1", "host": "ship", "short_message": message(args, n), "timestamp": moment(n) / 1e9}
        post(args, "/gelf", json.dumps(entry).encode(), {"Content-Type": "application/json"})


def gelf_tcp(args):
    stream = connect(args)
    for batch in batches(args):
        entries = (
            json.dumps({"version": "1.1", "host": "ship", "short_message": message(args, n), "timestamp": moment(n) / 1e9})
            for n in batch
        )
        stream.sendall("".join(entry + "\0" for entry in entries).encode())
        told(args, batch)
    stream.close()


def syslog_line(args, n):
    when = datetime.fromtimestamp(moment(n) / 1e9, timezone.utc).isoformat()
    return f"<14>1 {when} web-1 ship - - - {message(args, n)}".encode()


def counted_lines(args, stream):
    for batch in batches(args):
        lines = (syslog_line(args, n) for n in batch)
        stream.sendall(b"".join(b"%d %s" % (len(line), line) for line in lines))
        told(args, batch)
    stream.close()


def syslog_tcp(args):
    counted_lines(args, connect(args))


def syslog_tls(args):
    """The certificate is the test's own and not looked at."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    counted_lines(args, context.wrap_socket(connect(args)))


def syslog_udp(args):
    host, port = args.target.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((host, int(port)))
        for batch in batches(args):
            for n in batch:
                sender.send(syslog_line(args, n))
            told(args, batch)


def statsd(args):
    """Counters of 500 series, 20 to a datagram. What is durable is each interval's sum, so no batch is told."""
    host, port = args.target.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((host, int(port)))
        for batch in batches(args):
            for start in range(batch.start, batch.stop, 20):
                lines = (f"{args.run}:1|c|#series:{n % 500},service:ship" for n in range(start, min(start + 20, batch.stop)))
                sender.send("\n".join(lines).encode())


def relp(args):
    """The window is a batch: what of it is not answered when the connection breaks is sent again."""
    state = {"stream": None}

    def command(number, name, data):
        return b"%d %s %d" % (number, name, len(data)) + (b" " + data if data else b"") + b"\n"

    def answers(stream, count):
        unread = b""
        while count:
            piece = stream.recv(65536)
            if not piece:
                raise ConnectionResetError("closed")
            unread += piece
            while (end := unread.find(b"\n")) >= 0:
                head = unread.split(b" ", 3)
                if len(head) < 4 or not head[2].isdigit():
                    raise GivenUp(unread[:200])
                end = len(b" ".join(head[:3])) + 1 + int(head[2])
                if len(unread) <= end:
                    break
                if not head[3].startswith(b"200"):
                    raise GivenUp(unread[:200])
                unread, count = unread[end + 1 :], count - 1

    def opened():
        if state["stream"] is None:
            stream = connect(args)
            stream.sendall(command(1, b"open", b"relp_version=0\nrelp_software=ship\ncommands=syslog"))
            answers(stream, 1)
            state.update(stream=stream, number=1)
        return state["stream"]

    for batch in batches(args):
        lines = [syslog_line(args, n) for n in batch]

        def send(lines=lines):
            try:
                stream = opened()
                numbers = range(state["number"] + 1, state["number"] + 1 + len(lines))
                stream.sendall(b"".join(command(number, b"syslog", line) for number, line in zip(numbers, lines)))
                answers(stream, len(lines))
                state["number"] += len(lines)
                return True
            except OSError:
                state["stream"] = None
                raise

        until_taken(send)


def lumberjack(args):
    """Windows of a batch, packed, as Filebeat sends them."""
    state = {"stream": None}
    for batch in batches(args):
        events = []
        for n in batch:
            when = datetime.fromtimestamp(moment(n) / 1e9, timezone.utc).isoformat()
            event = {"@timestamp": when, "service": {"name": "ship"}, "host": {"name": "web-1"}, "message": message(args, n)}
            events.append(json.dumps(event).encode())
        frames = b"".join(b"2J" + struct.pack(">II", n + 1, len(event)) + event for n, event in enumerate(events))
        packed = zlib.compress(frames)
        body = b"2W" + struct.pack(">I", len(events)) + b"2C" + struct.pack(">I", len(packed)) + packed

        def send(body=body, events=events):
            try:
                state["stream"] = state["stream"] or connect(args)
                state["stream"].sendall(body)
                while True:
                    kind, number = struct.unpack(">2sI", read(state["stream"], 6))
                    if kind != b"2A":
                        raise GivenUp(kind)
                    if number == len(events):
                        return True
            except OSError:
                state["stream"] = None
                raise

        until_taken(send)


def journald(args):
    """Entries in the journal's export format, an upload for each batch; the daemon itself sends one upload that goes on."""
    for batch in batches(args):
        entries = []
        for n in batch:
            time_us = moment(n) // 1_000
            cursor = f"s={args.run};i={n:x};b=0c6e1a;m={n:x};t={time_us:x};x={n:x}"
            entries.append(
                f"__CURSOR={cursor}\n__REALTIME_TIMESTAMP={time_us}\n__MONOTONIC_TIMESTAMP={n}\n_BOOT_ID=0c6e1a\nPRIORITY=6\n"
                f"_HOSTNAME=web-1\nSYSLOG_IDENTIFIER=ship\n_PID=4711\nMESSAGE={message(args, n)}\n\n"
            )
        post(args, "/upload", "".join(entries).encode(), {"Content-Type": "application/vnd.fdo.journal"})


def influx(args):
    """One number a line, as Telegraf writes the most of what it has."""
    for batch in batches(args):
        lines = (f"{args.run},host=web-1,series=s{n % 500} value={n} {moment(n)}" for n in batch)
        post(args, "/api/v2/write?bucket=ship&precision=ns", "\n".join(lines).encode(), {"Content-Type": "text/plain"})


def remote_write(args):
    """Version 1: 500 series a request, a sample of each, as a block of snappy that holds only literals."""
    headers = {
        "Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"
    }

    def series(n):
        names = {"__name__": args.run, "instance": "web-1:9100", "job": "ship", "series": f"s{n % 500}"}
        pairs = (bytes_field(1, name.encode()) + bytes_field(2, value.encode()) for name, value in names.items())
        labels = b"".join(bytes_field(1, pair) for pair in pairs)
        sample = struct.pack("<Bd", 1 << 3 | 1, n) + varint(2 << 3) + varint(moment(n) // 1_000_000 + n // 500)
        return bytes_field(1, labels + bytes_field(2, sample))

    def snappy(data):
        pieces = (data[start : start + 65536] for start in range(0, len(data), 65536))
        literals = (b"\xf4" + struct.pack("<H", len(piece) - 1) + piece for piece in pieces)
        return varint(len(data)) + b"".join(literals)

    for batch in batches(args):
        post(args, "/api/v1/write", snappy(b"".join(series(n) for n in batch)), headers)


def heimdall_grpc(args):
    """PushRecords, unary; messages as bytes, so that no compiler of .proto files is needed."""
    import grpc

    channel = grpc.insecure_channel(args.target)
    push = channel.unary_unary("/heimdall.v1.Ingest/PushRecords")
    for number, batch in enumerate(batches(args)):
        records = (
            struct.pack("<Bq", 1 << 3 | 1, moment(n))
            + bytes_field(2, b"info") + bytes_field(3, message(args, n).encode()) + bytes_field(4, b"ship")
            for n in batch
        )
        body = bytes_field(1, f"{args.run}-{number}".encode()) + b"".join(bytes_field(2, record) for record in records)

        def send(body=body):
            try:
                push(body, timeout=20)
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED):
                    return False
                raise GivenUp(error) from error
            return True

        until_taken(send)
    channel.close()


def elasticsearch(args):
    from elasticsearch import Elasticsearch, helpers

    client = Elasticsearch(f"http://{args.target}", retry_on_timeout=True, max_retries=10, request_timeout=30)

    def action(n):
        source = {"@timestamp": moment(n) // 1_000_000, "service": {"name": "ship"}, "message": message(args, n)}
        return {"_op_type": "create", "_index": "logs-ship-default", "_id": f"{args.run}-{n}", "_source": source}

    for batch in batches(args):
        actions = [action(n) for n in batch]

        def send(actions=actions):
            try:
                taken, failed = helpers.bulk(client, actions, chunk_size=len(actions), raise_on_error=False)
            except Exception as error:  # the library's own classes for a connection that is not there
                if "Connection" not in type(error).__name__ and "ApiError" not in type(error).__name__:
                    raise
                return False
            if failed:
                raise GivenUp(failed[:3])
            return taken == len(actions)

        until_taken(send)


def fluent(args):
    """Forward mode with chunk ids: a chunk whose ack does not come is sent again, as Fluentd and Fluent Bit do."""
    import msgpack

    host, port = args.target.rsplit(":", 1)
    state = {"socket": None}

    def connected():
        if state["socket"] is None:
            state["socket"] = socket.create_connection((host, int(port)), timeout=20)
            state["unpacker"] = msgpack.Unpacker()
        return state["socket"]

    for number, batch in enumerate(batches(args)):
        seconds = [(moment(n) // 10**9, moment(n) % 10**9) for n in batch]
        times = [msgpack.ExtType(0, s.to_bytes(4, "big") + ns.to_bytes(4, "big")) for s, ns in seconds]
        entries = [[time, {"service": "ship", "message": message(args, n)}] for time, n in zip(times, batch)]
        chunk = f"{args.run}-{number}"
        frame = msgpack.packb(["ship", entries, {"chunk": chunk, "size": len(entries)}])

        def send(frame=frame, chunk=chunk):
            try:
                connected().sendall(frame)
                while True:
                    piece = state["socket"].recv(4096)
                    if not piece:
                        raise ConnectionResetError("closed")
                    state["unpacker"].feed(piece)
                    for answer in state["unpacker"]:
                        return answer["ack"] == chunk
            except OSError:
                if state["socket"] is not None:
                    state["socket"].close()
                state["socket"] = None
                raise

        until_taken(send)


def otlp(args, exporter, encode):
    for batch in batches(args):
        records = [encode(n) for n in batch]

        def send(records=records):
            return exporter.export(records).name == "SUCCESS"

        until_taken(send)
    exporter.shutdown()


def otlp_logs(args, exporter):
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    resource, scope = Resource({"service.name": "ship"}), InstrumentationScope("ship", "1")

    def encode(n):
        record = LogRecord(
            timestamp=moment(n),
            observed_timestamp=moment(n),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body=message(args, n),
        )
        return ReadableLogRecord(record, resource, instrumentation_scope=scope)

    otlp(args, exporter, encode)


def otlp_logs_grpc(args):
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    otlp_logs(args, OTLPLogExporter(endpoint=f"http://{args.target}", insecure=True, timeout=10))


def otlp_logs_http(args):
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    otlp_logs(args, OTLPLogExporter(endpoint=f"http://{args.target}/v1/logs", timeout=10))


def otlp_traces(args, exporter):
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

    resource, scope = Resource({"service.name": "ship"}), InstrumentationScope("ship", "1")

    def encode(n):
        context = SpanContext(BEGIN + n, n + 1, is_remote=False, trace_flags=TraceFlags(1))
        return ReadableSpan(
            name=message(args, n),
            context=context,
            kind=SpanKind.SERVER,
            resource=resource,
            instrumentation_scope=scope,
            start_time=moment(n),
            end_time=moment(n) + 1_000_000,
        )

    otlp(args, exporter, encode)


def otlp_traces_grpc(args):
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    otlp_traces(args, OTLPSpanExporter(endpoint=f"http://{args.target}", insecure=True, timeout=10))


def otlp_traces_http(args):
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    otlp_traces(args, OTLPSpanExporter(endpoint=f"http://{args.target}/v1/traces", timeout=10))


def otlp_metrics_grpc(args):
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import Gauge, Metric, MetricsData, NumberDataPoint, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    resource, scope = Resource({"service.name": "ship"}), InstrumentationScope("ship", "1")
    exporter = OTLPMetricExporter(endpoint=f"http://{args.target}", insecure=True, timeout=10)
    for batch in batches(args):
        points = [NumberDataPoint({"series": f"s{n % 500}"}, moment(n), moment(n), n) for n in batch]
        metric = Metric(args.run, "", "1", Gauge(points))
        data = MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, [metric], "")], "")])

        def send(data=data):
            return exporter.export(data).name == "SUCCESS"

        until_taken(send)
    exporter.shutdown()


def kafka(args):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    brokers = {"bootstrap.servers": args.target, **dict(setting.split("=", 1) for setting in args.setting)}
    admin = AdminClient(brokers)
    made = admin.create_topics([NewTopic(args.topic, num_partitions=3)])
    for future in made.values():
        if future.exception(30) is not None and "ALREADY_EXISTS" not in str(future.exception()):
            raise GivenUp(future.exception())
    producer = Producer({**brokers, "enable.idempotence": True, "compression.type": "lz4"})
    failed = []

    def delivered(error, _):
        if error is not None:
            failed.append(error)

    for batch in batches(args):
        for n in batch:
            value = json.dumps({"timestamp": moment(n), "service": "ship", "message": message(args, n)})
            while True:
                try:
                    producer.produce(args.topic, value.encode(), key=str(n % 7).encode(), on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
        told(args, batch)
    if producer.flush(PATIENCE_SECONDS) or failed:
        raise GivenUp(failed[:3])


def mqtt(args):
    import paho.mqtt.client as paho

    host, port = args.target.rsplit(":", 1)
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"ship-{args.run}", clean_session=False)
    client.max_inflight_messages_set(200)
    client.max_queued_messages_set(0)
    client.connect(host, int(port))
    client.loop_start()
    waiting = []
    for batch in batches(args):
        for n in batch:
            value = json.dumps({"timestamp": moment(n), "service": "ship", "message": message(args, n)})
            waiting.append(client.publish("ship/logs", value, qos=1))
            if len(waiting) >= 1_000:
                waiting.pop(0).wait_for_publish(PATIENCE_SECONDS)
        told(args, batch)
    for sent in waiting:
        sent.wait_for_publish(PATIENCE_SECONDS)
    client.disconnect()
    client.loop_stop()


CLIENTS = {
    name: value
    for name, value in list(globals().items())
    if callable(value) and name in (
        "ndjson", "loki", "hec", "datadog", "gelf", "elasticsearch", "fluent", "kafka", "mqtt",
        "otlp_logs_grpc", "otlp_logs_http", "otlp_metrics_grpc", "otlp_traces_grpc", "otlp_traces_http",
        "gelf_tcp", "heimdall_grpc", "influx", "journald", "lumberjack", "relp", "remote_write", "statsd", "syslog_tcp", "syslog_tls",
        "syslog_udp",
    )
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=sorted(CLIENTS))
    parser.add_argument("--target", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--topic", default="ship")
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--counted")
    parser.add_argument("--setting", action="append", default=[], help="NAME=VALUE for Kafka's client")
    args = parser.parse_args()
    args.counter = Counted(args.counted) if args.counted else None
    started = time.monotonic()
    try:
        CLIENTS[args.client](args)
        sent_after = time.monotonic() - started
        if args.counter:
            args.counter.finish()
    except GivenUp as error:
        sys.exit(f"{args.client}: given up: {error}")
    print(f"sent {args.count} in {sent_after:.1f} s")
    if LATENCIES:
        ordered = sorted(LATENCIES)
        p50, p99 = (ordered[int((len(ordered) - 1) * share)] * 1e3 for share in (0.5, 0.99))
        how = "counted" if args.counter else "acknowledged"
        print(f"{how} after {p50:.1f} ms (p50), {p99:.1f} ms (p99)")


if __name__ == "__main__":
    main()
