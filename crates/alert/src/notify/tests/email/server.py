"""A real SMTP server (aiosmtpd) for tests: prints its port, then every message it takes as a line of JSON.

server.py MODE [CERTIFICATE KEY]     MODE: plain, starttls (required, with login), implicit (with login), silent
Recipients nobody@… are refused for good, busy@… the first time.
"""
import json, socket, ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, SMTP

mode, tls = sys.argv[1], None
if len(sys.argv) > 3:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[2], sys.argv[3])


class Handler:
    busy = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user\there"
        if address.startswith("busy@") and address not in self.busy:
            self.busy.add(address)
            return "450 4.2.1 try later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        taken = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or mode == "implicit",
            "user": (session.auth_data.login.decode() if session.auth_data else None),
            "text": envelope.original_content.decode("ascii"),
        }
        print(json.dumps(taken), flush=True)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == b"heimdall" and data.password == b"s3cret pass"
    return AuthResult(success=good, handled=False, auth_data=data if good else None)


class Local(Controller):
    def factory(self):
        if mode == "plain":
            return SMTP(self.handler, hostname="mail.test")
        if mode == "implicit":
            return SMTP(self.handler, hostname="mail.test", authenticator=authenticate, auth_required=True,
                        auth_require_tls=False)
        return SMTP(self.handler, hostname="mail.test", authenticator=authenticate, auth_required=True,
                    tls_context=tls, require_starttls=True)


if mode == "silent":
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
    sys.exit()

free = socket.create_server(("127.0.0.1", 0))
port = free.getsockname()[1]
free.close()
controller = Local(Handler(), hostname="127.0.0.1", port=port, ssl_context=tls if mode == "implicit" else None)
controller.start()
print(port, flush=True)
# Ends when the test closes its side.
sys.stdin.read()
controller.stop()
