#!/usr/bin/env bash
# moto 5.2.5: a condition that compares a text attribute with a number (`v <= :n`) makes TransactWriteItems fail with the
# cancellation reason TypeError. Expected, as DynamoDB does: operands of different types are unequal and unordered, so the
# condition is false and the reason is ConditionalCheckFailed. With `=` moto agrees.
set -euo pipefail
cd "$(mktemp -d)"
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'moto[dynamodb]==5.2.5' 'boto3==1.43.106'
venv/bin/python - <<'PY'
import os
os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

def reason(condition):
    with mock_aws():
        db = boto3.client("dynamodb")
        db.create_table(TableName="t", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])
        db.put_item(TableName="t", Item={"pk": {"S": "a"}, "v": {"S": "two"}})
        update = {"TableName": "t", "Key": {"pk": {"S": "a"}}, "UpdateExpression": "SET seen = :n",
                  "ConditionExpression": condition, "ExpressionAttributeValues": {":n": {"N": "1"}}}
        try:
            db.transact_write_items(TransactItems=[{"Update": update}])
        except ClientError as error:
            return error.response.get("CancellationReasons", [{}])[0].get("Code") or error.response["Error"]["Code"]
        except Exception as error:
            return type(error).__name__

found = {condition: reason(condition) for condition in ("v <= :n", "v = :n")}
print(found)
assert found == {"v <= :n": "TypeError", "v = :n": "ConditionalCheckFailed"}, found
PY
