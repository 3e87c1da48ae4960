"""How leads are stored: each value as its item and back.

    LEAD#<id>               L                   the lead
    LEAD#<id>               T#<time>#<chance>   its trail
    DAY#<owner>#<date>      HDR                 the day: state, window, figures
    DAY#<owner>#<date>      E#<place>#<lead>    an entry of its queue, in the order of sending
    REACH#<hmac>            R                   whose lead a phone or a WhatsApp id is
    REF#user|client|project <id>                what leads refer to; of a user his settings
    IMPORT#<id>             I                   an import, until its time to live

Index attributes, which leads alone have:

    eligible    eligible, eligible_place   leads that may be queued: gone while queued, taken, written to, opted out
    by_owner    owner_id, pk               lists
    by_client   client_id, pk              lists

An attribute that has its default value is left out, except `version`. Attributes that another version wrote stay: a
change sets what it changes. `v` is the version of a row's format; a row of a newer one is left alone.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from adbot_queue.core.clock import iso
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.errors import Unavailable
from adbot_queue.leads.model import Day, Entry, EntryKey, Lead
from adbot_queue.leads.references import Client, Project, ReferenceKind
from adbot_queue.leads.settings import LeadSettings

ROW_VERSION = 1
TEMPLATES = "TEMPLATE"
"""Partition of the templates."""
PLACES = 6
"""Digits of an entry's place."""

Kind = TypeVar("Kind")


class UnreadableRow(Unavailable):
    """A row that this version cannot read. Names what is wrong, never a value."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"this version cannot read {key}: {problem}")


class Row(Generic[Kind]):
    """How values of one dataclass are rows.

    Args:
        kind: the dataclass.
        key: the key of a value's row.
        named: what the key says of it, read back; those fields are no attributes.
        index: attributes of indexes.
    """

    def __init__(
        self,
        kind: type[Kind],
        key: Callable[[Kind], Item],
        named: Callable[[Item], dict[str, Any]],
        index: Callable[[Kind], Item] = lambda _: {},
    ) -> None:
        self._kind = kind
        self.key = key
        self._named = named
        self._index = index
        self._defaults: dict[str, Any] | None = None
        self._adapter: TypeAdapter[Kind] | None = None

    def item(self, value: Kind) -> Item:
        """Return the row of a value."""
        return self.key(value) | {"v": ROW_VERSION} | self._attributes(value, self._fields())

    def difference(self, before: Kind, after: Kind) -> tuple[str, dict[str, Any]]:
        """Return the update from one version of a value to the next, and its values."""
        names = [name for name in self._fields() if getattr(before, name) != getattr(after, name)]
        old, new = self._attributes(before, names), self._attributes(after, names)
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        gone = [name for name in old if name not in new]
        parts = [f"SET {', '.join(f'#{name} = :new_{name}' for name in changed)}"] if changed else []
        parts += [f"REMOVE {', '.join(f'#{name}' for name in gone)}"] if gone else []
        return " ".join(parts), {f"new_{name}": value for name, value in changed.items()}

    def read(self, item: Item) -> Kind:
        """Return the value in a row.

        Raises:
            UnreadableRow: an attribute is missing or is not what this version takes it for; a newer version's row.
        """
        shown = f"{item['pk'].partition('#')[0]} row"
        if item.get("v", ROW_VERSION) > ROW_VERSION:
            raise UnreadableRow(shown, f"its version is above {ROW_VERSION}")
        self._adapter = self._adapter or TypeAdapter(self._kind)
        try:
            return self._adapter.validate_python(item | self._named(item))
        except (ValidationError, ValueError) as error:
            places = [".".join(map(str, one["loc"])) for one in getattr(error, "errors", list)()] or ["key"]
            raise UnreadableRow(shown, f"attribute {places[0]}") from error

    def _fields(self) -> dict[str, Any]:
        """Return the fields that are attributes, with their default values."""
        if self._defaults is None:  # asking a dataclass for its fields each time takes longer than all the rest
            self._defaults = {
                spec.name: spec.default if spec.default_factory is MISSING else spec.default_factory()
                for spec in fields(self._kind)  # type: ignore[arg-type]
                if spec.name not in _NO_ATTRIBUTES.get(self._kind, ())
            }
        return self._defaults

    def _attributes(self, value: Kind, names: Iterable[str]) -> Item:
        """Return these fields as attributes, and the attributes of indexes."""
        found: Item = dict(self._index(value))
        for name in names:
            held = getattr(value, name)
            if name == "version" or (held is not None and held != self._fields()[name]):
                found[name] = _stored(held)
        return found


def _stored(value: Any) -> Any:
    """Return a value as DynamoDB takes it; of a dataclass within, the fields that have no default value."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return {name: _stored(held) for name, held in value.items()}
    if is_dataclass(value):
        return {
            spec.name: _stored(held) for spec in fields(value) if (held := getattr(value, spec.name)) != spec.default
        }
    return value


_NO_ATTRIBUTES: dict[type, tuple[str, ...]] = {
    Lead: ("id",),
    Entry: ("key",),
    Day: ("owner_id", "date", "counts"),
    LeadSettings: ("user_id",),
    Client: ("id",),
    Project: ("id",),
}


def lead_key(lead_id: str) -> Item:
    """Return the key of a lead."""
    return {"pk": f"LEAD#{lead_id}", "sk": "L"}


def day_key(owner_id: str, date: str) -> Item:
    """Return the key of a day's header."""
    return {"pk": f"DAY#{owner_id}#{date}", "sk": "HDR"}


def entry_key(key: EntryKey) -> Item:
    """Return the key of an entry."""
    return {"pk": f"DAY#{key.owner_id}#{key.date}", "sk": f"E#{key.place:0{PLACES}d}#{key.lead_id}"}


def reach_key(address_key: bytes, address: str) -> Item:
    """Return the key of what is known of a phone or a WhatsApp id, which the key does not give away."""
    digest = hmac.new(address_key, f"whatsapp\x1f{address}".encode(), hashlib.sha256).hexdigest()[:32]
    return {"pk": f"REACH#{digest}", "sk": "R"}


def reference_key(kind: ReferenceKind, reference_id: str) -> Item:
    """Return the key of what leads refer to."""
    return {"pk": f"REF#{kind}", "sk": reference_id}


def trail_key(lead_id: str, now: int, place: int) -> Item:
    """Return a new key in a lead's trail; `place` orders what one transaction writes."""
    return {"pk": f"LEAD#{lead_id}", "sk": f"T#{iso(now)}#{place:03d}{secrets.token_hex(4)}"}


def template_key(content_sid: str) -> Item:
    """Return the key of a template."""
    return {"pk": TEMPLATES, "sk": content_sid}


def import_key(import_id: str) -> Item:
    """Return the key of an import."""
    return {"pk": f"IMPORT#{import_id}", "sk": "I"}


def _lead_index(lead: Lead) -> Item:
    place = lead.eligible_place
    return {"eligible": lead.owner_id, "eligible_place": place} if place else {}


def _entry_named(item: Item) -> dict[str, Any]:
    owner_id, _, date = item["pk"].removeprefix("DAY#").rpartition("#")
    _, place, lead_id = item["sk"].split("#", 2)
    return {"key": (owner_id, date, int(place), lead_id)}


def _day_named(item: Item) -> dict[str, Any]:
    owner_id, _, date = item["pk"].removeprefix("DAY#").rpartition("#")
    counts = {name.removeprefix("n_"): number for name, number in item.items() if name.startswith("n_")}
    return {"owner_id": owner_id, "date": date, "counts": counts}


LEADS = Row(
    Lead,
    lambda lead: lead_key(lead.id),
    lambda item: {"id": item["pk"].removeprefix("LEAD#")},
    _lead_index,
)
ENTRIES = Row(Entry, lambda entry: entry_key(entry.key), _entry_named)
USERS = Row(
    LeadSettings,
    lambda user: reference_key(ReferenceKind.USER, user.user_id),
    lambda item: {"user_id": item["sk"]},
)
CLIENTS = Row(Client, lambda client: reference_key(ReferenceKind.CLIENT, client.id), lambda item: {"id": item["sk"]})
PROJECTS = Row(
    Project, lambda project: reference_key(ReferenceKind.PROJECT, project.id), lambda item: {"id": item["sk"]}
)
DAYS = Row(Day, lambda day: day_key(day.owner_id, day.date), _day_named)
