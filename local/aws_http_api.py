"""What the embedded AWS lacks of HTTP APIs: the import of an API's OpenAPI body, and paths that end with a slash.

Its CloudFormation ignores `Body`; AWS makes routes, integrations and authorizers of it. AWS takes the empty rest of
`/metrics/` for a match of `/metrics/{proxy+}`; the embedded AWS wants a letter. Runs in `.venv-aws`.
"""

from __future__ import annotations

import json
from typing import Any

from ministack.services import apigateway as gateway
from ministack.services.cloudformation import provisioners

_KIND = "AWS::ApiGatewayV2::Api"
_ANY = "x-amazon-apigateway-any-method"
_REST = "/{proxy+}"


def install() -> None:
    """Patch this process."""
    _import_bodies()
    _match_empty_rest()


def _import_bodies() -> None:
    handlers = provisioners._RESOURCE_HANDLERS[_KIND]  # noqa: SLF001  there is no other door
    create, update = handlers["create"], handlers["update"]

    def created(logical_id: str, props: dict[str, Any], stack: str) -> Any:
        made = create(logical_id, _named(props), stack)
        import_body(made[0], props.get("Body"))
        return made

    def updated(physical_id: str, old: Any, new: dict[str, Any], stack: str, logical_id: str | None = None) -> Any:
        made = update(physical_id, _named(old), _named(new), stack, logical_id)
        import_body(made[0], new.get("Body"))
        return made

    handlers |= {"create": created, "update": updated}


def _named(props: dict[str, Any]) -> dict[str, Any]:
    """AWS takes the API's name from its body."""
    return {"Name": props["Body"]["info"]["title"], **props} if props.get("Body") else props


def import_body(api_id: str, body: dict[str, Any] | None) -> None:
    """Make the routes, integrations and authorizers of an API those of its OpenAPI body, and no others."""
    if not body:
        return
    schemes = body.get("components", {}).get("securitySchemes", {})
    authorizers = {name: _authorizer(api_id, name, scheme) for name, scheme in schemes.items()}
    gateway._authorizers[api_id] = {made["authorizerId"]: made for made in authorizers.values()}  # noqa: SLF001
    gateway._routes[api_id], gateway._integrations[api_id] = {}, {}  # noqa: SLF001
    made: dict[str, str] = {}
    for path, operations in body["paths"].items():
        for method, operation in operations.items():
            integration = operation["x-amazon-apigateway-integration"]
            wanted = json.dumps(integration, sort_keys=True)
            if wanted not in made:
                made[wanted] = _integration(api_id, integration)
            route: dict[str, Any] = {"routeKey": _key(method, path), "target": f"integrations/{made[wanted]}"}
            for scheme in (name for requirement in operation.get("security", []) for name in requirement):
                route |= {"authorizationType": "JWT", "authorizerId": authorizers[scheme]["authorizerId"]}
            _answer(gateway._create_route(api_id, route))  # noqa: SLF001


def _key(method: str, path: str) -> str:
    if path == "/$default":
        return "$default"
    return f"{'ANY' if method == _ANY else method.upper()} {path}"


def _authorizer(api_id: str, name: str, scheme: dict[str, Any]) -> dict[str, Any]:
    declared = scheme["x-amazon-apigateway-authorizer"]
    wanted = {
        "name": name,
        "identitySource": [declared["identitySource"]],
        "jwtConfiguration": declared["jwtConfiguration"],
    }
    return _answer(gateway._create_authorizer(api_id, wanted))  # noqa: SLF001


def _integration(api_id: str, declared: dict[str, Any]) -> str:
    wanted = {
        "integrationType": declared["type"].upper(),
        "integrationMethod": declared["httpMethod"],
        "integrationUri": declared["uri"],
        "payloadFormatVersion": declared["payloadFormatVersion"],
        "credentialsArn": declared["credentials"],
    }
    return str(_answer(gateway._create_integration(api_id, wanted))["integrationId"])  # noqa: SLF001


def _answer(response: Any) -> dict[str, Any]:
    status, _headers, body = response
    answer: dict[str, Any] = json.loads(body)
    if status >= 400:
        raise ValueError(f"{_KIND}: {answer}")
    return answer


def _match_empty_rest() -> None:
    extract = gateway._extract_path_params  # noqa: SLF001  there is no other door

    def extracted(route_path: str, request_path: str) -> dict[str, str] | None:
        found: dict[str, str] | None = extract(route_path, request_path)
        if found is None and route_path.endswith(_REST) and request_path.endswith("/"):
            found = extract(route_path.removesuffix(_REST), request_path[:-1])
            return None if found is None else {**found, "proxy": ""}
        return found

    gateway._extract_path_params = extracted  # noqa: SLF001
