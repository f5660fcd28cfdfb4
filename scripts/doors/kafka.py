#!/usr/bin/env python3
"""The Kafka door and the Schema Registry with a real broker and Confluent's client.

Sends messages (JSON and Avro, by turns of topics) while the server is killed several times and the broker once, and counts
how often each is in the journal. Needs confluent-kafka[avro,json,protobuf,schemaregistry] and Tansu built with `libsql`.

    kafka.py --tansu tansu --doors target/release/examples/doors [--messages 100000] [--kills 4] [--dir DIR]
"""
import argparse, atexit, collections, json, random, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

from confluent_kafka import Producer, TopicPartition, Consumer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

AVRO = json.dumps({"type": "record", "name": "Event", "fields": [
    {"name": "message", "type": "string"}, {"name": "n", "type": "long"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]})


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    def __init__(self, command, cwd, log):
        self.command, self.cwd, self.log, self.child = command, cwd, log, None

    def start(self):
        out = open(self.log, "ab")
        self.child = subprocess.Popen(self.command, cwd=self.cwd, stdout=out, stderr=out)
        atexit.register(self.child.kill)

    def end(self, how):
        self.child.send_signal(how)
        self.child.wait(timeout=60)
        self.child = None


class Run:
    def __init__(self, args):
        self.args, self.dir = args, Path(args.dir or tempfile.mkdtemp(prefix="heimdall-kafka-"))
        self.data, broker_dir = self.dir / "data", self.dir / "broker"
        for folder in (self.data, broker_dir):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.port = free_port()
        address = f"tcp://127.0.0.1:{self.port}"
        self.broker = Process([args.tansu, "broker", "--cluster-id", "hd", "--listener-url", address,
                               "--advertised-listener-url", address, "--storage-engine", "sqlite://tansu.db"],
                              broker_dir, self.dir / "broker.log")
        config = self.dir / "doors.toml"
        config.write_text(f'[kafka]\nbrokers = "127.0.0.1:{self.port}"\ntopics = ["json", "avro"]\nstart = "earliest"\n'
                          'session_timeout = "6s"\n')
        self.server = Process([args.doors, str(self.data), str(config)], self.dir, self.dir / "server.log")
        self.brokers = {"bootstrap.servers": f"127.0.0.1:{self.port}"}

    def start_server(self):
        listeners = self.data / "listeners.json"
        listeners.unlink(missing_ok=True)
        self.server.start()
        until("the server listens", lambda: listeners.exists() and listeners.read_text().endswith("}"))
        self.url = "http://" + json.loads(listeners.read_text())["http"]

    def start_broker(self):
        self.broker.start()
        until("the broker answers", lambda: AdminClient(self.brokers).list_topics(timeout=5))

    def committed(self):
        consumer = Consumer({**self.brokers, "group.id": "heimdall"})
        try:
            places = [TopicPartition(t, p) for t in ("json", "avro") for p in range(self.args.partitions)]
            return sum(max(p.offset, 0) for p in consumer.committed(places, timeout=20))
        except Exception:
            return 0
        finally:
            consumer.close()

    def after_ranges(self, count):
        files = [self.data / "kafka" / f"kafka.intents.{n}" for n in (0, 1)]
        look = lambda: [f.stat().st_mtime_ns for f in files]
        deadline = time.time() + 120
        for _ in range(count):
            before = look()
            while look() == before and time.time() < deadline:
                time.sleep(0.001)

    def counts(self):
        seen = collections.Counter()
        with open(self.data / "records.ndjson", "rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    record = json.loads(line)
                    rest = record.get("attributes", record)
                    rest = json.loads(rest) if isinstance(rest, str) else rest
                    seen[(rest.get("kafka.topic"), rest["n"])] += 1
        return seen


def until(what, is_so, seconds=60):
    deadline, last = time.time() + seconds, None
    while time.time() < deadline:
        try:
            if is_so():
                return
        except Exception as error:
            last = error
        time.sleep(0.1)
    sys.exit(f"not within {seconds} s: {what} {last or ''}")


def registry_answers(url):
    """What Confluent's client sees of the registry."""
    client = SchemaRegistryClient({"url": url + "/registry"})
    a = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]})
    b = json.dumps({"type": "record", "name": "R", "fields": [
        {"name": "a", "type": "int"}, {"name": "b", "type": "string", "default": ""}]})
    c = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "c", "type": "string"}]})
    first = client.register_schema("check", Schema(a, "AVRO"))
    assert client.register_schema("check", Schema(a, "AVRO")) == first
    second = client.register_schema("check", Schema(b, "AVRO"))
    assert second != first and client.get_versions("check") == [1, 2]
    assert client.test_compatibility("check", Schema(c, "AVRO")) is False
    try:
        client.register_schema("check", Schema(c, "AVRO"))
        raise AssertionError("an incompatible schema was taken")
    except SchemaRegistryError as error:
        assert error.http_status_code == 409, error
    assert client.lookup_schema("check", Schema(a, "AVRO")).version == 1
    assert json.loads(client.get_schema(first).schema_str) == json.loads(a)
    assert client.get_latest_version("check").version == 2
    assert client.set_compatibility(subject_name="check", level="NONE")["compatibility"] == "NONE"
    assert client.get_compatibility("check") == "NONE"
    json_id = client.register_schema("check-json", Schema('{"type":"object"}', "JSON"))
    assert client.get_schema(json_id).schema_type == "JSON"
    proto = client.register_schema("check-proto", Schema('syntax = "proto3"; message M { int32 n = 1; }', "PROTOBUF"))
    assert client.get_schema(proto).schema_type == "PROTOBUF"
    assert set(client.get_subjects()) >= {"check", "check-json", "check-proto"}
    assert client.delete_subject("check") == [1, 2]
    try:
        SchemaRegistryClient({"url": url}).get_latest_version("check")  # the other client remembers
        raise AssertionError("a deleted subject was found")
    except SchemaRegistryError as error:
        assert error.error_code == 40401, error


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tansu", default="tansu")
    parser.add_argument("--doors", default="target/release/examples/doors")
    parser.add_argument("--messages", type=int, default=100_000, help="of each topic")
    parser.add_argument("--partitions", type=int, default=3)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--dir")
    args = parser.parse_args()
    run = Run(args)
    run.start_broker()
    admin = AdminClient(run.brokers)
    for future in admin.create_topics([NewTopic(t, args.partitions, 1) for t in ("json", "avro")]).values():
        future.result(timeout=30)
    run.start_server()
    registry_answers(run.url)
    serialize = AvroSerializer(SchemaRegistryClient({"url": run.url}), AVRO)
    producer = Producer({**run.brokers, "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 20,
                         "queue.buffering.max.messages": 50_000})
    failed, total, began = [], 2 * args.messages, time.time()
    note = lambda error, _: failed.append(error) if error else None
    kill_at = {args.messages * (k + 1) // (args.kills + 1): k for k in range(args.kills)}

    def send(topic, value):
        while True:
            try:
                return producer.produce(topic, value, on_delivery=note)
            except BufferError:
                producer.poll(0.1)

    for n in range(args.messages):
        send("json", json.dumps({"message": f"event {n}", "source": "sender", "n": n}))
        send("avro", serialize({"message": f"event {n}", "n": n, "at": int(time.time() * 1000)},
                               SerializationContext("avro", MessageField.VALUE)))
        producer.poll(0)
        if n in kill_at:
            run.server.end(signal.SIGKILL)
            if kill_at[n] == args.kills // 2:
                run.broker.end(signal.SIGKILL)
                run.start_broker()
            run.start_server()
            print(f"killed at {n}, {time.time() - began:.0f} s", flush=True)
    producer.flush(300)
    sent_s = time.time() - began
    for k in range(args.kills):  # and while it reads what is left, just after a range was declared
        run.after_ranges(random.randint(1, 6))
        time.sleep(random.random() * 0.02)
        run.server.end(signal.SIGKILL)
        run.start_server()
        print(f"killed while reading, {time.time() - began:.0f} s", flush=True)
    last = -1
    def all_there():
        nonlocal last
        now = run.committed()
        if now != last:
            last = now
            print(f"committed {now} of {total}, {time.time() - began:.0f} s", flush=True)
        return now >= total
    until("everything is committed", all_there, 600)
    took = time.time() - began
    time.sleep(1)
    seen = run.counts()
    lost = [(t, n) for t in ("json", "avro") for n in range(args.messages) if seen[(t, n)] == 0]
    doubled = {key: count for key, count in seen.items() if count > 1}
    run.server.end(signal.SIGINT)
    run.broker.end(signal.SIGKILL)
    print(f"sent {total} in {sent_s:.1f} s ({len(failed)} failed), read by {took:.1f} s; "
          f"kills {2 * args.kills} of the server, 1 of the broker; "
          f"{(run.dir / 'server.log').read_bytes().count(b'a range is read again')} ranges were in doubt; "
          f"lost {len(lost)}, doubled {len(doubled)}")
    if lost or doubled or failed:
        print("lost", lost[:10], "doubled", list(doubled.items())[:10], "failed", failed[:3])
        sys.exit(1)


if __name__ == "__main__":
    main()
