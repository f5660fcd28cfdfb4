#!/usr/bin/env python3
"""The Kafka door over TLS and with SASL: what is read, and what an operator sees when it is refused.

Broker: Tansu 0.6.0, which verifies SCRAM. It has no PLAIN, and takes `--cert` without using it: TLS is ended by a stand-in in front of
it (`Terminator`, Python's ssl), and PLAIN is another stand-in (`PlainLogin`). Needs confluent-kafka, openssl and Tansu.

    kafka_secure.py [--tansu tansu] [--messages 200] [--long]
"""
import argparse, asyncio, atexit, json, re, shutil, socket, ssl, struct, subprocess, sys, tempfile, threading, time
from pathlib import Path

from common import Server, free_port, need

need(modules=["confluent_kafka"], programs=["openssl"])

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

USER, PASSWORD = "heimdall", "pass w\u00f6rd,=1"
SAID = "kafka is not read; trying again"


def context(folder, name, client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    if client_ca:
        context.load_verify_locations(folder / client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def certificates(folder):
    """Two authorities; a broker's certificate for 127.0.0.1, one for another name, and a client's, all by the first."""
    def run(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "other-ca"):
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={authority}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", f"{authority}.key", "-out", f"{authority}.pem")
    for name, alternative, days in (("broker", "IP:127.0.0.1", "1"), ("stranger", "DNS:stranger.test", "1"), ("client", "DNS:client", "1"),
                                    ("expired", "IP:127.0.0.1", "-1")):
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", days,
            "-extfile", f"{name}.ext", "-out", f"{name}.pem")


class Loop:
    """The stand-ins' event loop, on a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    @classmethod
    def serve(cls, handle, port, context=None):
        server = asyncio.start_server(handle, "127.0.0.1", port, ssl=context)
        asyncio.run_coroutine_threadsafe(server, cls.loop).result(10)


class Terminator:
    """Stand-in for a broker's TLS: ends it and passes the bytes on. Its port is the one that the broker advertises."""

    def __init__(self, port, broker_port, context):
        self.broker_port = broker_port
        Loop.serve(self.handle, port, context)

    async def handle(self, reader, writer):
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.broker_port)
            await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))
        except OSError:
            writer.close()


async def copy(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class PlainLogin:
    """Stand-in for a broker's PLAIN: does the login as Kafka does (a wrong one: code 58 and a text, then it closes), and passes all
    else to a broker that asks for none. Its port is the one that that broker advertises."""

    def __init__(self, port, broker_port, context=None):
        self.broker_port, self.logins = broker_port, set()
        Loop.serve(self.handle, port, context)

    async def handle(self, reader, writer):
        text = lambda t: struct.pack(">h", len(t)) + t.encode()
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.broker_port)
            code = None
            while code is None:
                request = await frame(reader)
                key, version, correlation = struct.unpack_from(">hhi", request)
                if key not in (17, 36):
                    inner_writer.write(struct.pack(">i", len(request)) + request)
                    body = await frame(inner_reader)
                elif key == 17:
                    is_plain = request.endswith(text("PLAIN"))
                    body = struct.pack(">ihi", correlation, 0 if is_plain else 33, 1) + text("PLAIN")
                else:
                    login = tuple(request[request.index(b"\0", 10 + struct.unpack_from(">h", request, 8)[0] + 4):].decode().split("\0")[1:])
                    self.logins.add(login)
                    code = 0 if login == (USER, PASSWORD) else 58
                    body = struct.pack(">ih", correlation, code) + (text("Authentication failed: Invalid username or password") if code else b"\xff\xff")
                    body += struct.pack(">i", 0) + (struct.pack(">q", 0) if version else b"")
                writer.write(struct.pack(">i", len(body)) + body)
                await writer.drain()
            if code == 0:
                await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


async def frame(reader):
    return await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])


class Door(Server):
    """The door alone, reading the topic as a group of its own."""

    def __init__(self, group, port, *more):
        super().__init__(f'[kafka]\nbrokers = "127.0.0.1:{port}"\ntopics = "secure"\ngroup_id = "{group}"\nstart = "earliest"\n'
                         'session_timeout = "6s"\n' + "\n".join(more) + "\n")
        self.start()

    def said(self):
        """What the log says of why nothing is read."""
        log = re.sub(r"\x1b\[[0-9;]*m", "", Path(self.log.name).read_text())
        assert PASSWORD not in log, "the password is in the log"
        return [line for line in log.splitlines() if SAID in line]

    def numbers(self):
        rest = lambda record: record.get("attributes", record)
        parsed = lambda rest: json.loads(rest) if isinstance(rest, str) else rest
        try:
            return sorted(parsed(rest(record))["n"] for record in self.records())
        except FileNotFoundError:
            return []

    def stop(self):
        super().stop()
        shutil.rmtree(self.dir)


def until(what, is_so, seconds=30):
    deadline, last = time.time() + seconds, None
    while time.time() < deadline:
        try:
            if is_so():
                return
        except Exception as error:
            last = error
        time.sleep(0.1)
    sys.exit(f"not within {seconds} s: {what} {last or ''}")


def tls(folder, ca="ca", client=False):
    keys = f'cert_file = "{folder}/client.pem", key_file = "{folder}/client.key", ' if client else ""
    ca = f'ca_file = "{folder}/{ca}.pem"' if ca else ""
    return f"tls = {{ enabled = true, {keys}{ca} }}".replace(", }", " }").replace(",  }", " }")


def sasl(folder, mechanism, password=PASSWORD, user=USER):
    file = folder / f"password-{abs(hash(password))}"
    file.write_text(password + "\n")
    return f'sasl = {{ mechanism = "{mechanism}", user = "{user}", password_file = "{file}" }}'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tansu", default="tansu")
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--long", action="store_true", help="also over the end of a login's life (Tansu: 60 s)")
    args = parser.parse_args()
    need(programs=[args.tansu])
    folder = Path(tempfile.mkdtemp(prefix="heimdall-kafka-secure-"))
    certificates(folder)

    def broker(name, port, advertised, *more):
        where = folder / name
        where.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [args.tansu, "broker", "--cluster-id", "hd", "--listener-url", f"tcp://127.0.0.1:{port}", "--advertised-listener-url",
             f"tcp://127.0.0.1:{advertised}", "--storage-engine", "sqlite://tansu.db", *more],
            cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        atexit.register(process.kill)
        until("the broker listens", lambda: socket.create_connection(("127.0.0.1", port)).close() is None)
        return process

    def fill(**client):
        """Makes the topic, and a producer that sends numbers to it."""
        admin = AdminClient(client)
        admin.create_topics([NewTopic("secure", 1, 1)])["secure"].result(timeout=30)
        producer, failed = Producer({**client, "enable.idempotence": True}), []

        def send(numbers):
            for n in numbers:
                producer.produce("secure", json.dumps({"message": "m", "n": n}), on_delivery=lambda e, _: failed.append(e) if e else None)
            assert producer.flush(60) == 0 and not failed, failed

        send(range(args.messages))
        return send

    inner, outer = free_port(), free_port()
    unlocked = broker("scram", inner, inner)  # users are made while nobody has to log in
    for mechanism in ("scram256", "scram512"):
        subprocess.run([args.tansu, "user", "create", "--broker", f"tcp://127.0.0.1:{inner}", "--mechanism", mechanism, USER, PASSWORD], check=True)
    unlocked.kill()
    unlocked.wait()
    broker("scram", inner, outer, "--authentication")
    Terminator(outer, inner, context(folder, "broker"))
    secure = {"ssl.ca.location": str(folder / "ca.pem"), "sasl.username": USER, "sasl.password": PASSWORD, "security.protocol": "SASL_SSL", "log_level": 0}
    send = fill(**{**secure, "bootstrap.servers": f"127.0.0.1:{outer}", "sasl.mechanism": "SCRAM-SHA-512"})
    plain_inner, plain = free_port(), free_port()
    broker("plain", plain_inner, plain)
    login = PlainLogin(plain, plain_inner, context(folder, "broker"))
    fill(**{**secure, "bootstrap.servers": f"127.0.0.1:{plain}", "sasl.mechanism": "PLAIN"})
    bad = 0

    def verdict(name, is_right, detail):
        nonlocal bad
        bad += not is_right
        print(f"{'ok  ' if is_right else 'BAD '} {name}: {detail}", flush=True)

    def reads(name, port, *more):
        door = Door(name, port, *more)
        deadline = time.time() + 20
        while len(door.numbers()) < args.messages and time.time() < deadline and not door.said():
            time.sleep(0.1)
        numbers = door.numbers()
        verdict(name, numbers == list(range(args.messages)), f"{len(numbers)} read" + "".join(door.said()[:1]))
        return door

    def refused(name, port, *more, says):
        door = Door(name, port, *more)
        deadline = time.time() + 25
        while not door.said() and time.time() < deadline:
            time.sleep(0.1)
        said = (door.said() or ["nothing was said within 25 s"])[0]
        verdict(name, says in said and not door.numbers(), re.sub(r"^.*?source=\S+ ", "", said))
        door.stop()

    def front(name, client_ca=None):
        port = free_port()
        Terminator(port, inner, context(folder, name, client_ca))
        return port

    scram = sasl(folder, "scram-sha-512")
    for mechanism in ("scram-sha-256", "scram-sha-512"):
        reads(mechanism, outer, tls(folder), sasl(folder, mechanism)).stop()
    reads("plain", plain, tls(folder), sasl(folder, "plain")).stop()
    mutual = front("broker", "ca.pem")
    reads("client-certificate", mutual, tls(folder, client=True), scram).stop()
    refused("certificate-of-another", front("stranger"), tls(folder), scram, says="not valid for name")
    refused("certificate-expired", front("expired"), tls(folder), scram, says="Expired")
    refused("wrong-authority", outer, tls(folder, "other-ca"), scram, says="`tls.ca_file`")
    refused("authorities-of-the-web", outer, tls(folder, None), scram, says="`tls.ca_file`")
    refused("no-client-certificate", mutual, tls(folder), scram, says="`tls.cert_file`")
    refused("plaintext-to-tls", outer, scram, says="`tls.enabled`")
    refused("tls-to-plaintext", inner, tls(folder), scram, says="`tls.enabled`")
    for mechanism, port in (("scram-sha-256", outer), ("scram-sha-512", outer), ("plain", plain)):
        refused(f"wrong-password-{mechanism}", port, tls(folder), sasl(folder, mechanism, "wrong"), says="login of `heimdall`")
    refused("unknown-user", outer, tls(folder), sasl(folder, "scram-sha-512", user="nobody"), says="login of `nobody`")
    refused("mechanism-not-offered", plain, tls(folder), scram, says="`sasl.mechanism`")
    refused("no-login", outer, tls(folder), says="`sasl.mechanism`")
    verdict("logins-of-plain", login.logins == {(USER, PASSWORD), (USER, "wrong")}, f"{len(login.logins)} different ones")
    if args.long:
        door = reads("long", outer, tls(folder), scram)
        for n in range(13):
            time.sleep(10)
            send(range(args.messages + 10 * n, args.messages + 10 * n + 10))
        until("what was sent", lambda: len(door.numbers()) >= args.messages + 130, 30)
        verdict("long", door.numbers() == list(range(args.messages + 130)), f"130 s, connections made again because of a failure: {len(door.said())}")
        door.stop()
    if bad:
        sys.exit(f"{bad} were not as they should be: {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
