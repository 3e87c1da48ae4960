"""`python -m local.lint [template]`: what CloudFormation will make of the template, linted.

cfn-lint does not run SAM's transform, so of a function and its events it sees hardly anything: a misspelt permission,
a batch that is too large, a visibility timeout below the function's own. What neither it nor SAM knows is checked here:
expressions of EventBridge Scheduler. And every job type is imported once: its queue, its timeout, its providers.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from adbot_queue.jobs import job_types
from adbot_queue.jobs.job_queues import QUEUES
from adbot_queue.providers.declarations import PROVIDERS
from adbot_queue.schedules.cron import BadExpression
from adbot_queue.schedules.plan import Recurrence
from local.settings import REGION, ROOT
from local.translate import BadTemplate, Template, load, place_code, transform, unroll

_ONE_OF_MANY = re.compile(r"rate\((1 (minute|hour|day)|(?!1 )\d+ (minute|hour|day)s)\)")


def findings(text: str) -> list[str]:
    """Return what is wrong with a SAM template, a line each: rule, place, reason."""
    from cfnlint.api import ManualArgs  # noqa: PLC0415  a second of imports that `bad_job_types` does not need
    from cfnlint.api import lint as cfn_lint  # noqa: PLC0415

    template = unroll(load(text))
    place_code(template, lambda _folder: "s3://bucket/archive")
    try:
        plain = transform(template, {})
    except BadTemplate as rejected:
        return [f"SAM {error}" for error in rejected.errors]
    matches = cfn_lint(json.dumps(plain), config=ManualArgs(regions=[REGION]))
    found = [f"{match.rule.id} {'/'.join(map(str, match.path[1:]))}: {match.message}" for match in matches]
    return found + list(_bad_schedules(plain))


def _bad_schedules(plain: Template) -> Iterator[str]:
    for name, resource in plain["Resources"].items():
        if resource["Type"] != "AWS::Scheduler::Schedule":
            continue
        expression = resource["Properties"]["ScheduleExpression"]
        if not isinstance(expression, str):
            continue  # made of parameters
        where = f"Schedule {name}/Properties/ScheduleExpression"
        try:
            Recurrence.parse(expression, resource["Properties"].get("ScheduleExpressionTimezone", "UTC"), None, None, 0)
        except BadExpression as error:
            yield f"{where}: {error}"
            continue
        if expression.startswith("rate") and not _ONE_OF_MANY.fullmatch(expression):
            yield f"{where}: {expression} must be like rate(1 minute) or rate(5 minutes)"


def bad_job_types() -> Iterator[str]:
    """Yield what is wrong with the declarations of job types, a line each. Imports every type."""
    declared: dict[str, str] = {}
    for capability in job_types.CAPABILITIES:
        for name in job_types.names_of(capability):
            if name in declared:
                yield f"job type {name}: declared in {declared[name]} and {capability}"
            declared.setdefault(name, capability)
    for name in job_types.names():
        try:
            known = job_types.find(name)
        except AttributeError:
            yield f"job type {name}: its module declares no JOB"
            continue
        queue = QUEUES.get(known.queue)
        if queue is None:
            yield f"job type {name}: queue {known.queue} does not exist"
        elif known.timeout_s > queue.max_run_s:
            yield f"job type {name}: timeout_s: must be at most {queue.max_run_s}, its queue's max_run_s"
        yield from (
            f"job type {name}: needs: provider {provider} does not exist"
            for provider in known.needs
            if provider not in PROVIDERS
        )


def main() -> int:
    """Print the findings; 1 when there are any."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "infra" / "template.yaml"
    found = [*findings(file.read_text()), *bad_job_types()]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
