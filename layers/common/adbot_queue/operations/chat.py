"""Alarms and new dead letters in a chat: a message of their topics becomes a job that posts `{"text": ...}`.

Slack, Mattermost, Google Chat and others take such posts at an address of their own, whose path is a secret. The post
is a job `http-request`, so a chat that is down gets it later, and its id is the message's: a message that SNS delivers
twice is one post.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from adbot_queue.core.errors import NotConfigured
from adbot_queue.core.settings import variable

MAX_TEXT = 3000
"""Characters of a post; what chats show of one without cutting it."""


class Chat:
    """One channel.

    Args:
        url: its address for posts.
        enqueue: takes payload and idempotency key of a job `http-request`; returns the job's id.
    """

    def __init__(self, url: str, enqueue: Callable[[dict[str, Any], str], str]) -> None:
        self._url = url
        self._enqueue = enqueue

    def post(self, notification: Mapping[str, Any]) -> str:
        """Enqueue the post of an SNS message; return the job's id. The same message again changes nothing.

        Raises:
            NotConfigured: there is no chat. Unavailable: the job is not enqueued.
        """
        if not self._url:
            raise NotConfigured("no chat is configured: set the AlarmChatUrl parameter")
        parts = urlsplit(self._url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        payload = {
            "url": f"{parts.scheme}://{parts.netloc}",
            "secret_path": path,
            "body": {"text": text_of(notification.get("Subject") or "", notification["Message"])},
        }
        return self._enqueue(payload, f"alert/{notification['MessageId']}")


def text_of(subject: str, message: str) -> str:
    """Return a post: of an alarm its state, name, description and reason, of any other message its subject and text.

    `&`, `<` and `>` are written as chats want them (https://docs.slack.dev/messaging/formatting-message-text).
    """
    alarm = _alarm(message)
    if alarm:
        said = [alarm.get("AlarmDescription"), alarm.get("NewStateReason")]
        lines = [f"{alarm['NewStateValue']}: {alarm['AlarmName']}", *(str(line) for line in said if line)]
    else:
        lines = [line for line in (subject, message) if line]
    text = "\n".join(lines)
    text = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 4]} ..."
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _alarm(message: str) -> dict[str, Any] | None:
    """Return what CloudWatch says of an alarm; None: the message is of something else."""
    try:
        found = json.loads(message)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"AlarmName", "NewStateValue"} <= found.keys() else None


def _enqueue(payload: dict[str, Any], key: str) -> str:
    from adbot_queue import ledger  # noqa: PLC0415  rare
    from adbot_queue.jobs import service  # noqa: PLC0415  as above

    return service.from_env().enqueue(service.JobRequest("http-request", payload, key=key), ledger.SYSTEM).job.id


@lru_cache(maxsize=1)
def from_env() -> Chat:
    """The chat of this installation."""
    return Chat(variable("ALARM_CHAT_URL"), _enqueue)
