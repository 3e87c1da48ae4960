"""A receiver of webhooks on loopback, and a network that ends there."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch


@dataclass
class Receiver:
    """A server that records requests and answers as set, by default 200.

    Attributes:
        seen: path, headers (names in lower case) and body of each request.
        methods: method of each request.
        answers: status and headers of the next answers.
        only: the path that is answered as set; others are answered 200. Empty: every path.
        body: of its answers.
        drip: sends its answer byte by byte, and never ends.
    """

    port: int
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    drip: bool = False
    only: str = ""
    methods: list[str] = field(default_factory=list)
    body: bytes = b""

    host = "hooks.test"

    @property
    def url(self) -> str:
        return f"https://{self.host}/hook"

    @property
    def names(self) -> dict[str, int]:
        """Under which name `Outbound` reaches it, without TLS."""
        return {self.host: self.port}


@contextmanager
def receiving(tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """A receiver, for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            receiver.methods.append(self.command)
            receiver.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            is_set = receiver.answers and receiver.only in ("", self.path)
            status, headers = receiver.answers.pop(0) if is_set else (200, {})
            if receiver.drip:
                with suppress(OSError):
                    while True:
                        self.wfile.write(b"H")
                        time.sleep(0.05)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(receiver.body)

        do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815  names of the base class

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(server.server_address[1])
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def only_loopback() -> Iterator[list[Any]]:
    """Refuse connections to other hosts than loopback, and list them."""
    tried: list[Any] = []
    connect = socket.socket.connect

    def connect_or_not(self: socket.socket, address: Any) -> None:
        tried.append(address)
        if address[0] not in {"127.0.0.1", "::1"}:
            raise ConnectionRefusedError(f"{address}: not in a unit test")
        connect(self, address)

    with patch.object(socket.socket, "connect", connect_or_not):
        yield tried
