"""The console of an AWS in the process at an address of its own: for a browser without a stack."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from werkzeug.datastructures import EnvironHeaders
from werkzeug.serving import WSGIRequestHandler, make_server

from local.settings import HOST
from tests.builders.console_world import ConsoleWorld, Shown

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_OF_THE_CONNECTION = {"connection", "content-length", "cookie", "host"}


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # browsers keep connections, as with API Gateway

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Browsers say what went wrong."""


@contextmanager
def served(console: ConsoleWorld, role: str | None) -> Iterator[str]:
    """Serve the console to a browser that is signed in as a role, or not at all; the address."""

    def application(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        answer = console.ask(
            environ["REQUEST_METHOD"],
            environ["REQUEST_URI"],
            role,
            headers={
                name.lower(): value for name, value in EnvironHeaders(environ) if name.lower() not in _OF_THE_CONNECTION
            },
            body=environ["wsgi.input"].read(size).decode() if size else "",
        )
        start(f"{answer.status} {'OK' if answer.status < 400 else 'Error'}", [*_headers(answer)])
        return [answer.bytes]

    server = make_server(HOST, 0, application, threaded=True, request_handler=_Handler)
    thread = threading.Thread(target=server.serve_forever, name="console", daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _headers(answer: Shown) -> Iterator[tuple[str, str]]:
    yield from ((name, str(value)) for name, value in answer.headers.items())
    yield from (("set-cookie", cookie) for cookie in answer.raw.get("cookies", ()))
    if answer.status not in (204, 304):
        yield "content-length", str(len(answer.bytes))
