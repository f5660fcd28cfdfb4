"""Sends numbered records with the client libraries people use, each with its own retries, until all are acknowledged.

    ship.py CLIENT --target HOST:PORT --count N --run ID [--batch N] [--rate RECORDS_PER_SECOND]

Record n of a run has the message `RUN n`. Prints `sent N in S s` at the end, with the times until a batch was acknowledged; exit 1
when something was given up.
What a library gives up after its own retries is sent again as it was, as an application with a queue does.
"""

import argparse
import json
import socket
import sys
import time
import urllib.error
import urllib.request

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


def kafka(args):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": args.target})
    made = admin.create_topics([NewTopic(args.topic, num_partitions=3)])
    for future in made.values():
        if future.exception(30) is not None and "ALREADY_EXISTS" not in str(future.exception()):
            raise GivenUp(future.exception())
    producer = Producer({"bootstrap.servers": args.target, "enable.idempotence": True, "compression.type": "lz4"})
    failed = []

    def told(error, _):
        if error is not None:
            failed.append(error)

    for n in range(args.count):
        value = json.dumps({"timestamp": moment(n), "service": "ship", "message": message(args, n)})
        while True:
            try:
                producer.produce(args.topic, value.encode(), key=str(n % 7).encode(), on_delivery=told)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
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
    for n in range(args.count):
        value = json.dumps({"timestamp": moment(n), "service": "ship", "message": message(args, n)})
        waiting.append(client.publish("ship/logs", value, qos=1))
        if len(waiting) >= 1_000:
            waiting.pop(0).wait_for_publish(PATIENCE_SECONDS)
    for sent in waiting:
        sent.wait_for_publish(PATIENCE_SECONDS)
    client.disconnect()
    client.loop_stop()


CLIENTS = {
    name: value
    for name, value in list(globals().items())
    if callable(value) and name in (
        "ndjson", "loki", "hec", "datadog", "gelf", "elasticsearch", "fluent", "kafka", "mqtt",
        "otlp_logs_grpc", "otlp_logs_http", "otlp_traces_grpc", "otlp_traces_http",
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
    args = parser.parse_args()
    started = time.monotonic()
    try:
        CLIENTS[args.client](args)
    except GivenUp as error:
        sys.exit(f"{args.client}: given up: {error}")
    print(f"sent {args.count} in {time.monotonic() - started:.1f} s")
    if LATENCIES:
        ordered = sorted(LATENCIES)
        p50, p99 = (ordered[int((len(ordered) - 1) * share)] * 1e3 for share in (0.5, 0.99))
        print(f"acknowledged after {p50:.1f} ms (p50), {p99:.1f} ms (p99)")


if __name__ == "__main__":
    main()
