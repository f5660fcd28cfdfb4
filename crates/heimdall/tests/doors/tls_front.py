#!/usr/bin/env python3
"""Stand-in for the TLS of a broker that has none: ends it and passes the bytes on.

    tls_front.py DIR LISTEN TO     makes DIR/ca.pem and a certificate for 127.0.0.1 (openssl), then serves for ever
"""
import asyncio, ssl, subprocess, sys

DIR, (HOST, PORT), (TO_HOST, TO_PORT) = sys.argv[1], sys.argv[2].split(":"), sys.argv[3].split(":")


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], cwd=DIR, check=True, capture_output=True)


def certificates():
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=authority", "-addext", "basicConstraints=critical,CA:TRUE",
            "-keyout", "ca.key", "-out", "made.pem")
    openssl("req", *key, "-subj", "/CN=broker", "-keyout", "broker.key", "-out", "broker.csr")
    with open(f"{DIR}/broker.ext", "w") as file:
        file.write("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "broker.csr", "-CA", "made.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1",
            "-extfile", "broker.ext", "-out", "broker.pem")
    subprocess.run(["mv", "made.pem", "ca.pem"], cwd=DIR, check=True)  # whoever waits for it finds all of it


async def copy(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def handle(reader, writer):
    try:
        inner_reader, inner_writer = await asyncio.open_connection(TO_HOST, int(TO_PORT))
    except OSError:
        return writer.close()
    await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))


async def main():
    certificates()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{DIR}/broker.pem", f"{DIR}/broker.key")
    server = await asyncio.start_server(handle, HOST, int(PORT), ssl=context)
    await server.serve_forever()


asyncio.run(main())
