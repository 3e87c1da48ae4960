"""The answer to each form, kept for a day: a repetition shows it and acts no second time.

    FORM#<session>#<key>   F   claimed_at, sent, answer, expires_at

A form's key is claimed before the action, so that two clicks at once act once. A claim without an answer is an action
that still runs, or whose process died: after `STUCK_MS` the form may act again. `sent` is the fingerprint of path and
fields: a key under which something else was sent gives neither its answer nor the right to act.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.console.request import Done, Undo
from adbot_queue.core import aws, dynamodb
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.dynamodb import ConditionFailed, Item, Table
from adbot_queue.core.errors import Conflict
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger

STUCK_MS = 30_000
ANSWER_TTL_S = 86_400


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to act for a form."""

    pk: str
    claimed_at: int
    sent: str


class Forms(Table):
    """Claims keys and keeps answers."""

    def claim(self, session: str, key: str, sent: str) -> Claim | Done:
        """Return the claim, or the answer that an earlier one left.

        Args:
            session: key of the session.
            key: of the form.
            sent: fingerprint of what is sent.

        Raises:
            Conflict: the same form is being handled at this moment, or something else was sent under its key.
        """
        now = self.now()
        claim = Claim(f"FORM#{session}#{key}", now, sent)
        condition = "attribute_not_exists(pk) OR (attribute_not_exists(answer) AND claimed_at < :stuck)"
        try:
            dynamodb.put_if(self.client, self.table, self._item(claim), condition=condition, stuck=now - STUCK_MS)
        except ConditionFailed as failed:
            found = failed.item or dynamodb.get(self.client, self.table, {"pk": claim.pk, "sk": "F"})
            if not found or "answer" not in found:
                raise Conflict("this form is being handled; its answer follows in a moment") from failed
            if found["sent"] != sent:
                text = "this form was sent before with other values and has acted; reload the page to send it anew"
                raise Conflict(text) from failed
            return _done(json.loads(found["answer"]))
        return claim

    def keep(self, claim: Claim, answer: Done) -> None:
        """Keep the answer of an action that succeeded; the person sees it even if it cannot be kept."""
        item = {**self._item(claim), "answer": json.dumps(_plain(answer))}
        try:
            self.client.put_item(TableName=self.table, Item=encode(item))
        except (ClientError, BotoCoreError):
            logger.exception("answer of a form not kept")

    def release(self, claim: Claim) -> None:
        """Let the form act again: its action was refused and changed nothing."""
        self.client.delete_item(TableName=self.table, Key=encode({"pk": claim.pk, "sk": "F"}))

    def answer(self, session: str, key: str) -> Done | None:
        """Return the answer that a form left; None: there is none."""
        found = dynamodb.get(self.client, self.table, {"pk": f"FORM#{session}#{key}", "sk": "F"})
        return _done(json.loads(found["answer"])) if found and "answer" in found else None

    def _item(self, claim: Claim) -> Item:
        expires_at = claim.claimed_at // 1000 + ANSWER_TTL_S
        return {"pk": claim.pk, "sk": "F", "claimed_at": claim.claimed_at, "sent": claim.sent, "expires_at": expires_at}


def _plain(answer: Done) -> dict[str, Any]:
    undo = [answer.undo.path, dict(answer.undo.fields)] if answer.undo else None
    return {"text": answer.text, "undo": undo, "back": answer.back, "open": answer.open}


def _done(plain: dict[str, Any]) -> Done:
    undo = Undo(*plain["undo"]) if plain["undo"] else None
    return Done(plain["text"], undo, plain["back"], plain["open"])


@lru_cache(maxsize=1)
def from_env() -> Forms:
    """The forms of this process."""
    return Forms(aws.dynamodb(), settings().system_table)
