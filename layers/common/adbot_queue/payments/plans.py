"""The plan catalogue: what can be bought, changeable by the operator at any time.

A purchase carries what it bought in its own metadata, so that changing or removing a plan changes no purchase.
In the AdBots table: `PLANS`, `<plan id>` is the plan for sale; `PLANS`, `<plan id>#<version>` are all that it was and
is, by which sales at an earlier price, and renewals of plans that were removed, are recognised.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

from adbot_queue.adbots import service as adbots_service
from adbot_queue.adbots.commands import retry_on_conflict
from adbot_queue.adbots.service import AdbotService
from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item, Transaction, TransactionConflict, TransactionRejected
from adbot_queue.core.errors import Invalid, NotFound
from adbot_queue.ledger import Actor, LedgerEntry
from adbot_queue.payments import plan_versions
from adbot_queue.payments.plan import Plan
from adbot_queue.payments.plan_versions import PARTITION, former_item, plan_of
from adbot_queue.payments.wishes import PLAN_ID


class Plans:
    """All plans of the installation."""

    def __init__(self, adbots: AdbotService) -> None:
        self._adbots = adbots
        self._client = adbots.store.client
        self._table = adbots.store.table

    def get(self, plan_id: str) -> Plan:
        """A plan.

        Raises:
            NotFound: there is none. UnreadablePlan: there is one, but not for this version.
        """
        plan = self._read(plan_id)
        if plan is None:
            raise NotFound(f"there is no plan {plan_id}")
        return plan

    def list(self, limit: int, cursor: str | None, *, only_active: bool) -> tuple[list[Plan], str | None]:
        """A page of plans, by id; former versions are passed over, so it may take some reads."""
        where = "attribute_not_exists(#former)"
        values: dict[str, Any] = {}
        if only_active:
            where, values = f"{where} AND #active = :active", {"active": True}
        found: list[Plan] = []
        while len(found) < limit:
            page, cursor = dynamodb.query_page(
                self._client,
                self._table,
                "pk = :pk",
                limit=limit - len(found),
                cursor=cursor,
                forward=True,
                where=where,
                pk=PARTITION,
                **values,
            )
            found += plan_versions.readable(page)
            if cursor is None:
                break
        return found, cursor

    def put(self, plan_id: str, values: dict[str, Any], actor: Actor) -> tuple[Plan, bool]:
        """Create or replace a plan; return it, and whether it is new.

        Args:
            plan_id: new or known.
            actor: who does it.
            values: all fields but id and version.

        Raises:
            Invalid: the id is invalid, or the pool does not exist.
        """
        if not PLAN_ID.fullmatch(plan_id):
            raise Invalid.field("id", "must be 1 to 64 of a-z, 0-9, _ and -, a letter or digit first")
        self._adbots.pools.header(values["pool"])

        def attempt() -> tuple[Plan, bool]:
            before = self._read(plan_id)
            newest = before or next(iter(plan_versions.versions(self._adbots, plan_id)), None)
            after = Plan(id=plan_id, version=newest.version + 1 if newest else 1, **values)
            if before and replace(after, version=before.version) == before:
                return before, False
            transaction = self._adbots.store.transaction()
            item: Item = {"pk": PARTITION, "sk": plan_id, **asdict(after)}
            if before:
                transaction.put("plan", self._table, item, condition="version = :version", version=before.version)
            else:
                transaction.create("plan", self._table, item)
            for version in (before, after) if before else (after,):
                transaction.put("version", self._table, former_item(version))
            self._sign(transaction, actor, "plan.put", plan_id, before, after)
            return after, before is None

        return retry_on_conflict(attempt)

    def remove(self, plan_id: str, actor: Actor) -> Plan:
        """Take a plan out of the catalogue. Its versions stay: subscriptions go on.

        Raises:
            NotFound: there is none.
        """

        def attempt() -> Plan:
            before = self.get(plan_id)
            transaction = self._adbots.store.transaction()
            key: Item = {"pk": PARTITION, "sk": plan_id}
            transaction.delete("plan", self._table, key, condition="version = :version", version=before.version)
            transaction.put("version", self._table, former_item(before))
            self._sign(transaction, actor, "plan.remove", plan_id, before, None)
            return before

        return retry_on_conflict(attempt)

    def _sign(
        self, transaction: Transaction, actor: Actor, action: str, plan_id: str, before: Plan | None, after: Plan | None
    ) -> None:
        """Add the ledger's entry and commit."""
        entry = LedgerEntry(actor, action, f"plan:{plan_id}", before=_shown(before), after=_shown(after))
        self._adbots.ledger.sign(transaction, entry)
        try:
            transaction.commit()
        except TransactionRejected as refused:
            raise TransactionConflict(str(refused)) from refused

    def _read(self, plan_id: str) -> Plan | None:
        item = dynamodb.get(self._client, self._table, {"pk": PARTITION, "sk": plan_id})
        return plan_of(item) if item else None


def _shown(plan: Plan | None) -> dict[str, Any]:
    return {name: value for name, value in asdict(plan).items() if value is not None} if plan else {}


@lru_cache(maxsize=1)
def from_env() -> Plans:
    """The catalogue of this process."""
    return Plans(adbots_service.from_env())
