#!/usr/bin/env bash
# moto 5.2.5: TransactWriteItems ignores ClientRequestToken: the same call sent twice adds twice. Expected, as DynamoDB does for
# ten minutes: the second call with the same token and content succeeds and changes nothing. Who relies on the token alone
# for a lost answer sees a double effect in tests, and after ten minutes in the cloud too.
set -euo pipefail
cd "$(mktemp -d)"
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'moto[dynamodb]==5.2.5' 'boto3==1.43.106'
venv/bin/python - <<'PY'
import os
os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
import boto3
from moto import mock_aws

with mock_aws():
    db = boto3.client("dynamodb")
    db.create_table(TableName="t", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                    AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])
    update = {"TableName": "t", "Key": {"pk": {"S": "a"}}, "UpdateExpression": "ADD n :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}
    for _ in range(2):
        db.transact_write_items(TransactItems=[{"Update": update}], ClientRequestToken="one-and-the-same-token")
    found = db.get_item(TableName="t", Key={"pk": {"S": "a"}})["Item"]["n"]["N"]
print("n after the same call twice:", found)
assert found == "2", found
PY
