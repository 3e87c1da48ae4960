"""The functions' handlers behind a real port: HTTP in, an API Gateway event out, the answer back."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

from werkzeug.serving import WSGIRequestHandler, make_server

from local.openapi import all_routes
from tests.builders.world import AwsHarness


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Tests print what matters."""


@contextmanager
def bridge(world: AwsHarness) -> Iterator[str]:
    """Serve the API of this world while the block runs; the bearer token is the caller's role.

    Yields:
        The address of the API.
    """
    server = make_server("127.0.0.1", 0, _application(world), threaded=False, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _application(world: AwsHarness) -> Any:
    # Routes without parameters first: /dead-letters/replays is no {id}.
    routes = sorted(all_routes().values(), key=lambda entry: entry[1].path.count("{"))
    patterns = [
        (route.method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)), function, route.key)
        for function, route in routes
    ]

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path, _, query = environ["RAW_URI"].partition("?")
        headers = {
            name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")
        }
        headers["content-type"] = environ.get("CONTENT_TYPE", "")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        role = headers.pop("authorization", "").removeprefix("Bearer ") or None
        for method, pattern, function, key in patterns:
            if method == environ["REQUEST_METHOD"] and (found := pattern.fullmatch(path)):
                answer = world.http(
                    function,
                    key,
                    role=role,
                    body=base64.b64encode(body).decode() if body else None,
                    base64=bool(body),
                    headers=headers,
                    query=parse_qsl(query, keep_blank_values=True),
                    **{name: unquote(value) for name, value in found.groupdict().items()},
                )
                status = HTTPStatus(answer.status)
                start_response(f"{status.value} {status.phrase}", list(answer.headers.items()))
                return [answer.text.encode()]
        start_response("404 Not Found", [("content-type", "application/json")])
        return [b'{"message": "Not Found"}']

    return application
