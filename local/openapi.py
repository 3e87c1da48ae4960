"""Write the API document, its table and the routes of the template from the routes that the functions declare.

python -m local.openapi           write functions/system/openapi.json, docs/reference/api.md, infra/template.yaml,
                                  and what the console's page /docs and its help show
python -m local.openapi --check   exit 1 if they are not up to date

Neither accepts a document that breaks a rule of `local.openapi_rules`.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from adbot_queue.core.callers import SCOPES
from adbot_queue.core.errors import (
    AppError,
    Forbidden,
    Internal,
    Invalid,
    Malformed,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from adbot_queue.core.http import Api, Route
from adbot_queue.jobs import job_types
from adbot_queue.jobs.api.schemas import EnqueueJob
from adbot_queue.jobs.job_types import JobType
from local.guide import guide
from local.openapi_rules import violations
from local.reference import reference
from local.routes import TEMPLATE, with_routes

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "functions" / "system" / "openapi.json"
TABLE = ROOT / "docs" / "reference" / "api.md"
PAGE = ROOT / "layers" / "common" / "adbot_queue" / "console" / "reference.json"
GUIDE = PAGE.with_name("guide.json")
GUIDE_SOURCE = TABLE.with_name("console.md")
REF = "#/components/schemas/{model}"


def all_routes() -> dict[str, tuple[str, Route]]:
    """Every declared route: its key -> the function that has it, the route."""
    found: dict[str, tuple[str, Route]] = {}
    for path in sorted(ROOT.glob("functions/*/app.py")):
        api = getattr(load_app(path), "api", None)
        if isinstance(api, Api):
            found |= {key: (path.parent.name, route) for key, route in api.routes.items()}
    return found


def load_app(path: Path) -> Any:
    """A function's module; they are all named `app`, so each is loaded under its folder's name."""
    spec = importlib.util.spec_from_file_location(f"functions_{path.parent.name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TAGS = {
    "Bots": "Bots that customers bought or operators created",
    "Orders": "Orders, and those that need a decision",
    "Plans and checkout": "What is for sale, and paying for it",
    "Stock": "Sessions and their pools",
    "Bot queue": "Bots waiting for sessions, and their allocation",
    "Jobs": "Background jobs",
    "Queues": "Queues of jobs: figures, pause, clean",
    "Schedules": "Jobs at recurring times",
    "Dead letters": "Jobs that need a decision: groups, replay, discard",
    "Leads": "People to be won over WhatsApp: leads, the queue of a day, figures",
    "Messages": "Mails and text messages: deliveries and suppressions",
    "Push notifications": "Browsers of the caller",
    "One-time codes": "Codes sent to phones",
    "Analytics": "Tracked events and articles",
    "Reports": "Generated files",
    "Webhooks": "Called by providers, authenticated by signature",
    "Ledger": "Who changed what, when and why",
    "System": "Mode, health, figures, call logs",
}
"""Chapter of the document -> what is in it, in the order of their appearance."""


def document(routes: list[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these routes.

    Raises:
        ValueError: two models have one name.
    """
    schemas = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    for name in {_name(route.query) for route in routes if route.query}:
        del schemas[name]  # spread into parameters
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AdBot Queue",
            "version": "1",
            "description": "Paid orders become bots, first in, first out.",
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM, "FieldError": FIELD_ERROR, **schemas},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


class _WithoutFieldTitles(GenerateJsonSchema):
    """Pydantic titles the field `job_id` "Job Id", which adds nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def _schemas(routes: list[Route]) -> dict[str, Any]:
    """Return every model, and what it refers to, by name. Pydantic puts module paths into names that are not unique."""
    inputs = {model for route in routes for model in (route.body, route.query) if model}
    types = job_types.public() if EnqueueJob in inputs else []
    inputs |= {known.payload for known in types}
    outputs = {model for route in routes if (model := route.returns)}
    _, made = models_json_schema(
        [(model, "validation") for model in sorted(inputs, key=_name)]
        + [(model, "serialization") for model in sorted(outputs, key=_name)],
        ref_template=REF,
        schema_generator=_WithoutFieldTitles,
    )
    found: dict[str, Any] = made["$defs"]
    if doubled := sorted(name for name in found if "__" in name):
        raise ValueError(f"models of one name, or one model taken and returned: {', '.join(doubled)}")
    return found | _enqueue_by_type(found, types)


def _enqueue_by_type(schemas: dict[str, Any], types: list[JobType]) -> dict[str, Any]:
    """Return the request to enqueue a job, one schema per job type: its payload is the type's."""
    if not types:
        return {}
    any_job = schemas[EnqueueJob.__name__]
    made: dict[str, Any] = {}
    mapping: dict[str, str] = {}
    for known in types:
        name = "Enqueue" + "".join(word.title() for word in known.name.split("-"))
        of_type = {"type": "string", "enum": [known.name]}
        payload = {"$ref": REF.format(model=_name(known.payload))}
        made[name] = {
            **any_job,
            "title": name,
            "description": f"A job of type {known.name}",
            "properties": {**any_job["properties"], "type": of_type, "payload": payload},
            "required": ["type", "payload"],
        }
        mapping[known.name] = REF.format(model=name)
    choice = {
        "title": any_job["title"],
        "description": any_job["description"],
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }
    return made | {EnqueueJob.__name__: choice}


FIELD_ERROR: dict[str, Any] = {
    "title": "FieldError",
    "type": "object",
    "description": "What is wrong with one field, and what is allowed",
    "required": ["field", "message"],
    "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
}

PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "description": "RFC 9457 problem document, sent as application/problem+json with `type`, `title`, `status`, "
    "`detail` and `request_id`. API Gateway's own answers (application/json) have `message` alone.",
    "properties": {
        "type": {"type": "string", "description": "urn:adbot-queue:problem:<name>, a stable name"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, in one sentence"},
        "request_id": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": REF.format(model="FieldError")}},
        "message": {"type": "string", "description": "API Gateway's own answers only"},
    },
    "required": [],
    "dependentRequired": {"type": ["title", "status", "detail", "request_id"]},
    "minProperties": 1,
    "additionalProperties": True,
}


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def operation_id(route: Route) -> str:
    """Return the handler's name in camel case."""
    first, *words = route.handler.__name__.split("_")
    return first + "".join(word.title() for word in words)


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id(route),
        "tags": [route.tag],
        "summary": route.summary,
        "description": inspect.getdoc(route.handler) or "",
        "parameters": _parameters(route, schemas),
        "responses": _responses(route),
        "security": [{"bearer": []}] if route.roles else [],
    }
    if route.roles:
        operation["x-roles"] = sorted(route.roles)
    if route.scope:
        operation["x-scope"] = SCOPES + route.scope
    if route.body:
        needed = any(field.is_required() for field in route.body.model_fields.values())
        schema = {"$ref": REF.format(model=_name(route.body))}
        operation["requestBody"] = {"required": needed, "content": {"application/json": {"schema": schema}}}
    elif route.raw:
        content = {media: {"schema": schema} for media, schema in route.raw.items()}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(route: Route, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    if route.query:
        query = schemas[_name(route.query)]
        for name, declared in query["properties"].items():
            required = name in query.get("required", ())
            found.append({"name": name, "in": "query", "required": required, "schema": _without_null(declared)})
    if route.method != "GET" and route.roles:
        key = {"type": "string", "minLength": 1, "maxLength": 255}
        found.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": key})
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a query parameter's schema: a parameter is left out, never null."""
    options: list[dict[str, Any]] = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf" and (name, value) != ("default", None)}
    if len(options) == 1:
        return options[0] | rest
    return rest | {"anyOf": options} if options else rest


def _responses(route: Route) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status in (route.status, *route.also):
        content = {route.produces: {"schema": _good(route, status)}} if status != HTTPStatus.NO_CONTENT else {}
        answers[str(int(status))] = {"description": HTTPStatus(status).phrase, "content": content}
    problem = {"schema": {"$ref": REF.format(model="Problem")}}
    by_status: dict[HTTPStatus, list[str]] = {}
    for error in _problems(route):
        if error.slug not in (slugs := by_status.setdefault(error.status, [])):
            slugs.append(error.slug)
    for status, slugs in by_status.items():
        media = ["application/problem+json", *(["application/json"] if status in BY_GATEWAY else [])]
        named = ", ".join(f"`{slug}`" for slug in sorted(slugs))
        answers.setdefault(
            str(int(status)), {"description": f"{status.phrase}: {named}", "content": dict.fromkeys(media, problem)}
        )
    return dict(sorted(answers.items()))


def _good(route: Route, status: int) -> dict[str, Any]:
    if route.returns is None:
        return {"type": "string"}
    model: dict[str, Any] = {"$ref": REF.format(model=_name(route.returns))}
    if status < HTTPStatus.BAD_REQUEST:
        return model
    return {"anyOf": [model, {"$ref": REF.format(model="Problem")}]}


BY_GATEWAY = {
    HTTPStatus.UNAUTHORIZED,  # no token, or a bad one
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,  # 10 MB
    HTTPStatus.TOO_MANY_REQUESTS,  # the throttle of the route
    HTTPStatus.INTERNAL_SERVER_ERROR,  # the function failed
    HTTPStatus.SERVICE_UNAVAILABLE,  # the function was throttled or timed out
}
"""Statuses that API Gateway itself may answer with, in its own words."""


def _problems(route: Route) -> list[type[AppError]]:
    """Return the problems that a route may answer with: those it declares, and those that any such route may."""
    found: list[type[AppError]] = [Malformed, RateLimited, Internal, Unavailable, *route.raises]
    if route.roles:
        found += [Unauthenticated, Forbidden]
    if route.roles or route.body or route.query or route.raw:
        found += [Invalid]  # an unknown query parameter is refused wherever a token is needed
    if "{" in route.path:
        found += [NotFound]  # an id longer than any
    if route.method != "GET":
        found += [TooLarge]
    return found


def _may_call(route: Route) -> str:
    return ", ".join([*sorted(route.roles), *([f"`{route.scope}`"] if route.scope else [])]) or "public"


def table(routes: dict[str, tuple[str, Route]]) -> str:
    """Return the routes as Markdown, a table for each chapter."""
    lines = [
        "# HTTP API",
        "",
        "Generated by `make docs` from the routes that `functions/*/app.py` declare. In full: `GET /openapi.json`.",
        "`openapi-python-client` and `@hey-api/openapi-ts` generate clients from it: one call per operation.",
        "`HEAD` and a trailing slash work on every `GET` route.",
        "",
        "People call with an access token of the user pool and have the roles of its groups; one in no group is a",
        "`customer`. Machines call with a token of client credentials; they have its scopes (`adbot-queue/jobs.write`)",
        "and no role.",
    ]
    for tag, text in TAGS.items():
        lines += ["", f"## {tag}", "", f"{text}.", ""]
        lines += ["| route | operation | roles, scope | status | what it does | function |", "|" + "---|" * 6]
        lines += [
            f"| `{key}` | `{operation_id(route)}` | {_may_call(route)} "
            f"| {int(route.status)} | {route.summary} | `{function}` |"
            for key, (function, route) in sorted(routes.items(), key=lambda entry: (entry[1][1].path, entry[0]))
            if route.tag == tag
        ]
    return "\n".join([*lines, ""])


def main() -> int:
    """Write the files, or check them."""
    routes = all_routes()
    made = document([route for _, (_, route) in sorted(routes.items())])
    if broken := violations(made):
        print(*broken, sep="\n")
        return 1
    wanted = {
        DOCUMENT: json.dumps(made, indent=1, sort_keys=True) + "\n",
        TABLE: table(routes),
        PAGE: json.dumps(reference(made), ensure_ascii=False, separators=(",", ":")) + "\n",
        GUIDE: json.dumps(guide(GUIDE_SOURCE.read_text()), ensure_ascii=False, indent=1) + "\n",
        TEMPLATE: with_routes(TEMPLATE.read_text(), routes),
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not up to date: run `make docs`")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
