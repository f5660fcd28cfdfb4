"""Lumberjack v2: pylogbeat, and 100,000 events in windows with `kill -9` in between (at least once).

Needs: pip install pylogbeat
"""

import json
import os
import socket
import struct
import threading
import time
import zlib

from common import Server, free_port, need, verdict

need(modules=["pylogbeat"])

from pylogbeat import PyLogBeatClient

EVENTS, SENDERS, WINDOW = int(os.environ.get("RECORDS", "100000")), 4, 2000
PORT = free_port()
server = Server(f'[lumberjack]\nlisten = "127.0.0.1:{PORT}"\n').start()

client = PyLogBeatClient("127.0.0.1", PORT, ssl_enable=False)
client.connect()
client.send([{"@timestamp": "2026-01-02T03:04:05.678Z", "message": f"beat {n}"} for n in range(500)])
client.close()
server.settle(500)
verdict("pylogbeat", 500, [record["message"] for record in server.records()], 0)


def read(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            raise OSError("the server hung up")
        data += piece
    return data


def work(number):
    stream = None
    for k in range(EVENTS // SENDERS // WINDOW):
        events = [json.dumps({"message": f"window {number} {k} {n}", "host": {"name": "h"}}) for n in range(WINDOW)]
        frames = b"".join(b"2J" + struct.pack(">II", n + 1, len(e)) + e.encode() for n, e in enumerate(events))
        packed = zlib.compress(frames)
        body = b"2W" + struct.pack(">I", WINDOW) + b"2C" + struct.pack(">I", len(packed)) + packed
        while True:
            try:
                stream = stream or socket.create_connection(("127.0.0.1", PORT), timeout=15)
                stream.sendall(body)
                while struct.unpack(">2sI", read(stream, 6)) != (b"2A", WINDOW):
                    pass
                break
            except OSError:
                stream = None
                time.sleep(0.1)


threads = [threading.Thread(target=work, args=(number,)) for number in range(SENDERS)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    time.sleep(0.4)
    if server.kills < 4:
        server.kill()
server.settle(500 + EVENTS)
texts = [record["message"] for record in server.records() if record["message"].startswith("window")]
verdict("lumberjack windows", EVENTS // SENDERS // WINDOW * SENDERS * WINDOW, texts, server.kills, doubled_allowed=True)
server.stop()
