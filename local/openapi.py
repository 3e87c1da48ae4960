"""Writes functions/system/openapi.json and docs/api.md from the routes that the functions declare.

python -m local.openapi           write both
python -m local.openapi --check   exit 1 when they are not up to date
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from adbot_queue.core.errors import (
    AppError,
    Forbidden,
    Invalid,
    Malformed,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from adbot_queue.core.http import Api, Route

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "functions" / "system" / "openapi.json"
TABLE = ROOT / "docs" / "api.md"
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


def document(routes: list[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes."""
    inputs = {model for route in routes if (model := route.body)}
    outputs = {model for route in routes if (model := route.returns)}
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(inputs, key=_name)]
        + [(model, "serialization") for model in sorted(outputs, key=_name)],
        ref_template=REF,
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "AdBot Queue",
            "version": "1",
            "description": "Paid orders become bots, first in, first out.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM, **schemas["$defs"]},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
    lost = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(made))) - made["components"]["schemas"].keys()
    if lost:
        raise ValueError(f"models of the same name as others: {', '.join(sorted(lost))}")
    return made


PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem document",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
    "additionalProperties": True,
}


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{route.path}".replace("/", "_").replace("{", "").replace("}", ""),
        "summary": route.summary,
        "description": (route.handler.__doc__ or "").strip(),
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    if route.roles:
        operation["security"] = [{"bearer": []}]
        operation["x-roles"] = sorted(route.roles)
    if route.body:
        schema = {"$ref": REF.format(model=_name(route.body))}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    elif route.raw:
        operation["requestBody"] = {"required": True, "content": {route.raw: {"schema": {"type": "string"}}}}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    if route.query:
        schema = route.query.model_json_schema(ref_template=REF)
        definitions = schema.get("$defs", {})
        for name, declared in schema["properties"].items():
            found.append({"name": name, "in": "query", "required": False, "schema": _inlined(declared, definitions)})
    if route.method != "GET" and route.roles:
        key = {"type": "string", "minLength": 1, "maxLength": 255}
        found.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": key})
    return found


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A parameter's schema without references: its definitions are not among the components."""
    if isinstance(schema, dict):
        if reference := schema.get("$ref"):
            return _inlined(definitions[reference.rsplit("/", 1)[-1]], definitions)
        return {name: _inlined(value, definitions) for name, value in schema.items()}
    return [_inlined(value, definitions) for value in schema] if isinstance(schema, list) else schema


def _responses(route: Route) -> dict[str, Any]:
    model = {"$ref": REF.format(model=_name(route.returns))} if route.returns else {"type": "object"}
    if route.produces.startswith("text/"):
        model = {"type": "string"}
    answers: dict[str, Any] = {
        str(int(status)): {
            "description": HTTPStatus(status).phrase,
            **({} if status == HTTPStatus.NO_CONTENT else {"content": {route.produces: {"schema": model}}}),
        }
        for status in (route.status, *route.also)
    }
    problems: list[type[AppError]] = [Unavailable, Malformed, *route.raises]  # any query may be no UTF-8
    if route.roles:
        problems += [Forbidden]
        # API Gateway itself refuses a missing or bad token, with a body of its own.
        answers["401"] = {"description": HTTPStatus(Unauthenticated.status).phrase}
    if route.body or route.query or route.raw or "{" in route.path:
        problems += [Invalid]
    if "{" in route.path:
        problems += [NotFound]  # an id that is too long for any
    if route.body or route.raw:
        problems += [TooLarge]
    for problem in problems:
        body = {"application/problem+json": {"schema": {"$ref": REF.format(model="Problem")}}}
        answers.setdefault(str(int(problem.status)), {"description": problem.status.phrase, "content": body})
    answers["429"] = {"description": "Too many requests: the route's throttle"}
    return dict(sorted(answers.items()))


def table(routes: dict[str, tuple[str, Route]]) -> str:
    """The routes as a Markdown table."""
    rows = [
        f"| `{key}` | {', '.join(sorted(route.roles)) or 'public'} "
        f"| {int(route.status)} | {route.summary} | `{function}` |"
        for key, (function, route) in sorted(routes.items(), key=lambda entry: (entry[1][1].path, entry[0]))
    ]
    head = [
        "# HTTP API",
        "",
        "Made by `make docs` from the routes that `functions/*/app.py` declare. In full: `GET /openapi.json`.",
        "",
        "| route | roles | status | what it does | function |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def main() -> int:
    """Write the files, or check them."""
    routes = all_routes()
    ordered = [route for _, route in (routes[key] for key in sorted(routes))]
    wanted = {
        DOCUMENT: json.dumps(document(ordered), indent=1, sort_keys=True) + "\n",
        TABLE: table(routes),
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
