"""The embedded AWS's CloudFormation in this process: no server, no port, no function runs.

`python -m tests.support.embedded_cloudformation`, in `.venv-aws`, reads a list of
`{"stack", "template", "parameters"}` and
creates them one after the other. It answers for each its status, why resources failed, and what is there after it.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import zipfile
from typing import Any

from local import aws_http_api


async def create(asked: dict[str, Any]) -> dict[str, Any]:
    from ministack.services import cloudformation, s3  # noqa: PLC0415  its state is made when it is imported
    from ministack.services.cloudformation import handlers  # noqa: PLC0415

    await s3.handle_request("PUT", "/bucket/template.json", {}, json.dumps(asked["template"]).encode(), {})
    request = {
        "StackName": [asked["stack"]],
        "TemplateURL": ["http://127.0.0.1:4566/bucket/template.json"],
        "Capabilities.member.1": ["CAPABILITY_IAM"],
    }
    for number, (name, value) in enumerate(asked["parameters"].items(), 1):
        request[f"Parameters.member.{number}.ParameterKey"] = [name]
        request[f"Parameters.member.{number}.ParameterValue"] = [value]
    status, _headers, body = handlers._create_stack(request)
    if status >= 400:
        return {"status": "REFUSED", "failed": {"": str(body)}}
    stack = cloudformation._stacks[asked["stack"]]
    while stack["StackStatus"].endswith("IN_PROGRESS"):  # noqa: ASYNC110  it says so in the stack alone
        await asyncio.sleep(0.01)
    events = cloudformation._stack_events[stack["StackId"]]
    failed = {
        one["LogicalResourceId"]: one["ResourceStatusReason"] for one in events if "FAILED" in one["ResourceStatus"]
    }
    return {"status": stack["StackStatus"], "failed": failed, "there": there()}


def there() -> dict[str, list[str]]:
    """Names of what holds data, of alarms and of queues."""
    from ministack.services import cloudwatch, cognito, dynamodb, s3, secretsmanager, sqs  # noqa: PLC0415

    kept = {
        "tables": dynamodb._tables,
        "pools": cognito._user_pools,
        "buckets": s3._buckets,
        "secrets": secretsmanager._secrets,
        "alarms": cloudwatch._alarms,
        "queues": sqs._queues,
    }
    return {kind: sorted(map(str, held)) for kind, held in kept.items()}


async def main() -> None:
    from ministack.services import s3  # noqa: PLC0415

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("app.py", "")
    await s3.handle_request("PUT", "/bucket", {}, b"", {})
    await s3.handle_request("PUT", "/bucket/archive", {}, archive.getvalue(), {})
    json.dump([await create(asked) for asked in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    aws_http_api.install()
    asyncio.run(main())
