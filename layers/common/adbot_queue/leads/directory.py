"""Users with their settings, clients and projects: what leads refer to.

None is ever deleted, so no lead is orphaned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, TypeVar

from adbot_queue import ledger as ledgers
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.errors import Conflict, Invalid, NotFound
from adbot_queue.leads import store as lead_store
from adbot_queue.leads.items import CLIENTS, PROJECTS, USERS, Row
from adbot_queue.leads.references import Client, Project, ReferenceKind
from adbot_queue.leads.settings import LeadSettings
from adbot_queue.leads.store import LeadStore
from adbot_queue.ledger import Actor, Ledger, LedgerEntry

Kind = TypeVar("Kind", LeadSettings, Client, Project)


class Directory:
    """Shows references and puts them."""

    def __init__(self, store: LeadStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    def settings(self, user_id: str) -> LeadSettings:
        """Return a user's settings.

        Raises:
            NotFound: the user was never given leads and has no settings.
        """
        return _found(self._store.user(user_id), "user", user_id)

    def client(self, client_id: str) -> Client:
        """Return a client.

        Raises:
            NotFound: it does not exist.
        """
        return _found(self._store.client_named(client_id), "client", client_id)

    def project(self, project_id: str) -> Project:
        """Return a project.

        Raises:
            NotFound: it does not exist.
        """
        return _found(self._store.project(project_id), "project", project_id)

    def page(self, kind: ReferenceKind, limit: int, cursor: str | None) -> tuple[list[Any], str | None]:
        """Return a page of users, clients or projects, by id."""
        return self._store.references(kind, limit, cursor)

    def put_settings(self, wanted: LeadSettings, version: int | None, actor: Actor) -> LeadSettings:
        """Write a user's settings; the user need not be known before.

        Raises:
            Conflict: they have another version than the given one.
        """
        return self._put(USERS, lambda: self._store.user(wanted.user_id), wanted, version, actor)

    def put_client(self, wanted: Client, version: int | None, actor: Actor) -> Client:
        """Write a client. Raises as `put_settings`."""
        return self._put(CLIENTS, lambda: self._store.client_named(wanted.id), wanted, version, actor)

    def put_project(self, wanted: Project, version: int | None, actor: Actor) -> Project:
        """Write a project.

        Raises:
            Conflict: as `put_settings`. Invalid: its client does not exist.
        """
        if wanted.client_id and self._store.client_named(wanted.client_id) is None:
            raise Invalid.field("client_id", f"client {wanted.client_id} does not exist")
        return self._put(PROJECTS, lambda: self._store.project(wanted.id), wanted, version, actor)

    def _put(
        self, row: Row[Kind], read: Callable[[], Kind | None], wanted: Kind, version: int | None, actor: Actor
    ) -> Kind:
        """Create or change a row, under the version that was read, with the ledger's entry."""
        key = row.key(wanted)
        target = f"lead-{key['pk'].partition('#')[2]}:{key['sk']}"

        def attempt() -> Kind:
            before = read()
            if version not in {None, before.version if before else None}:
                raise Conflict(f"{target} has version {before.version if before else 0}")
            after = replace(wanted, version=before.version + 1 if before else 1)
            changed = [
                name for name in _names(after) if before is None or getattr(before, name) != getattr(after, name)
            ]
            if before is not None and not changed:
                return before
            transaction = Transaction(self._store.client)
            if before is None:
                transaction.create("row", self._store.table, row.item(after))
            else:
                expression, values = row.difference(before, after)
                condition, was = "#version = :version", {"version": before.version}
                transaction.update("row", self._store.table, key, expression, condition=condition, **values, **was)
            self._ledger.sign(transaction, LedgerEntry(actor, "lead-reference.put", target, after={"changed": changed}))
            transaction.commit()
            return after

        return retry_on_conflict(attempt, CHANGED)


def _names(value: Any) -> list[str]:
    return [spec.name for spec in fields(value) if spec.name != "version"]


def _found(value: Kind | None, what: str, reference_id: str) -> Kind:
    if value is None:
        raise NotFound(f"{what} {reference_id} does not exist")
    return value


@lru_cache(maxsize=1)
def from_env() -> Directory:
    """The references of this installation."""
    return Directory(lead_store.from_env(), ledgers.from_env())
