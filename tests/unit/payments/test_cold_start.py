"""What payments functions and processors import before their first event: no provider's library, and no boto3."""

from __future__ import annotations

import subprocess
import sys

from tests.builders.world import ROOT

LOAD = """
import sys
from pathlib import Path
from adbot_queue.jobs import job_types
from local.openapi import load_app
already = set(sys.modules)
for name in ("webhook", "settle_payments", "checkout", "sweep", "tally"):
    load_app(Path("functions") / name / "app.py")
for name in ("payment-process", "send-email", "analytics-track"):
    job_types.find(name)
dear = {"stripe", "sendgrid", "requests", "boto3"}
print(sorted(dear & (set(sys.modules) - already)))
"""


def test_providers_libraries_are_imported_only_when_they_are_used() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=ROOT,
        env={"PYTHONPATH": "layers/common:."},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.strip() == "[]"
