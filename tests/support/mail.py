"""A mail server that keeps what it is sent."""

from __future__ import annotations

import json
import socketserver
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Self


class MailServer:
    """Take mail on this machine, over real SMTP, for as long as the `with` block lasts."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def airflow_connection(self) -> str:
        """The value of an Airflow connection to it."""
        host, port = self._server.server_address[:2]
        extra = {"disable_ssl": True, "disable_tls": True}
        return json.dumps({"conn_type": "smtp", "host": host, "port": port, "extra": extra})

    @property
    def texts(self) -> list[str]:
        """What the mails say."""
        return [mail.get_body().get_content() for mail in self.mails]

    def _handler(self) -> type[socketserver.StreamRequestHandler]:
        mails = self.mails

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 here")
                while line := self.rfile.readline():
                    command = line[:4].upper()
                    if command == b"DATA":
                        self.say("354 go on")
                        mails.append(self.read_mail())
                    self.say("221 bye" if command == b"QUIT" else "250 good")

            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

            def read_mail(self) -> EmailMessage:
                lines = iter(self.rfile.readline, b".\r\n")
                mail = b"".join(line.removeprefix(b".") for line in lines)
                return message_from_bytes(mail, _class=EmailMessage, policy=policy.default)

        return Handler
