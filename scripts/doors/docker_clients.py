"""Docker logs: 60,000 lines with `kill -9` of Heimdall in between, long lines, stack traces, JSON.

Needs a running engine (DOCKER_HOST=unix:///…) and an image with a shell (DOORS_IMAGE), whose entry point takes `sh -c …`.
"""

import os
import subprocess
import sys
import time

from common import Server, need, verdict

need(programs=["docker"])
HOST, IMAGE = os.environ.get("DOCKER_HOST", ""), os.environ.get("DOORS_IMAGE", "")
if not HOST.startswith("unix://") or not IMAGE:
    print("skipped: DOCKER_HOST and DOORS_IMAGE are not set")
    sys.exit(0)

LINES = int(os.environ.get("RECORDS", "60000"))
NAMES = ["doors-load", "doors-forms", "doors-hidden"]
server = Server(f'[docker]\nsocket = "{HOST.removeprefix("unix://")}"\ninclude = ["doors-*"]\nexclude = ["*-hidden"]\n')


def docker(*arguments):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


def run(name, script):
    done = docker("run", "-d", "--network", "host", "--name", name, IMAGE, "sh", "-c", script)
    assert done.returncode == 0, done.stderr


docker("rm", "-f", *NAMES)
server.start()
run("doors-hidden", "echo hidden")
run("doors-forms", r"""echo '{"msg":"json","level":"warn"}'; printf 'ERROR x\n  at a.B\n'; head -c 40000 /dev/zero | tr '\0' z; echo""")
run("doors-load", f"i=0; while [ $i -lt {LINES} ]; do echo load $i; i=$((i+1)); done; sleep 1")
while server.kills < 5:
    time.sleep(0.6)
    server.kill()
server.settle(LINES + 3)
records = server.records()
verdict("docker", LINES, [r["message"] for r in records if r["message"].startswith("load")], server.kills)
forms = sorted(len(r["message"]) for r in records if r.get("service") == "doors-forms")
assert forms == [4, 16, 40000], forms
assert not any(r["message"] == "hidden" for r in records)
docker("rm", "-f", *NAMES)
server.stop()
