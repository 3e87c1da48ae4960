"""A plain address for the deployed HTTP API: whatever comes in goes to it, and its answer back, as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from werkzeug.middleware.http_proxy import ProxyMiddleware
from werkzeug.serving import WSGIRequestHandler, make_server

from local.settings import HOST, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """The API has its own access log."""


@contextmanager
def gateway(settings: Settings, api_id: str) -> Iterator[None]:
    """Serve the API at `settings.api_url` while the block runs."""
    server = make_server(
        HOST,
        settings.port,
        proxy(f"{settings.aws_endpoint}/_aws/execute-api/{api_id}/$default"),
        threaded=True,
        request_handler=_QuietHandler,
    )
    thread = threading.Thread(target=server.serve_forever, name="gateway", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def proxy(target: str) -> WSGIApplication:
    """A WSGI application that passes requests on to `target`: raw path and body, all headers with the caller's Host."""
    middleware = ProxyMiddleware(lambda _environ, _start: [], {}, timeout=60)
    # A prefix of "/" cannot be given to the middleware itself.
    options = {"target": target, "remove_prefix": True, "host": None, "headers": {}, "ssl_context": None}

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("wsgi.input_terminated"):  # a chunked body goes on with its length
            body = environ["wsgi.input"].read()
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body)), "wsgi.input_terminated": False}
        # PATH_INFO is decoded: %2F in an id would become a slash.
        path = environ["REQUEST_URI"].partition("?")[0]
        return middleware.proxy_to(options, path, "/")(environ, start_response)

    return application
