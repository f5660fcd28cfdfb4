"""Fluent forward: fluent-logger, and 100,000 records with chunk acknowledgement and `kill -9` in between.

Needs: pip install fluent-logger msgpack
"""

import base64
import gzip
import os
import socket
import struct
import threading
import time
import uuid

from common import Server, free_port, need, verdict

need(modules=["fluent", "msgpack"])

import msgpack
from fluent import asyncsender, sender

RECORDS, SENDERS, CHUNK = int(os.environ.get("RECORDS", "100000")), 4, 100
PORT = free_port()
server = Server(f'[fluent]\nlisten = "127.0.0.1:{PORT}"\n').start()

loggers = [
    sender.FluentSender("app", host="127.0.0.1", port=PORT),
    sender.FluentSender("app", host="127.0.0.1", port=PORT, nanosecond_precision=True),
    asyncsender.FluentSender("app", host="127.0.0.1", port=PORT),
]
for number, logger in enumerate(loggers):
    for n in range(1000):
        logger.emit("logger", {"message": f"logger {number} {n}"})
    logger.close()
server.settle(3000)
verdict("fluent-logger", 3000, [record["message"] for record in server.records()], 0)


class Sender:
    """Sends chunks, each until it is acknowledged."""

    def __init__(self):
        self.stream = None

    def send(self, body, chunk):
        while True:
            try:
                if self.stream is None:
                    self.stream = socket.create_connection(("127.0.0.1", PORT), timeout=15)
                    self.unpacker = msgpack.Unpacker(raw=False)
                self.stream.sendall(body)
                if self.answer() == chunk:
                    return
            except OSError:
                self.stream = None
                time.sleep(0.1)

    def answer(self):
        while True:
            for value in self.unpacker:
                return value["ack"]
            piece = self.stream.recv(65536)
            if not piece:
                raise OSError("the server hung up")
            self.unpacker.feed(piece)


def work(number):
    it = Sender()
    for k in range(RECORDS // SENDERS // CHUNK):
        now = time.time()
        stamp = msgpack.ExtType(0, struct.pack(">II", int(now), int(now % 1 * 1e9)))
        entries = [[stamp, {"message": f"chunk {number} {k} {n}"}] for n in range(CHUNK)]
        packed = b"".join(map(msgpack.packb, entries))
        chunk = base64.b64encode(uuid.uuid4().bytes).decode()
        body = [
            ["t", entries, {"chunk": chunk, "size": CHUNK}],
            ["t", packed, {"chunk": chunk}],
            ["t", gzip.compress(packed), {"chunk": chunk, "compressed": "gzip"}],
        ][k % 3]
        it.send(msgpack.packb(body), chunk)


threads = [threading.Thread(target=work, args=(number,)) for number in range(SENDERS)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    time.sleep(0.25)
    if server.kills < 5:
        server.kill()
server.settle(3000 + RECORDS)
texts = [record["message"] for record in server.records() if record["message"].startswith("chunk")]
verdict("fluent chunks", RECORDS // SENDERS // CHUNK * SENDERS * CHUNK, texts, server.kills)
server.stop()
