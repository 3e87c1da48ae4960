"""Dead letters in the Jobs table, both kinds as one list.

JOB#<id>      J      a dead job is its own letter
LETTER#<id>   L      a message that died
LETTER#<id>   B#<n>  its body, in pieces that an item has room for; E#<n>: the body that is sent back instead

by_state  listing = dead, listed_at   what waits for a decision; a decision takes a letter off
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item, Refused, Transaction
from adbot_queue.core.errors import Invalid
from adbot_queue.jobs.items import DEAD_LISTING, failure_of, job_of
from adbot_queue.jobs.letters import MESSAGE, PIECE, DeadLetter, Letter, Wanted
from adbot_queue.jobs.unreadable import Unreadable, report

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

READ_AT_ONCE = 100
PAGES = 20
"""Queries that fill one page of a list at the most, when a filter leaves out much."""

COUNTED = 10_000
COUNTED_AT_ONCE = 2_000
"""Index entries that a count reads at the most, and in one Query (less than its 1 MB)."""

_FOREVER = 10**15
_POSITION = ("pk", "sk", "listing", "listed_at")


@dataclass(frozen=True, slots=True)
class Entry:
    """A letter as the index knows it; `position` is its place there."""

    key: Item
    listed_at: int
    queue: str
    type: str
    fingerprint: str
    position: str


class LetterStore:
    """Access patterns of the Jobs table that concern dead letters."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self.client = client
        self.table = table

    # The list

    def page(self, wanted: Wanted, limit: int, cursor: str | None) -> tuple[list[DeadLetter], str | None]:
        """Letters, newest first, and the cursor of the next page, None after the last."""
        found: list[Entry] = []
        for _ in range(PAGES):
            entries, cursor = self.entries(wanted, READ_AT_ONCE, cursor)
            found += entries
            if len(found) > limit:
                found = found[:limit]
                cursor = found[-1].position
            if cursor is None or len(found) == limit:
                break
        return self.letters(found), cursor

    def entries(
        self, wanted: Wanted, limit: int, cursor: str | None, *, forward: bool = False
    ) -> tuple[list[Entry], str | None]:
        """One Query of the index: entries that match among the next `limit`. A moment older than the letters.

        Raises:
            Invalid: the cursor is not one that this list gave.
        """
        until = _FOREVER if wanted.until is None else wanted.until
        if wanted.since > until:
            return [], None  # DynamoDB knows no empty period
        if cursor and dynamodb.open_cursor(cursor).keys() != set(_POSITION):
            raise Invalid.field("cursor", "is not a cursor of this list")
        names = [name for name in ("queue", "type", "fingerprint") if getattr(wanted, name) is not None]
        found, following = dynamodb.query_page(
            self.client,
            self.table,
            "listing = :listing AND listed_at BETWEEN :since AND :until",
            index="by_state",
            limit=limit,
            cursor=cursor,
            forward=forward,
            where=" AND ".join(f"#{name} = :{name}" for name in names) or None,
            listing=DEAD_LISTING,
            since=wanted.since,
            until=until,
            **{name: getattr(wanted, name) for name in names},
        )
        return [_entry_of(item) for item in found], following

    def counted(self, wanted: Wanted) -> tuple[list[Entry], bool]:
        """The newest that match, among at most `COUNTED` entries read, and whether these are all of them."""
        found: list[Entry] = []
        cursor: str | None = None
        for _ in range(COUNTED // COUNTED_AT_ONCE):
            entries, cursor = self.entries(wanted, COUNTED_AT_ONCE, cursor)
            found += entries
            if cursor is None:
                return found, True
        return found, False

    def letters(self, entries: list[Entry]) -> list[DeadLetter]:
        """The letters of these entries, in their order, without those that somebody has decided about meanwhile."""
        found = self.rows(entries)
        return [row for entry in entries if (row := found.get(entry.key["pk"])) and row.is_dead_letter]

    def rows(self, entries: list[Entry]) -> dict[str, DeadLetter]:
        """What these entries are about as it is now, by primary key; what cannot be read is reported and left out."""
        found: dict[str, DeadLetter] = {}
        unreadable: list[Unreadable] = []
        for item in dynamodb.get_many(self.client, self.table, [entry.key for entry in entries]):
            try:
                found[item["pk"]] = _dead_letter_of(item)
            except Unreadable as error:
                unreadable.append(error)
        report(unreadable)
        return found

    # Messages

    def get(self, letter_id: str) -> Letter | None:
        """One message, read strongly."""
        found = dynamodb.get(self.client, self.table, key_of(letter_id))
        return letter_of(found) if found else None

    def body(self, letter: Letter, *, to_send: bool = False) -> str:
        """Its body; `to_send`: the edited one, if there is one."""
        kind = "E" if to_send and letter.edited else "B"
        pieces = dynamodb.query(
            self.client, self.table, "pk = :pk AND begins_with(sk, :sk)", pk=key_of(letter.id)["pk"], sk=f"{kind}#"
        )
        return "".join(piece["body"] for piece in pieces)

    def bury(self, letter: Letter, body: str) -> Letter:
        """Keep a letter, once; the one that is kept."""
        transaction = Transaction(self.client)
        transaction.create("letter", self.table, item_of(letter))
        for piece in _pieces(letter.id, "B", body):
            transaction.put(piece["sk"], self.table, piece)
        try:
            transaction.commit()
        except Refused as refused:
            stood = refused.failed.get("letter")
            return letter_of(stood) if stood else letter
        return letter

    def decide(self, transaction: Transaction, before: Letter, after: Letter, edited: str | None = None) -> None:
        """Add a decision to a transaction: the letter (refuses if another one was made), its body's new end."""
        item = item_of(after) | {"version": before.version + 1}
        condition = "version = :version AND #state = :dead"
        transaction.put("letter", self.table, item, condition=condition, version=before.version, dead="dead")
        for number in range(before.pieces):
            key, ends = {"pk": item["pk"], "sk": _piece("B", number)}, "SET expires_at = :until"
            transaction.update(
                key["sk"], self.table, key, ends, condition="attribute_exists(pk)", until=after.expires_at
            )
        for piece in _pieces(before.id, "E", edited or ""):
            transaction.put(piece["sk"], self.table, piece | {"expires_at": after.expires_at})


def key_of(letter_id: str) -> Item:
    """The key of a message's item."""
    return {"pk": f"LETTER#{letter_id}", "sk": "L"}


def item_of(letter: Letter) -> Item:
    """A message as its item, index attributes included."""
    item: Item = {spec.name: getattr(letter, spec.name) for spec in fields(Letter)}
    failure = letter.failure
    return {
        **item,
        **key_of(letter.id),
        "type": MESSAGE,
        "failure": {"kind": failure.kind, "error": failure.error, "message": failure.message},
        "listing": DEAD_LISTING if letter.is_dead_letter else f"messages#{letter.state}",
        "listed_at": letter.died_at,
    }


def letter_of(item: Mapping[str, Any]) -> Letter:
    """The message in an item.

    Raises:
        Unreadable: this version cannot read it.
    """
    values = {spec.name: item[spec.name] for spec in fields(Letter) if spec.name in item}
    try:
        return Letter(**{**values, "failure": failure_of(item["failure"])})
    except (KeyError, TypeError) as error:
        letter_id = str(item.get("pk", "")).removeprefix("LETTER#")
        raise Unreadable(letter_id, str(item.get("queue", "")), "an attribute is missing or of another type") from error


def _dead_letter_of(item: Mapping[str, Any]) -> DeadLetter:
    return letter_of(item) if item["pk"].startswith("LETTER#") else job_of(item)


def _entry_of(item: Item) -> Entry:
    position = {name: item[name] for name in _POSITION}
    return Entry(
        {"pk": item["pk"], "sk": item["sk"]},
        item["listed_at"],
        item.get("queue", ""),
        item.get("type", ""),
        item.get("fingerprint", ""),
        dynamodb.make_cursor(position),
    )


def _pieces(letter_id: str, kind: str, body: str) -> Iterator[Item]:
    for number, start in enumerate(range(0, len(body), PIECE)):
        yield {"pk": key_of(letter_id)["pk"], "sk": _piece(kind, number), "body": body[start : start + PIECE]}


def _piece(kind: str, number: int) -> str:
    return f"{kind}#{number:03d}"
