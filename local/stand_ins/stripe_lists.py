"""Stripe's lists and searches: newest first, page by page."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from local.stand_ins.stripe_rules import StripeError, nested
from local.stand_ins.stub_response import StubResponse

DEFAULT_LIMIT, MAX_LIMIT = 10, 100
PAGING = frozenset(["limit", "starting_after", "created"])
_QUERY = re.compile(r"metadata\['(\w+)'\]:'([^']*)'")


def page(path: str, query: str, objects: Iterable[dict[str, Any]], filters: Collection[str] = ()) -> StubResponse:
    """Answer a list.

    Args:
        path: its address.
        query: the request's.
        objects: everything, oldest first.
        filters: parameters that name a field which must be equal.

    Raises:
        StripeError: a parameter is unknown or wrong.
    """
    params = nested(query)
    for name in params:
        if name not in PAGING and name not in filters:
            raise StripeError(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
    since = int(params.get("created", {}).get("gte", 0))
    wanted = [
        one
        for one in reversed(list(objects))
        if one["created"] >= since and all(one[name] == params[name] for name in filters if name in params)
    ]
    if after := params.get("starting_after"):
        ids = [one["id"] for one in wanted]
        if after not in ids:
            raise StripeError(f"No such object: '{after}'", code="resource_missing", param="starting_after")
        wanted = wanted[ids.index(after) + 1 :]
    limit = int(params.get("limit", DEFAULT_LIMIT))
    if not 1 <= limit <= MAX_LIMIT:
        raise StripeError("Invalid limit: must be from 1 to 100", code="parameter_invalid_integer", param="limit")
    return StubResponse(200, {"object": "list", "data": wanted[:limit], "has_more": len(wanted) > limit, "url": path})


def search(path: str, query: str, objects: Iterable[dict[str, Any]]) -> StubResponse:
    """Answer a search by one entry of the metadata, which is as much of Stripe's query language as is known here.

    Raises:
        StripeError: it is another query.
    """
    asked = _QUERY.fullmatch(nested(query).get("query", ""))
    if asked is None:
        raise StripeError("We were unable to parse your search query.", param="query")
    name, value = asked.groups()
    found = [one for one in reversed(list(objects)) if one["metadata"].get(name) == value]
    return StubResponse(
        200, {"object": "search_result", "data": found, "has_more": False, "next_page": None, "url": path}
    )
