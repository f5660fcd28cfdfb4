#!/usr/bin/env python3
"""The Kafka door and a cluster of three that loses its brokers: librdkafka's mock cluster, with transactions.

The mock (librdkafka 2.16.1, called through ctypes in the library that confluent-kafka brings) keeps logs, groups, offsets and
transactions, and writes a control record at the end of each transaction. It differs from Kafka in five ways, and `Front`, a stand-in
between the door and the mock, makes good for them:
- it refuses ApiVersions 3 and later in a form that is not Kafka's (one byte for the count of the array, and a throttle time):
  Kafka's is version 0's;
- its last stable offset is always the end of the log, so that messages of open transactions are handed out;
- it never lists aborted transactions, so that no client can leave their messages out;
- its control records have no checksum (0);
- where JoinGroup and SyncGroup fail, texts and bytes are null that Kafka never has null, and LeaveGroup 3 lacks its list of members.
The mock also takes an idempotent sender's repeated batch twice. So the log is what the door is measured against, not the sender:
each offset of a committed transaction has to be there once, and no other.

    kafka_brokers.py [--messages 50000] [--losses 9] [--kills 3]
"""
import argparse, asyncio, collections, ctypes, glob, json, os, socket, struct, sys, threading, time

from common import Server, free_port, need

need(modules=["confluent_kafka"])

import confluent_kafka
from confluent_kafka import Producer

TOPIC, GROUP, BROKERS = "events", "heimdall", 3
API_VERSIONS, FETCH, JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP = 18, 1, 11, 12, 13, 14
# Latest versions that the mock is told to offer: of Fetch what `parts` reads; of the group's requests those before the compact forms,
# which it offers, and reads as if they were the older ones.
VERSIONS = {FETCH: 11, JOIN_GROUP: 5, HEARTBEAT: 3, LEAVE_GROUP: 3, SYNC_GROUP: 3}


class Mock:
    """librdkafka's mock cluster in this process."""

    def __init__(self):
        beside = os.path.join(os.path.dirname(confluent_kafka.__file__), "..", "confluent_kafka.libs", "librdkafka*")
        found = glob.glob(beside)
        if not found:
            print("skipped: confluent-kafka without a librdkafka of its own")
            sys.exit(0)
        self.library = ctypes.CDLL(found[0])
        kinds = {"p": ctypes.c_void_p, "s": ctypes.c_char_p, "i": ctypes.c_int, "z": ctypes.c_size_t, "h": ctypes.c_int16}

        def function(name, result, arguments):
            call = getattr(self.library, f"rd_kafka_{name}")
            call.restype, call.argtypes = kinds[result], [kinds[a] for a in arguments]
            return call

        error = ctypes.create_string_buffer(512)
        conf = function("conf_new", "p", "")()
        function("conf_set", "i", "pssp" + "z")(conf, b"log_level", b"0", error, 512)
        self.client = function("new", "p", "ippz")(0, conf, ctypes.addressof(error), 512)
        self.cluster = function("mock_cluster_new", "p", "pi")(self.client, BROKERS)
        limit = function("mock_set_apiversion", "i", "phhh")
        for key, most in VERSIONS.items():
            self.check(limit(self.cluster, key, 0, most))
        self.addresses = function("mock_cluster_bootstraps", "s", "p")(self.cluster).decode().split(",")
        self._down, self._up = function("mock_broker_set_down", "i", "pi"), function("mock_broker_set_up", "i", "pi")
        self._leader = function("mock_partition_set_leader", "i", "psii")
        self._coordinator = function("mock_coordinator_set", "i", "pssi")
        self._topic = function("mock_topic_create", "i", "psii")
        self.leaders = {}

    def check(self, error):
        assert error == 0, f"librdkafka's error {error}"

    def topic(self, partitions):
        self.check(self._topic(self.cluster, TOPIC.encode(), partitions, BROKERS))
        for partition in range(partitions):
            self.lead(partition, partition % BROKERS + 1)

    def lead(self, partition, broker):
        self.check(self._leader(self.cluster, TOPIC.encode(), partition, broker))
        self.leaders[partition] = broker

    def coordinate(self, broker):
        self.check(self._coordinator(self.cluster, b"group", GROUP.encode(), broker))

    def down(self, broker):
        self.check(self._down(self.cluster, broker))

    def up(self, broker):
        self.check(self._up(self.cluster, broker))


class Batch:
    """Head of a batch of records."""

    def __init__(self, data, at=0):
        (self.base, length, _, _, _, self.attributes, last, _, _, self.producer, _, _, _) = struct.unpack_from(">qiibIhiqqqhii", data, at)
        self.end, self.size = self.base + last + 1, 12 + length
        self.is_control, self.is_transactional = bool(self.attributes & 32), bool(self.attributes & 16)
        # One control record: length, attributes, time, offset and length of key (a byte each, as they are small), then version and kind.
        self.is_abort = self.is_control and data[at + 61 + 5 + 2:at + 61 + 5 + 4] == b"\0\0"


class Log:
    """What is in each partition, read beside the door: which transactions are over, which were aborted."""

    def __init__(self, mock, partitions):
        self.mock, self.partitions = mock, partitions
        self.next, self.stable = [0] * partitions, [0] * partitions
        self.open, self.aborted = [None] * partitions, [[] for _ in range(partitions)]
        self.batches = [[] for _ in range(partitions)]
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        while True:
            moved = False
            for partition in range(self.partitions):
                try:
                    data = self.fetch(partition)
                    moved |= bool(data) and self.take(partition, Batch(data))
                except (OSError, struct.error):
                    pass
            if not moved:
                time.sleep(0.02)

    def fetch(self, partition):
        host, port = self.mock.addresses[self.mock.leaders[partition] - 1].rsplit(":", 1)
        body = struct.pack(">iiiibii", -1, 0, 0, 1 << 24, 0, 0, -1) + struct.pack(">ih", 1, len(TOPIC)) + TOPIC.encode()
        body += struct.pack(">iiiqqi", 1, partition, -1, self.next[partition], -1, 1 << 24) + struct.pack(">ih", 0, 0)
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            request = struct.pack(">hhih", FETCH, 11, 1, -1) + body
            connection.sendall(struct.pack(">i", len(request)) + request)
            stream = connection.makefile("rb")
            answer = stream.read(struct.unpack(">i", stream.read(4))[0])
        (_, _, _, data), = list(parts(answer))
        return data

    def take(self, partition, batch):
        self.batches[partition].append(batch)
        self.next[partition] = batch.end
        if not batch.is_control:
            self.open[partition] = self.open[partition] or (batch.producer, batch.base)
        else:
            if batch.is_abort and self.open[partition]:
                self.aborted[partition].append((*self.open[partition], batch.end))
            self.open[partition], self.stable[partition] = None, batch.end
        return True

    def aborted_in(self, partition, start, end):
        return [(producer, first) for producer, first, marker in self.aborted[partition] if first < end and marker > start]

    def committed(self):
        """Offsets of messages of committed transactions, and how many there are of others."""
        good, bad = set(), 0
        for partition in range(self.partitions):
            for batch in self.batches[partition]:
                if batch.is_control:
                    continue
                if self.aborted_in(partition, batch.base, batch.end):
                    bad += batch.end - batch.base
                else:
                    good.update((partition, offset) for offset in range(batch.base, batch.end))
        return good, bad


def parts(answer):
    """Partitions of an answer to Fetch 11: where its last stable offset and its list of aborted transactions are, its index, its records."""
    at = 4 + 4 + 2 + 4
    topics, at = struct.unpack_from(">i", answer, at)[0], at + 4
    for _ in range(topics):
        at += 2 + struct.unpack_from(">h", answer, at)[0]
        count, at = struct.unpack_from(">i", answer, at)[0], at + 4
        for _ in range(count):
            partition, start = struct.unpack_from(">i", answer, at)[0], at + 4 + 2 + 8
            at = start + 8 + 8
            aborted, at = struct.unpack_from(">i", answer, at)[0], at + 4
            assert aborted <= 0, "the mock lists aborted transactions: Front is not needed for that"
            at += 4
            size, at = max(struct.unpack_from(">i", answer, at)[0], 0), at + 4
            yield start, at, partition, answer[at:at + size]
            at += size


class Front:
    """Stand-in: see the module. One port for each broker; the addresses that answers name are its own."""

    def __init__(self, mock, log):
        self.log, self.ports = log, [free_port() for _ in mock.addresses]
        ends = [(b"127.0.0.1", struct.pack(">i", int(address.rsplit(":", 1)[1]))) for address in mock.addresses]
        self.renamed = [(host + port, host + struct.pack(">i", own)) for (host, port), own in zip(ends, self.ports)]
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        for address, port in zip(mock.addresses, self.ports):
            serve = asyncio.start_server(lambda r, w, to=int(address.rsplit(":", 1)[1]): self.handle(r, w, to), "127.0.0.1", port)
            asyncio.run_coroutine_threadsafe(serve, self.loop).result(10)

    async def handle(self, reader, writer, to):
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            return writer.close()
        asked = {}
        await asyncio.gather(self.requests(reader, inner_writer, asked), self.answers(inner_reader, writer, asked))

    async def requests(self, reader, writer, asked):
        try:
            while True:
                request = await frame(reader)
                key, version, correlation = struct.unpack_from(">hhi", request)
                asked[correlation] = key
                writer.write(struct.pack(">i", len(request)) + request)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def answers(self, reader, writer, asked):
        try:
            while True:
                answer = await frame(reader)
                key = asked.pop(struct.unpack_from(">i", answer)[0])
                if key == API_VERSIONS:
                    answer = versions(answer)
                elif key == FETCH:
                    answer = self.fetched(answer)
                elif key in (JOIN_GROUP, SYNC_GROUP, LEAVE_GROUP):
                    answer = grouped(key, answer)
                for theirs, ours in self.renamed:
                    answer = answer.replace(theirs, ours)
                writer.write(struct.pack(">i", len(answer)) + answer)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    def fetched(self, answer):
        out, done = b"", 0
        for stable_at, at, partition, data in parts(answer):
            stable, aborted = self.log.stable[partition], []
            batch = Batch(data) if data else None
            if batch and batch.base >= stable:
                data = b""
            elif batch:
                data = checked(data) if batch.is_control else data
                aborted = self.log.aborted_in(partition, batch.base, batch.end)
            out += answer[done:stable_at] + struct.pack(">q", stable) + answer[stable_at + 8:stable_at + 16]
            out += struct.pack(">i", len(aborted)) + b"".join(struct.pack(">qq", *one) for one in aborted)
            out += struct.pack(">ii", -1, len(data)) + data
            done = at + max(struct.unpack_from(">i", answer, at - 4)[0], 0)
        return out + answer[done:]


def versions(answer):
    """ApiVersions: a refusal in Kafka's form."""
    is_refused = struct.unpack_from(">h", answer, 4)[0] == 35
    return answer[:6] + struct.pack(">ihhh", 1, API_VERSIONS, 0, 2) if is_refused else answer


def grouped(key, answer):
    """JoinGroup 5, SyncGroup 3 and LeaveGroup 3: nothing null when they failed, nothing missing."""
    if key == LEAVE_GROUP:
        return answer if len(answer) > 10 else answer + struct.pack(">i", 0)
    if struct.unpack_from(">h", answer, 8)[0] == 0:
        return answer
    if key == SYNC_GROUP:
        return answer[:10] + struct.pack(">i", 0)
    at, texts = 14, []
    for _ in range(3):  # protocol, leader, member
        length = struct.unpack_from(">h", answer, at)[0]
        texts.append(answer[at + 2:at + 2 + max(length, 0)])
        at += 2 + max(length, 0)
    return answer[:14] + b"".join(struct.pack(">h", len(text)) + text for text in texts) + struct.pack(">i", 0)


def checked(batch):
    """A batch with the checksum it should have (CRC-32C)."""
    crc = 0xFFFFFFFF
    for byte in batch[21:]:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return batch[:17] + struct.pack(">I", crc ^ 0xFFFFFFFF) + batch[21:]


async def frame(reader):
    return await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])


def lose(mock, losses, partitions, ended):
    """Brokers go away and come back, in turn: first with their partitions, then leaving them to others; the group's coordinator among them."""
    for loss in range(losses):
        broker = loss % BROKERS + 1
        mock.down(broker)
        if loss % 2:
            for partition in range(partitions):
                if mock.leaders[partition] == broker:
                    mock.lead(partition, broker % BROKERS + 1)
            mock.coordinate(broker % BROKERS + 1)
        time.sleep(2)
        mock.up(broker)
        time.sleep(1)
    ended.set()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--losses", type=int, default=9)
    parser.add_argument("--kills", type=int, default=3, help="of the server")
    parser.add_argument("--partitions", type=int, default=6)
    args = parser.parse_args()
    mock = Mock()
    mock.topic(args.partitions)
    log = Log(mock, args.partitions)
    front = Front(mock, log)
    brokers = ",".join(f"127.0.0.1:{port}" for port in front.ports)
    server = Server(f'[kafka]\nbrokers = "{brokers}"\ntopics = "{TOPIC}"\ngroup_id = "{GROUP}"\nstart = "earliest"\nsession_timeout = "6s"\n').start()
    producer = Producer({"bootstrap.servers": ",".join(mock.addresses), "transactional.id": "sender", "linger.ms": 5, "log_level": 0,
                         "transaction.timeout.ms": 60_000, "batch.num.messages": 200})
    producer.init_transactions(60)
    losing, began = threading.Event(), time.time()
    threading.Thread(target=lose, args=(mock, args.losses, args.partitions, losing), daemon=True).start()
    per_transaction, sent, wanted, aborted_sent, failed = 250, 0, set(), 0, []
    while sent < args.messages or not losing.is_set():
        producer.begin_transaction()
        for n in range(sent, sent + per_transaction):
            producer.produce(TOPIC, json.dumps({"message": "m", "n": n}), partition=n % args.partitions,
                             on_delivery=lambda error, _: failed.append(error) if error else None)
        producer.flush(60)
        is_aborted = sent // per_transaction % 5 == 3
        (producer.abort_transaction if is_aborted else producer.commit_transaction)(60)
        if is_aborted:
            aborted_sent += per_transaction
        else:
            wanted.update(range(sent, sent + per_transaction))
        sent += per_transaction
        if server.kills < args.kills and sent * (args.kills + 1) >= args.messages * (server.kills + 1):
            server.kill()
        time.sleep(max(0.0, began + 3.0 * args.losses * min(sent / args.messages, 1.0) - time.time()))
    sent_s = time.time() - began
    settle(log)
    good, bad = log.committed()
    server.settle(len(good), 120)
    took = time.time() - began
    found = collections.Counter()
    numbers = set()
    for record in server.records():
        rest = record.get("attributes", record)
        rest = json.loads(rest) if isinstance(rest, str) else rest
        found[(rest["kafka.partition"], rest["kafka.offset"])] += 1
        numbers.add(rest["n"])
    server.stop()
    lost, doubled = good - set(found), sum(count > 1 for count in found.values())
    others = set(found) - good
    with open(server.log.name) as text:
        doubts = text.read().count("a range is read again")
    print(f"sent {sent} in {sent_s:.0f} s, {aborted_sent} of them aborted, {len(failed)} failed; {args.losses} losses of a broker, {server.kills} kills; in the log {len(good)} committed and {bad} aborted; "
          f"read by {took:.0f} s: lost {len(lost)}, doubled {doubled}, of aborted transactions {len(others)}; "
          f"ranges in doubt {doubts}; committed numbers missing {len(wanted - numbers)}, aborted numbers there {len(numbers - wanted)}")
    if lost or doubled or others or wanted != numbers:
        sys.exit(f"see {server.dir}")


def settle(log):
    before = None
    while before != log.next:
        before = list(log.next)
        time.sleep(2)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the mock's threads are not ended
