"""The routes of infra/template.yaml, generated between two marks from what the functions declare.

API Gateway matches a route by its exact key. So a GET route also gets HEAD, and `PATH/{proxy+}`, which matches
`PATH/`: API Gateway refuses a path that ends with a slash, and takes an empty rest for a match of `{proxy+}`
(https://github.com/storacha/w3infra/pull/166, https://github.com/aws/serverless-application-model/issues/1949).
`core.http` reads both as the GET route.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from adbot_queue.core.http import SLASH, Route
from local.settings import ROOT
from local.translate import load, unroll

TEMPLATE = ROOT / "infra" / "template.yaml"

_BEGIN, _END = "          # routes: begin\n", "          # routes: end\n"
_INDENT = " " * 10
_ANY = "x-amazon-apigateway-any-method"
_LAMBDA = "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/%s/invocations"


def with_routes(template: str, routes: Mapping[str, tuple[str, Route]]) -> str:
    """Return the template's text with these routes between the marks.

    Args:
        template: its text now.
        routes: route key -> folder of its function, its declaration.

    Raises:
        ValueError: the marks are missing, or a route's function is not in the template.
    """
    before, begin, rest = template.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("infra/template.yaml: the marks `# routes: begin` and `# routes: end` are missing")
    ids = _logical_ids(before + after)
    return "".join([before, begin, *(f"{_INDENT}{line}\n" for line in _paths(routes, ids)), end, after])


def _logical_ids(template: str) -> dict[str, str]:
    """Return the logical id of each function by its folder."""
    resources = unroll(load(template))["Resources"]
    return {
        resource["Properties"]["CodeUri"].rstrip("/").rsplit("/", 1)[-1]: name.removesuffix("Function")
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def _paths(routes: Mapping[str, tuple[str, Route]], ids: Mapping[str, str]) -> Iterable[str]:
    by_path: dict[str, dict[str, tuple[str, Route]]] = {}
    for folder, route in routes.values():
        by_path.setdefault(route.path, {})[route.method.lower()] = (folder, route)
    anchors: set[str] = set()

    def operation(folder: str, route: Route) -> str:
        if folder not in ids:
            raise ValueError(f"infra/template.yaml has no function with the code of functions/{folder}")
        anchor = f"{ids[folder]}{'' if route.roles else 'Public'}Route"
        if anchor in anchors:
            return f"*{anchor}"
        anchors.add(anchor)
        security = "security: [{Cognito: []}], " if route.roles else ""
        uri = _LAMBDA % f"${{{ids[folder]}Function.Arn}}"
        how = f'payloadFormatVersion: "2.0", uri: !Sub "{uri}", credentials: !GetAtt GatewayRole.Arn'
        integration = f"{{type: aws_proxy, httpMethod: POST, {how}}}"
        return f"&{anchor} {{{security}responses: {{}}, x-amazon-apigateway-integration: {integration}}}"

    for path, methods in sorted(by_path.items()):
        operations = {method: operation(*declared) for method, declared in sorted(methods.items())}
        if "get" in methods:
            operations["head"] = operation(*methods["get"])
        yield _line(path, operations)
        if "get" in methods:
            yield _line(path + SLASH, {_ANY: operation(*methods["get"])})


def _line(path: str, operations: Mapping[str, str]) -> str:
    written = ", ".join(f"{method}: {operation}" for method, operation in operations.items())
    return f'"{path}": {{{written}}}'
