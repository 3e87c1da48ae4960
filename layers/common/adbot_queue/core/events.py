"""The shapes of the events that AWS invokes functions with. Pure, but for the metric of what is ignored.

Anyone who may invoke a function can send it anything: the console's test event, a warm-up, an event of another source
or of another payload format. An API function answers such an event with a problem document; every other function
ignores it, says so in its answer and in the log, and counts it (`EventsIgnored`). A message of a queue that points to
nothing is dropped: logged, and counted with an alarm (`MessagesDropped`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

from adbot_queue.core import telemetry, text
from adbot_queue.core.telemetry import logger

TICKS = "ticks of its schedule"

_CLOCKS = {"aws.scheduler", "aws.events"}


def api_problem(event: Any) -> str | None:
    """Why an event is no HTTP API event in payload format 2.0; None: it is one."""
    if not isinstance(event, dict):
        return "the event must be a JSON object"
    if "httpMethod" in event or event.get("version", "2.0") != "2.0":
        return "the event must be in payload format 2.0, not 1.0"
    return next(
        (f"{name}: must be {kind}" for name, (kind, fits) in _PARTS.items() if not fits(_at(event, name))), None
    )


def request_id(event: Any) -> str | None:
    """API Gateway's id of a request, if the event is one."""
    return None if api_problem(event) else _at(event, "requestContext.requestId")


def method(event: Any) -> str:
    """The HTTP method of an HTTP API event; empty: it is none, or its route is `$default`."""
    if api_problem(event):
        return ""
    keyed = str(event["routeKey"]).partition(" ")[0]
    return str(_at(event, "requestContext.http.method") or "") if keyed == "ANY" else keyed


def _at(event: dict[str, Any], name: str) -> Any:
    """Return what is at `outer.inner`; None: nothing."""
    found: Any = event
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def is_text(value: Any) -> TypeGuard[str]:
    """Whether it is a text that can be written down."""
    return isinstance(value, str) and not text.has_lone_surrogate(value)


def _is_text_if_any(value: Any) -> bool:
    return value is None or is_text(value)


def _is_table_if_any(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(isinstance(one, str) for one in value.values()))


def _are_headers_if_any(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(map(is_text, value.values())))


_PARTS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "routeKey": ("a text, as in an HTTP API event", is_text),
    "requestContext": ("an object, as in an HTTP API event", lambda value: isinstance(value, dict)),
    "requestContext.requestId": ("a text", _is_text_if_any),
    "requestContext.domainName": ("a text", _is_text_if_any),
    "rawPath": ("a text", _is_text_if_any),
    "rawQueryString": ("a text", _is_text_if_any),
    "headers": ("an object of texts", _are_headers_if_any),
    # Whether these are UTF-8 is checked where they are read (`core.text`).
    "queryStringParameters": ("an object of texts", _is_table_if_any),
    "pathParameters": ("an object of texts", _is_table_if_any),
    "body": ("a text", lambda value: value is None or isinstance(value, str)),
}


def is_tick(event: Any) -> bool:
    """Whether a schedule rings: an event of EventBridge, or an empty one, by which an operator runs the function."""
    return isinstance(event, dict) and (not event or event.get("source") in _CLOCKS)


def messages_of(event: Any, *, attributes: tuple[str, ...] = ()) -> list[dict[str, Any]] | None:
    """The messages of an SQS event that have what their consumer reads; None: it is no such event.

    Messages that lack it are dropped.

    Args:
        event: what Lambda was invoked with.
        attributes: system attributes that the consumer reads.
    """
    records = [one for one in _records(event) if isinstance(one.get("messageId"), str)]
    if not records and not _is_empty_batch(event):
        return None
    good = [
        record
        for record in records
        if isinstance(record.get("body"), str)
        and isinstance(record.get("attributes", {}), dict)
        and all(isinstance(record.get("attributes", {}).get(name), str) for name in attributes)
    ]
    drop([record["messageId"] for record in records if record not in good], "it lacks what the function reads")
    return good


def drop(message_ids: Sequence[str], why: str) -> None:
    """Report messages that point to nothing and are not delivered again (`MessagesDropped`, alarmed)."""
    if message_ids:
        logger.error("messages dropped", messages=list(message_ids), why=why)
        telemetry.count("MessagesDropped", len(message_ids))


def notifications_of(event: Any) -> list[dict[str, Any]] | None:
    """The messages of an SNS event, with `MessageId` and `Message`; None: it is no such event."""
    found = [record["Sns"] for record in _records(event) if isinstance(record.get("Sns"), dict)]
    whole = [one for one in found if is_text(one.get("MessageId")) and is_text(one.get("Message"))]
    return whole or None


def ignored(event: Any, expected: str) -> dict[str, Any]:
    """The answer to an event of another shape. Its content is not logged: it may hold anything.

    Args:
        event: what Lambda was invoked with.
        expected: what the function takes, as in "this function takes …".
    """
    shape = ", ".join(sorted(map(str, event))[:5])[:200] if isinstance(event, dict) else type(event).__name__
    logger.warning("event ignored", expected=expected, shape=shape)
    telemetry.count("EventsIgnored")
    telemetry.flush()
    return {"ignored": f"this function takes {expected}"}


def _records(event: Any) -> list[dict[str, Any]]:
    records = event.get("Records") if isinstance(event, dict) else None
    return [one for one in records if isinstance(one, dict)] if isinstance(records, list) else []


def _is_empty_batch(event: Any) -> bool:
    return isinstance(event, dict) and event.get("Records") == []


def nothing_done(event: Any, expected: str) -> dict[str, Any]:
    """The answer to an event without messages or records: nothing is to be delivered again."""
    return {**failed_answer([]), **ignored(event, expected)}


def failed_answer(ids: list[str]) -> dict[str, Any]:
    """The answer to a batch: these messages are to be delivered again."""
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in ids]}
