"""Access patterns of the Leads table: what is read. `writer` is how it is written, `items` how it lies there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item, Table, Transaction
from adbot_queue.core.settings import variable
from adbot_queue.core.telemetry import count, logger
from adbot_queue.leads import items
from adbot_queue.leads.items import CLIENTS, DAYS, ENTRIES, LEADS, PROJECTS, USERS, Row, UnreadableRow
from adbot_queue.leads.model import SENDABLE, Day, Entry, EntryKey, EntryState, Lead
from adbot_queue.leads.references import Client, Project, ReferenceKind
from adbot_queue.leads.settings import MAX_CAPACITY, LeadSettings
from adbot_queue.leads.writer import Writer
from adbot_queue.messaging.suppressions import address_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


Kind = TypeVar("Kind")


COUNT_PAGE_SIZE, MAX_COUNT_PAGES = 2_000, 3
"""What `count_eligible` reads: a count costs as much as a read."""


class Holder(NamedTuple):
    """Who has a person: the leads and owners of a phone or a WhatsApp id, and whether it opted out."""

    lead_ids: frozenset[str]
    owners: frozenset[str]
    opted_out: bool

    def refuses(self, owner_id: str, *, exclusive: bool) -> bool:
        """Return whether the person cannot become a lead of an owner: his own, or of an exclusive owner any."""
        return owner_id in self.owners or (exclusive and bool(self.owners))


class Case(NamedTuple):
    """An entry, its lead and its day, as far as they exist."""

    entry: Entry | None
    lead: Lead | None
    day: Day | None


class LeadStore(Table):
    """Reads, all strong but for lists and `candidates`, which follow an index.

    Args:
        key: under which addresses are hashed; asked for when one is looked up.
    """

    def __init__(self, client: DynamoDBClient, table: str, key: Callable[[], bytes], now: Clock = system_clock) -> None:
        super().__init__(client, table, now)
        self._key = key

    def writer(self, transaction: Transaction | None = None) -> Writer:
        """Return the collector of one transaction."""
        return Writer(self, self.reach_key, transaction)

    def reach_key(self, address: str) -> Item:
        """Return the key of what is known of a phone or a WhatsApp id."""
        return items.reach_key(self._key(), address)

    # Leads

    def lead(self, lead_id: str) -> Lead | None:
        """Read a lead.

        Raises:
            UnreadableRow: another version wrote it.
        """
        return self._get(LEADS, items.lead_key(lead_id))

    def leads(self, lead_ids: Iterable[str]) -> dict[str, Lead]:
        """Read the leads that exist, by id, 100 a call; what cannot be read is logged, counted and left out."""
        found = dynamodb.get_many(self.client, self.table, map(items.lead_key, lead_ids))
        return {lead.id: lead for lead in _readable(LEADS, found)}

    def candidates(self, owner_id: str, after: str, limit: int) -> tuple[list[Lead], str | None]:
        """Read leads that may be queued, in their order.

        Args:
            owner_id: whose.
            after: the place that this method returned before; empty to begin with.
            limit: how many at most.

        Returns:
            The leads, and the place to go on from; None if these are the last.
        """
        found, following = dynamodb.query_page(
            self.client,
            self.table,
            "eligible = :owner AND eligible_place BETWEEN :low AND :high",
            index="eligible",
            limit=limit,
            cursor=None,
            forward=True,
            owner=owner_id,
            low=f"{after} " if after else SENDABLE,
            high=f"{SENDABLE}~",
        )
        return _readable(LEADS, found), found[-1]["eligible_place"] if following else None

    def count_eligible(self, owner_id: str, prefix: str) -> tuple[int, bool]:
        """Count an owner's eligible leads whose places begin with a prefix, up to 6,000; True if these are all."""
        request: dict[str, Any] = {
            "TableName": self.table,
            "IndexName": "eligible",
            "Select": "COUNT",
            "Limit": COUNT_PAGE_SIZE,
            "KeyConditionExpression": "eligible = :owner AND begins_with(eligible_place, :prefix)",
            "ExpressionAttributeValues": {":owner": {"S": owner_id}, ":prefix": {"S": prefix}},
        }
        total = 0
        for _ in range(MAX_COUNT_PAGES):
            answer = self.client.query(**request)
            total += answer["Count"]
            if "LastEvaluatedKey" not in answer:
                return total, True
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return total, False

    def listed(self, index: str, value: str, limit: int, cursor: str | None) -> tuple[list[Lead], str | None]:
        """Read a page of the leads of an owner (`by_owner`) or a client (`by_client`), newest first."""
        name = {"by_owner": "owner_id", "by_client": "client_id"}[index]
        found, following = dynamodb.query_page(
            self.client, self.table, f"#{name} = :value", index=index, limit=limit, cursor=cursor, value=value
        )
        ids = [item["pk"].removeprefix("LEAD#") for item in found]
        leads = self.leads(ids)
        return [leads[lead_id] for lead_id in ids if lead_id in leads], following

    def trail(self, lead_id: str, limit: int, cursor: str | None) -> tuple[list[Item], str | None]:
        """Read a page of what happened to a lead, newest first."""
        return dynamodb.query_page(
            self.client,
            self.table,
            "pk = :pk AND begins_with(sk, :prefix)",
            limit=limit,
            cursor=cursor,
            pk=items.lead_key(lead_id)["pk"],
            prefix="T#",
        )

    # People

    def holders(self, addresses: Iterable[str]) -> dict[str, Holder]:
        """Read who has each of these phones and WhatsApp ids, 100 a call; addresses that are unknown are left out."""
        by_key = {self.reach_key(address)["pk"]: address for address in addresses}
        found = dynamodb.get_many(self.client, self.table, ({"pk": pk, "sk": "R"} for pk in by_key))
        return {by_key[item["pk"]]: _holder(item) for item in found}

    def find(self, addresses: Iterable[str]) -> list[Lead]:
        """Read the leads of a person, of whatever owner, by phone and WhatsApp id."""
        held = self.holders(addresses).values()
        return list(self.leads({lead_id for holder in held for lead_id in holder.lead_ids}).values())

    def mark_read(self, lead_id: str, at: int) -> None:
        """Note that the user who works a lead has read it up to a message (ms); no change of the lead meets it."""
        condition = "attribute_exists(pk) AND (attribute_not_exists(read_at) OR read_at < :at)"
        with suppress(ConditionFailed):
            dynamodb.update_if(
                self.client,
                self.table,
                items.lead_key(lead_id),
                "SET read_at = :at",
                condition=condition,
                answer=False,
                at=at,
            )

    def mark_opt_out(self, address: str, at: int, *, out: bool) -> None:
        """Note that a person opted out, or in again, at a time (ms) unless a later wish is known."""
        with suppress(ConditionFailed):
            dynamodb.update_if(
                self.client,
                self.table,
                self.reach_key(address),
                "SET opted_out_at = :at" if out else "SET opted_in_at = :at REMOVE opted_out_at",
                condition="(attribute_not_exists(opted_in_at) OR opted_in_at < :at) "
                "AND (attribute_not_exists(opted_out_at) OR opted_out_at < :at)",
                answer=False,
                at=at,
            )

    # Days

    def day(self, owner_id: str, date: str) -> Day | None:
        """Read the header of a day."""
        return self._get(DAYS, items.day_key(owner_id, date))

    def days(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Day]:
        """Read headers that exist, by owner and date, 100 a call."""
        found = dynamodb.get_many(self.client, self.table, (items.day_key(*key) for key in keys))
        return {(day.owner_id, day.date): day for day in _readable(DAYS, found)}

    def entry(self, key: EntryKey) -> Entry | None:
        """Read an entry."""
        return self._get(ENTRIES, items.entry_key(key))

    def case(self, key: EntryKey) -> Case:
        """Read an entry with its lead and its day, in one call."""
        rows: tuple[tuple[Row[Any], Item], ...] = (
            (ENTRIES, items.entry_key(key)),
            (LEADS, items.lead_key(key.lead_id)),
            (DAYS, items.day_key(key.owner_id, key.date)),
        )
        found = {
            (item["pk"], item["sk"]): item
            for item in dynamodb.get_many(self.client, self.table, [at for _, at in rows])
        }
        return Case(*(row.read(item) if (item := found.get((at["pk"], at["sk"]))) else None for row, at in rows))

    def entries(self, owner_id: str, date: str, limit: int, cursor: str | None) -> tuple[list[Entry], str | None]:
        """Read a page of a day's entries, in the order of sending; eventually consistent."""
        found, following = dynamodb.query_page(
            self.client,
            self.table,
            "pk = :pk AND begins_with(sk, :prefix)",
            limit=limit,
            cursor=cursor,
            forward=True,
            pk=items.day_key(owner_id, date)["pk"],
            prefix="E#",
        )
        return _readable(ENTRIES, found), following

    def waiting_entries(self, owner_id: str, date: str, limit: int) -> list[Entry]:
        """Read the first entries of a day that wait to go out; eventually consistent.

        The largest day, 2,000 entries of some 350 bytes, is one Query: it is read to where the first one waits.
        """
        found: list[Item] = []
        cursor: str | None = None
        while len(found) < limit:
            page, cursor = dynamodb.query_page(
                self.client,
                self.table,
                "pk = :pk AND begins_with(sk, :prefix)",
                limit=MAX_CAPACITY,
                cursor=cursor,
                forward=True,
                where="#state IN (:queued, :handed)",
                pk=items.day_key(owner_id, date)["pk"],
                prefix="E#",
                queued=EntryState.QUEUED.value,
                handed=EntryState.HANDED.value,
            )
            found += page
            if cursor is None:
                break
        return _readable(ENTRIES, found[:limit])

    def entries_after(self, owner_id: str, date: str, place: int, limit: int) -> list[Entry]:
        """Read the entries of a day from a place on, in the order of sending."""
        low = f"E#{place:0{items.PLACES}d}"
        pk = items.day_key(owner_id, date)["pk"]
        condition = "pk = :pk AND sk BETWEEN :low AND :high"
        found = dynamodb.query(self.client, self.table, condition, limit=limit, pk=pk, low=low, high="E~")
        return _readable(ENTRIES, found)

    # References

    def user(self, user_id: str) -> LeadSettings | None:
        """Read a user's settings."""
        return self._get(USERS, items.reference_key(ReferenceKind.USER, user_id))

    def ensure_user(self, user_id: str) -> LeadSettings:
        """Return a user's settings; a user without any gets the default ones."""
        if found := self.user(user_id):
            return found
        with suppress(ConditionFailed):
            row = USERS.item(LeadSettings(user_id))
            dynamodb.put_if(self.client, self.table, row, condition="attribute_not_exists(pk)")
        return self.user(user_id) or LeadSettings(user_id)

    def template_category(self, content_sid: str) -> str | None:
        """Read what WhatsApp takes a template for, in lower case; None if the template is not known."""
        found = dynamodb.get(self.client, self.table, items.template_key(content_sid))
        return str(found.get("category", "")).lower() if found else None

    def client_named(self, client_id: str) -> Client | None:
        """Read a client."""
        return self._get(CLIENTS, items.reference_key(ReferenceKind.CLIENT, client_id))

    def project(self, project_id: str) -> Project | None:
        """Read a project."""
        return self._get(PROJECTS, items.reference_key(ReferenceKind.PROJECT, project_id))

    def names(self, kind: ReferenceKind, ids: Iterable[str]) -> dict[str, str]:
        """Read the names of clients or projects, by id, 100 a call."""
        keys = (items.reference_key(kind, one) for one in ids)
        return {item["sk"]: item.get("name", "") for item in dynamodb.get_many(self.client, self.table, keys)}

    def references(self, kind: ReferenceKind, limit: int, cursor: str | None) -> tuple[list[Any], str | None]:
        """Read a page of users, clients or projects, by id."""
        pk = items.reference_key(kind, "")["pk"]
        found, following = dynamodb.query_page(
            self.client, self.table, "pk = :pk", limit=limit, cursor=cursor, forward=True, pk=pk
        )
        rows: dict[ReferenceKind, Row[Any]] = {
            ReferenceKind.USER: USERS,
            ReferenceKind.CLIENT: CLIENTS,
            ReferenceKind.PROJECT: PROJECTS,
        }
        return _readable(rows[kind], found), following

    def _get(self, row: Row[Kind], key: Item) -> Kind | None:
        found = dynamodb.get(self.client, self.table, key)
        return row.read(found) if found else None


def _holder(item: Item) -> Holder:
    return Holder(frozenset(item.get("lead_ids", ())), frozenset(item.get("owners", ())), "opted_out_at" in item)


def _readable(row: Row[Kind], found: Sequence[Item]) -> list[Kind]:
    """Return what can be read; the rest is logged and counted: one row of another version spoils no list."""
    read: list[Kind] = []
    for item in found:
        try:
            read.append(row.read(item))
        except UnreadableRow as error:
            logger.error("row left out", problem=str(error))
            count("LeadRowsUnreadable")
    return read


@lru_cache(maxsize=1)
def from_env() -> LeadStore:
    """The leads of this installation."""
    return LeadStore(aws.dynamodb(), variable("LEADS_TABLE"), address_key)
