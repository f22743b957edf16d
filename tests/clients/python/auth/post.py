"""Where the project's mails and SMS go to in these tests: an SMTP server, and a web hook that takes SMS."""

import email
import json
import logging
import queue
import re
import socket
from collections import defaultdict
from dataclasses import dataclass
from email import policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

logging.getLogger("mail.log").setLevel(logging.ERROR)  # it warns of passwords without TLS

USER, PASSWORD = "board", "a secret of the mail server"
SECRET = "a secret of the SMS provider"


@dataclass
class Letter:
    """A mail or an SMS."""

    text: str
    code: str | None
    link: str | None = None
    subject: str | None = None
    sender: str | None = None


class Letters:
    """What arrived for each address; `next` takes the oldest one out."""

    def __init__(self):
        self._boxes: defaultdict[str, queue.Queue[Letter]] = defaultdict(queue.Queue)

    def put(self, to: str, letter: Letter) -> None:
        self._boxes[to].put(letter)

    def next(self, to: str, limit_secs: float = 10) -> Letter:
        try:
            return self._boxes[to].get(timeout=limit_secs)
        except queue.Empty:
            raise AssertionError(f"nothing came for {to}") from None

    def count(self, to: str) -> int:
        return self._boxes[to].qsize()


class Mail:
    """An SMTP server that asks for a password."""

    def __init__(self):
        self.letters = Letters()
        with socket.create_server(("127.0.0.1", 0)) as probe:  # aiosmtpd wants to be told its port
            self._port = probe.getsockname()[1]
        self._controller = Controller(self, hostname="127.0.0.1", port=self._port, authenticator=self._authenticate,
                                      auth_require_tls=False)

    def start(self) -> dict:
        self._controller.start()
        return {"host": "127.0.0.1", "port": self._port, "from": "Board <board@example.com>", "username": USER, "password": PASSWORD}

    def stop(self) -> None:
        self._controller.stop()

    @staticmethod
    def _authenticate(server, session, envelope, mechanism, data) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right)

    async def handle_MAIL(self, server, session, envelope, address, options) -> str:  # noqa: N802: aiosmtpd calls it so
        if not session.authenticated:
            return "530 authentication required"
        envelope.mail_from = address
        return "250 go on"

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802: aiosmtpd calls it so
        mail = email.message_from_bytes(envelope.original_content, policy=policy.default)
        text = mail.get_body(("plain",)).get_content()
        html = mail.get_body(("html",)).get_content()
        link = re.search(r"https?:\S+/verify\?\S+", text)
        code = re.search(r"\b\d{6}\b", html)
        for to in envelope.rcpt_tos:
            self.letters.put(to, Letter(text, code and code[0], link and link[0], mail["subject"], mail["from"]))
        return "250 taken"


class Sms:
    """A web hook that takes SMS."""

    def __init__(self):
        self.letters = letters = Letters()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802: http.server calls it so
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                right = self.headers["authorization"] == f"Bearer {SECRET}"
                if right:
                    letters.put(body["phone"].lstrip("+"), Letter(body["message"], body["otp"]))
                answer = json.dumps({"message_id": "SMS-1"} if right else {"message": "who are you?"}).encode()
                self.send_response(200 if right else 401)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def start(self) -> dict:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return {"kind": "webhook", "url": f"http://127.0.0.1:{self._server.server_port}/sms", "secret": SECRET}

    def stop(self) -> None:
        self._server.shutdown()
