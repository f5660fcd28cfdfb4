"""StatsD and DogStatsD with the libraries `statsd` and `datadog`.

Needs: pip install statsd datadog
"""

import os
import time

from common import Server, free_port, need

need(modules=["statsd", "datadog"])

import datadog
import statsd

PORT = free_port()
server = Server("")
path = os.path.join(server.dir, "dsd.socket")
with open(server.config, "w") as file:
    file.write(f'[statsd]\nudp_listen = "127.0.0.1:{PORT}"\ntcp_listen = "127.0.0.1:{PORT}"\nunix_path = "{path}"\n')
    file.write('flush_interval = "1s"\n')
server.start()

udp = statsd.StatsClient("127.0.0.1", PORT)
for n in range(1000):
    udp.incr("hits")
    udp.timing("took", n)
    udp.set("users", n % 7)
udp.gauge("level", 5)
udp.gauge("level", -2, delta=True)
tcp = statsd.TCPStatsClient("127.0.0.1", PORT)
tcp.incr("tcp_hits", 3)
tcp.close()
dog = datadog.dogstatsd.DogStatsd(host="127.0.0.1", port=PORT)
for n in range(1000):
    dog.increment("dog_hits", tags=["env:prod"])
dog.event("Deploy", "it went\nwell", alert_type="warning")
dog.service_check("redis", 2, message="timeout")
dog.flush()
unix = datadog.dogstatsd.DogStatsd(socket_path=path)  # one only: the kernel holds few, and the library drops the rest
unix.gauge("unix_level", 7)
unix.flush()
time.sleep(2)
server.stop()

values, texts = {}, []
for record in server.records():
    if record["dataset"] == "metrics":
        values.setdefault(record["name"], []).append(record["value"])
    else:
        texts.append(record["message"])
assert sum(values["hits"]) == sum(values["dog_hits"]) == sum(values["took_count"]) == 1000, values
assert values["unix_level"] == [7], values
assert (sum(values["took_sum"]), sum(values["tcp_hits"]), values["level"][-1]) == (499500, 3, 3), values
assert sorted(texts) == ["it went\nwell", "timeout"], texts
print("statsd: as expected")
