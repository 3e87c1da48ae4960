"""The plain address of the local API changes nothing: neither requests nor what the gateway itself answers."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from local.gateway import proxy
from tests.builders.receiver import only_loopback

ANSWERS: dict[int, tuple[str, str]] = {
    200: ('{"ok": true}', "application/json"),
    201: ('{"job_id": "1"}', "application/json"),
    204: ("", "text/plain"),
    303: ("", "text/html"),
    304: ("", "text/html"),
    401: ('{"message":"Unauthorized"}', "application/json"),
    403: ('{"message":"Forbidden"}', "application/json"),
    404: ('{"type": "urn:adbot-queue:problem:not-found"}', "application/problem+json"),
    413: ('{"message":"Request Entity Too Large"}', "application/json"),
    429: ('{"message":"Too Many Requests"}', "application/json"),
    500: ('{"message":"Internal Server Error"}', "application/json"),
    503: ('{"message":"Service Unavailable"}', "application/json"),
}
"""Status -> body and media type, those of API Gateway itself among them."""


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """The proxy before a server that answers as its path says, and shows what reached it in a header."""

    def answer(environ: Any, start: Any) -> Any:
        request = Request(environ)
        seen = {
            "method": request.method,
            "target": environ["REQUEST_URI"],
            "host": request.host,
            "body": request.get_data(as_text=True),
        }
        status = int(request.args.get("status", "200"))
        body, media = ANSWERS[status]
        response = Response(body, status, {"x-seen": json.dumps(seen), "x-amzn-requestid": "r-1"}, mimetype=media)
        return response(environ, start)

    with ExitStack() as running:
        behind = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=_Quiet)
        before = make_server(
            "127.0.0.1",
            0,
            proxy(f"http://127.0.0.1:{behind.port}/_aws/execute-api/a1/$default"),
            threaded=True,
            request_handler=_Quiet,
        )
        for server in (behind, before):
            threading.Thread(target=server.serve_forever, daemon=True).start()
            running.callback(server.server_close)
            running.callback(server.shutdown)
        yield "127.0.0.1", before.port


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    with only_loopback():
        yield


def ask(
    address: tuple[str, int], method: str, target: str, body: str | None = None
) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request(method, target, body, {"host": "bots.example.com:8080"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer, text


@pytest.mark.parametrize("status", ANSWERS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_an_answer_comes_back_as_it_is(address: tuple[str, int], status: int, method: str) -> None:
    answer, text = ask(address, method, f"/x?status={status}")
    body, media = ANSWERS[status]

    assert (answer.status, answer.headers["x-amzn-requestid"]) == (status, "r-1")
    assert text == ("" if method == "HEAD" else body)
    if body:
        assert (answer.headers["content-type"] or "").partition(";")[0] == media


@pytest.mark.parametrize(
    "target", ["/", "/metrics/", "/adbots/a%2Fb/start", "/a//b", "/x?a=%C3%A4&a=2&b=", "/jobs/%25", "/%7Bid%7D/"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_a_request_goes_on_as_it_is(address: tuple[str, int], method: str, target: str) -> None:
    answer, _ = ask(address, method, target, "a b" if method == "PUT" else None)

    assert json.loads(answer.headers["x-seen"] or "") == {
        "method": method,
        "target": f"/_aws/execute-api/a1/$default{target}",
        "host": "bots.example.com:8080",
        "body": "a b" if method == "PUT" else "",
    }
