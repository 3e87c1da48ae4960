#!/usr/bin/env bash
# roto-aws 0.10.1: a PutItem, UpdateItem or DeleteItem refused by its condition hands back no Item, though it asks for one with
# ReturnValuesOnConditionCheckFailure=ALL_OLD; in a transaction it does. Expected, as from DynamoDB: the item in both. Who tells an
# own repeated write from somebody else's by that item takes every repeat for a conflict.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'roto-aws==0.10.1' 'boto3==1.44.8'
env -u AWS_PROFILE HOME="$PWD" venv/bin/python - <<'PY'
import contextlib, importlib.metadata, socket, subprocess, time
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
server = subprocess.Popen(["venv/bin/roto-server", "--ephemeral", "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.1)
    db = boto3.client("dynamodb", "us-east-1", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="x", aws_secret_access_key="x",
                      config=Config(retries={"total_max_attempts": 1}))
    db.create_table(TableName="rows", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                    AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])
    row = {"pk": {"S": "a"}, "n": {"N": "7"}}
    db.put_item(TableName="rows", Item=row)
    rule = {"TableName": "rows", "ConditionExpression": "attribute_not_exists(pk)", "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    key = {"Key": {"pk": row["pk"]}}
    more = {"UpdateExpression": "SET n = :n", "ExpressionAttributeValues": {":n": {"N": "8"}}}
    calls = {
        "PutItem": lambda: db.put_item(**rule, Item=row),
        "UpdateItem": lambda: db.update_item(**rule, **key, **more),
        "DeleteItem": lambda: db.delete_item(**rule, **key),
        "TransactWriteItems": lambda: db.transact_write_items(TransactItems=[{"Put": {**rule, "Item": row}}]),
    }
    print("roto-aws", importlib.metadata.version("roto-aws"))
    found = {}
    for name, call in calls.items():
        try:
            call()
            found[name] = "written"
        except ClientError as error:
            code = error.response["Error"]["Code"]
            assert code in ("ConditionalCheckFailedException", "TransactionCanceledException"), code
            found[name] = error.response.get("CancellationReasons", [error.response])[0].get("Item")
        print(f"{name}: expected {row}, seen {found[name]}")
finally:
    server.terminate()
    server.wait(timeout=20)
assert found == {"PutItem": None, "UpdateItem": None, "DeleteItem": None, "TransactWriteItems": row}, found
PY
