"""Lumberjack v2 with pylogbeat.

Needs: pip install pylogbeat
"""

from common import Server, free_port, need, verdict

need(modules=["pylogbeat"])

from pylogbeat import PyLogBeatClient

PORT = free_port()
server = Server(f'[lumberjack]\nlisten = "127.0.0.1:{PORT}"\n').start()

client = PyLogBeatClient("127.0.0.1", PORT, ssl_enable=False)
client.connect()
client.send([{"@timestamp": "2026-01-02T03:04:05.678Z", "message": f"beat {n}"} for n in range(500)])
client.close()
server.settle(500)
verdict("pylogbeat", 500, [record["message"] for record in server.records()], 0)
server.stop()
