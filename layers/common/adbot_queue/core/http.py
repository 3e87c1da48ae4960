"""HTTP API events in, JSON and problem documents out.

API Gateway has matched the route already (`routeKey`), so this is a table and not a router: Powertools' resolver would
match it again, for 270 ms of cold start on top of 1,260 ms for boto3 and the logger (one machine, one run). Each route
declares who may call it, its input and its output; `/openapi.json` is generated from these declarations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from adbot_queue.core import events, http_input, problems, telemetry
from adbot_queue.core.callers import SCOPES, Caller, caller_of
from adbot_queue.core.errors import AppError, Forbidden, Invalid, NotFound, Unauthenticated, UnknownEvent
from adbot_queue.core.ids import fingerprint
from adbot_queue.core.schema import Query
from adbot_queue.core.telemetry import logger

MAX_BODY = 256 * 1024
"""Bytes of a body where a route does not say otherwise."""

LARGE_BODY = 4 * 1024 * 1024
"""Bytes of the largest body that a route may allow: Lambda takes 6 MB an event, where base64 adds a third."""

MAX_KEY = 255
"""Characters of an Idempotency-Key."""

SLASH = "/{proxy+}"
"""What a route's key ends with that is there for `PATH/`; the gateway matches an empty rest, or any longer path."""

Body = TypeVar("Body")
Handler = Callable[["Request[Any]"], Any]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Request(Generic[Body]):
    """A request as a handler sees it. `body` and `query` are what the route declares, validated.

    `domain` and `query_string` are as the caller wrote them, for signatures that cover the address.
    """

    body: Body
    query: Any
    raw: bytes
    path: Mapping[str, str]
    headers: Mapping[str, str]
    request_id: str
    time_left: Callable[[], int]
    route_key: str
    caller_or_none: Caller | None
    domain: str = ""
    query_string: str = ""

    @property
    def caller(self) -> Caller:
        """Who calls; only on routes that are not public."""
        if self.caller_or_none is None:
            raise Unauthenticated("a bearer token is needed")
        return self.caller_or_none

    def header(self, name: str) -> str | None:
        """A header, by its name in lower case."""
        return self.headers.get(name)

    @property
    def idempotency_key(self) -> str | None:
        """The Idempotency-Key header.

        Raises:
            Invalid: empty, too long, or not printable ASCII.
        """
        key = self.headers.get("idempotency-key")
        if key is None:
            return None
        if not 1 <= len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
            raise Invalid.field("Idempotency-Key", f"must have 1 to {MAX_KEY} printable ASCII characters")
        return key

    @property
    def fingerprint(self) -> str:
        """Tells this request from another one under the same Idempotency-Key."""
        return fingerprint("\n".join([self.route_key, json.dumps(dict(self.path), sort_keys=True), self.raw.hex()]))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Response:
    """An answer with a status or headers of its own. `model` is a pydantic model, text or bytes, or None."""

    model: BaseModel | str | bytes | None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def idempotent(
        cls, model: BaseModel, status: int | None, headers: Mapping[str, str] | None = None, *, replayed: bool
    ) -> Response:
        """Return the answer of a request; 200 with `Idempotent-Replayed` if an earlier one had its key."""
        if replayed:
            return cls(model, HTTPStatus.OK, {**(headers or {}), "idempotent-replayed": "true"})
        return cls(model, status, {**(headers or {})})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Route:
    """One route's declaration. The handler's name is the operation's id in the API document.

    Attributes:
        roles: groups that may call; empty: public.
        scope: with which machines may call; empty: none may.
        tag: the chapter of the API document.
        body: model of a JSON body.
        raw: media types of a body that the handler reads itself, with their JSON schemas. Neither: no body.
        raises: problems it may answer with, in addition to those of every route.
        produces: media type of its good answers.
    """

    method: str
    path: str
    handler: Handler
    roles: frozenset[str]
    summary: str
    status: int
    tag: str
    body: type[BaseModel] | None = None
    raw: Mapping[str, dict[str, Any]] | None = None
    limit: int = MAX_BODY
    query: type[BaseModel] | None = None
    returns: type[BaseModel] | None = None
    raises: tuple[type[AppError], ...] = ()
    also: tuple[int, ...] = ()
    produces: str = "application/json"
    scope: str = ""

    @property
    def key(self) -> str:
        """API Gateway's name for it: `POST /adbots/{id}/start`."""
        return f"{self.method} {self.path}"

    def check(self, caller: Caller | None) -> None:
        """Refuse a caller without the rights.

        Raises:
            Unauthenticated: there is no caller. Forbidden: the caller has neither role nor scope.
        """
        if not self.roles:
            return
        if caller is None:
            raise Unauthenticated("a bearer token is needed")
        if caller.scopes is None:
            if not caller.groups & self.roles:
                raise Forbidden(f"needs one of the roles {', '.join(sorted(self.roles))}")
        elif self.scope not in caller.scopes:
            raise Forbidden(f"needs the scope {SCOPES}{self.scope}" if self.scope else "no machine may call this")


def _declare(method: str) -> Callable[..., Callable[[Handler], Handler]]:
    def declare(api: Api, path: str, **declared: Any) -> Callable[[Handler], Handler]:
        """Declare a route; see `Route`."""

        def register(handler: Handler) -> Handler:
            declared.setdefault("status", HTTPStatus.OK)
            declared.setdefault("tag", api.tag)
            route = Route(method, path, handler, **declared)
            api.routes[route.key] = route
            return handler

        return register

    return declare


class Api:
    """The routes of one function, and the function's entry.

    Args:
        tag: the chapter of the API document where a route does not name another.
    """

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.routes: dict[str, Route] = {}

    get, post, put, patch, delete = map(_declare, ("GET", "POST", "PUT", "PATCH", "DELETE"))

    def handler(self, event: Any, context: Any) -> dict[str, Any]:
        """Lambda's entry: an HTTP API event (payload 2.0) in, its answer out; 400 to any other event. Never raises."""
        request_id = events.request_id(event) or context.aws_request_id
        logger.set_correlation_id(request_id)
        try:
            answer = self._answer(event, context, request_id)
        except Exception as error:  # noqa: BLE001  the one place where errors become statuses
            answer = problems.answer(error, request_id)
        finally:
            telemetry.flush()
        route_key = event.get("routeKey") if isinstance(event, dict) else None
        logger.info("answered", route=route_key, status=answer["statusCode"])
        return answer | {"body": ""} if events.method(event) == "HEAD" else answer

    def _answer(self, event: Any, context: Any, request_id: str) -> dict[str, Any]:
        if problem := events.api_problem(event):
            raise UnknownEvent(f"this function answers HTTP API events: {problem}")
        route = self._find(event)
        caller = caller_of(event) if route.roles else None
        route.check(caller)
        path = http_input.path_of(event, route.path)
        raw = http_input.body_of(event, route.limit)
        http_input.check_query(event)
        query = None
        if route.query or route.roles:  # links that others make to public pages carry parameters of their own
            query = http_input.query_of(event, route.query or _NoQuery)
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        request: Request[Any] = Request(
            body=http_input.json_of(raw, headers.get("content-type", ""), route.body) if route.body else None,
            query=query,
            raw=raw,
            path=path,
            headers=headers,
            request_id=request_id,
            time_left=context.get_remaining_time_in_millis,
            route_key=route.key,
            caller_or_none=caller,
            domain=event["requestContext"].get("domainName") or "",
            query_string=event.get("rawQueryString") or "",
        )
        result = route.handler(request)
        response = result if isinstance(result, Response) else Response(result)
        return _serialise(response, route.status)

    def _find(self, event: dict[str, Any]) -> Route:
        """Return the route that the gateway's key means. HEAD is GET; its body is dropped at the end.

        Raises:
            NotFound: none. The gateway's `$default` and the paths below `SLASH` come here too.
        """
        path = event["routeKey"].partition(" ")[2]
        if path.endswith(SLASH) and not (event.get("pathParameters") or {}).get("proxy"):
            path = path.removesuffix(SLASH)
        method = events.method(event)
        route = self.routes.get(f"{'GET' if method == 'HEAD' else method} {path}")
        if route is None:
            raise NotFound("no such route; GET /openapi.json lists them")
        return route


class _NoQuery(Query):
    """No parameters at all."""


def _serialise(response: Response, status: int) -> dict[str, Any]:
    headers = {"content-type": "application/json", "cache-control": "no-store", **response.headers}
    model = response.model
    if isinstance(model, BaseModel):
        body = model.model_dump_json(by_alias=True)
    elif isinstance(model, bytes):
        body = model.decode()
    else:
        body = model or ""
    return {"statusCode": int(response.status or status), "headers": headers, "body": body}
