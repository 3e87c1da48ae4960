"""Conditional updates of several items in one call, each for itself: DynamoDB's BatchExecuteStatement.

An update is described as `dynamodb.update_if` takes it. Alone it goes as UpdateItem; several go as PartiQL statements
that say the same, at the same price. In a batch nothing is held back: a statement that is refused or throttled stops
no other one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import attribute_values, dynamodb, partiql
from adbot_queue.core.dynamodb import ConditionFailed, Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


BATCH = 25
"""Statements in one BatchExecuteStatement, AWS's limit."""


@dataclass(frozen=True, slots=True)
class Update:
    """A change of an item that exists, under a condition; the parts are those of `dynamodb.update_if`.

    What the two languages have in common may be used: SET to values, REMOVE, ADD to numbers that are there; in the
    condition comparisons, AND, OR, attribute_exists and attribute_not_exists.
    """

    key: Item
    expression: str
    condition: str
    values: Mapping[str, Any]
    answer: bool = True


def update_many(client: DynamoDBClient, table: str, updates: Sequence[Update]) -> list[Item | Exception]:
    """Carry out updates of different items, 25 a call.

    Returns:
        For each the item as changed (nothing of it without `answer`); ConditionFailed with the row as it is; or the
        ClientError or BotoCoreError of this one.

    Raises:
        ClientError, BotoCoreError: of a whole call; some of its updates may have been carried out.
    """
    if len(updates) == 1:
        return [_alone(client, table, updates[0])]
    outcomes: list[Item | Exception] = []
    for start in range(0, len(updates), BATCH):
        chunk = updates[start : start + BATCH]
        answer = client.batch_execute_statement(Statements=[_statement(table, update) for update in chunk])
        outcomes += [
            _outcome(client, table, update, response)
            for update, response in zip(chunk, answer["Responses"], strict=True)
        ]
    return outcomes


def _outcome(client: DynamoDBClient, table: str, update: Update, response: Any) -> Item | Exception:
    error = response.get("Error")
    if error is None:
        return attribute_values.decode(response.get("Item", {}))
    if error["Code"] != "ConditionalCheckFailed":
        return _alone(client, table, update)  # throttled, as a rule: botocore tries again with patience
    if "Item" in error:
        return ConditionFailed(attribute_values.decode(error["Item"]))
    return ConditionFailed(dynamodb.get(client, table, update.key))  # DynamoDB Local does not tell


def _alone(client: DynamoDBClient, table: str, update: Update) -> Item | Exception:
    try:
        return dynamodb.update_if(
            client,
            table,
            update.key,
            update.expression,
            condition=update.condition,
            answer=update.answer,
            **update.values,
        )
    except (ConditionFailed, ClientError, BotoCoreError) as error:
        return error


def _statement(table: str, update: Update) -> Any:
    return partiql.statement(
        table, update.key, update.expression, update.condition, update.values, answer=update.answer
    )
