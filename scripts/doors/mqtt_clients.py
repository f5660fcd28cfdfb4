"""MQTT: Mosquitto, paho-mqtt, and 30,000 messages of QoS 1 with `kill -9` of Heimdall in between.

Needs: apt-get install mosquitto, pip install paho-mqtt
"""

import os
import subprocess
import threading
import time

from common import Server, free_port, need, verdict

need(modules=["paho"], programs=["mosquitto"])

import paho.mqtt.client as mqtt

MESSAGES = int(os.environ.get("RECORDS", "30000"))
PORT = free_port()
server = Server(f'[[mqtt]]\nurl = "mqtt://127.0.0.1:{PORT}"\ntopics = [{{ filter = "load/#" }}]\n')
broker_config = os.path.join(server.dir, "mosquitto.conf")
with open(broker_config, "w") as file:
    file.write(f"listener {PORT} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
broker = subprocess.Popen(["mosquitto", "-c", broker_config], stdout=server.log, stderr=server.log)
time.sleep(1)
server.start()
time.sleep(2)
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.max_inflight_messages_set(1000)
client.connect("127.0.0.1", PORT)
client.loop_start()


def publish():
    for n in range(MESSAGES):
        last = client.publish("load/x", f"message {n}", qos=1)
        if n % 500 == 0:
            last.wait_for_publish()
    last.wait_for_publish()


thread = threading.Thread(target=publish)
thread.start()
while thread.is_alive() or server.kills < 6:
    time.sleep(0.9)
    if server.kills < 6:
        server.kill()
server.settle(MESSAGES)
verdict("mqtt", MESSAGES, [record["message"] for record in server.records()], server.kills)
server.stop()
broker.terminate()
