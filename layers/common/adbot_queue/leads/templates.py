"""WhatsApp templates as Twilio knows them: read hourly and whenever automation starts, kept for everything between.

TEMPLATE   #       refreshed_at
TEMPLATE   HX…     a template with WhatsApp's status, and what failed with it since it was first read
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item, Table
from adbot_queue.core.settings import variable
from adbot_queue.core.telemetry import count, logger
from adbot_queue.leads.items import TEMPLATES
from adbot_queue.leads.items import template_key as _key
from adbot_queue.providers import twilio_content
from adbot_queue.providers.twilio_content import Template

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

APPROVED = "approved"
FRESH_MS = 10 * 60_000
"""A start of automation reads templates again that are older."""

_HEADER = "#"
_STATUS_OF = {63040: "rejected", 63041: "paused", 63042: "disabled"}
"""What a failed message says of its template, before Twilio's list does."""


@dataclass(frozen=True, slots=True)
class KnownTemplate:
    """A template, and what failed with it: how often, the latest code of Twilio and when (ms)."""

    template: Template
    failures: int = 0
    last_code: int | None = None
    last_failed_at: int | None = None

    @property
    def is_approved(self) -> bool:
        """Whether WhatsApp sends it."""
        return self.template.status == APPROVED


@dataclass(frozen=True, slots=True)
class TemplateList:
    """All templates by name, and when they were read (ms); None: never."""

    items: Sequence[KnownTemplate]
    refreshed_at: int | None


class Templates(Table):
    """The templates.

    Args:
        read: asks Twilio for all of them.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        now: Clock = system_clock,
        read: Callable[[], list[Template]] = twilio_content.templates,
    ) -> None:
        super().__init__(client, table, now)
        self._read = read

    def listed(self) -> TemplateList:
        """Return all templates."""
        rows = dynamodb.query(self.client, self.table, "pk = :pk", pk=TEMPLATES)
        known = [_known(row) for row in rows if row["sk"] != _HEADER]
        header = next((row for row in rows if row["sk"] == _HEADER), {})
        return TemplateList(sorted(known, key=lambda one: (one.template.name, one.template.sid)), _time(header))

    def get(self, content_sid: str) -> KnownTemplate | None:
        """Return a template, None if it is not known here."""
        row = dynamodb.get(self.client, self.table, _key(content_sid))
        return _known(row) if row else None

    def refresh(self) -> TemplateList:
        """Read all templates from Twilio and keep what changed.

        Raises:
            As `twilio_content.templates`; what is kept stays as it was.
        """
        began = self.now()
        current = {template.sid: template for template in self._read()}
        before = {one.template.sid: one for one in self.listed().items}
        for sid, template in current.items():
            known = before.get(sid, KnownTemplate(template))
            if sid not in before or known.template != template:
                self._put(replace(known, template=template))
                logger.info("template changed", content_sid=sid, status=template.status)
        for sid in before.keys() - current.keys():
            self.client.delete_item(TableName=self.table, Key=encode(_key(sid)))
        with suppress(ConditionFailed):
            dynamodb.put_if(
                self.client,
                self.table,
                {**_key(_HEADER), "refreshed_at": began},
                condition="attribute_not_exists(refreshed_at) OR refreshed_at < :began",
                began=began,
            )
        return self.listed()

    def fresh(self) -> TemplateList:
        """Return all templates, read from Twilio unless that was done within ten minutes. Raises as `refresh`."""
        known = self.listed()
        if known.refreshed_at is not None and self.now() - known.refreshed_at < FRESH_MS:
            return known
        return self.refresh()

    def failed(self, content_sid: str, code: int | None) -> None:
        """Note that a message failed because of its template; one that WhatsApp paused is paused here at once."""
        count("TemplateFailures")
        status = _STATUS_OF.get(code or 0)
        with suppress(ConditionFailed):
            dynamodb.update_if(
                self.client,
                self.table,
                _key(content_sid),
                "SET last_code = :code, last_failed_at = :now, failures = if_not_exists(failures, :none) + :one"
                + (", #status = :status" if status else ""),
                condition="attribute_exists(pk)",
                answer=False,
                code=code,
                now=self.now(),
                none=0,
                one=1,
                **({"status": status} if status else {}),
            )

    def _put(self, known: KnownTemplate) -> None:
        noted = {name: value for name, value in asdict(known).items() if name != "template" and value is not None}
        template = asdict(known.template) | {"variables": list(known.template.variables)}
        template.pop("sid")
        with suppress(ConditionFailed):  # a message has failed with it since it was read: the next refresh decides
            dynamodb.put_if(
                self.client,
                self.table,
                _key(known.template.sid) | template | noted,
                condition="attribute_not_exists(failures) OR failures <= :failures",
                failures=known.failures,
            )


def _known(row: Item) -> KnownTemplate:
    held = {spec.name: row.get(spec.name, "") for spec in fields(Template)}
    template = Template(**held | {"sid": row["sk"], "variables": tuple(row.get("variables", ()))})
    return KnownTemplate(template, row.get("failures", 0), row.get("last_code"), row.get("last_failed_at"))


def _time(header: Item) -> int | None:
    return header.get("refreshed_at")


@lru_cache(maxsize=1)
def from_env() -> Templates:
    """The templates of this process."""
    return Templates(aws.dynamodb(), variable("LEADS_TABLE"))
