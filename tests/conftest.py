"""What every test uses."""

from __future__ import annotations

import gc
import os
import zoneinfo
from pathlib import Path

import pytest
from hypothesis import settings

from adbot_queue.testing.moto_threads import one_call_at_a_time
from tests.support import moto_speed

ROOT = Path(__file__).resolve().parent.parent

# Logger and Metrics read their names when adbot_queue is imported, which is before any fixture runs.
os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "adbot-queue")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "AdBotQueue")
os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")

# Clients are made once a process and keep the credentials that they find then, in whichever test that is.
os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "testing"
os.environ["AWS_DEFAULT_REGION"] = "eu-central-1"
# Since 1.44 botocore takes the account out of a stream's ARN into the host, where moto has nothing.
os.environ["AWS_ACCOUNT_ID_ENDPOINT_MODE"] = "disabled"

# Processes that tests start find the project too, whatever directory they run in.
os.environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in ("layers/common", "."))

# Zones come from the pinned tzdata, here and in every process that a test starts.
os.environ["PYTHONTZPATH"] = ""
zoneinfo.reset_tzpath()


# How many examples a property is tried on, unless a test says; one that takes long says that the machine is busy.
settings.register_profile("quick", max_examples=60, deadline=None)
settings.register_profile("long", max_examples=1000, deadline=None)  # `make test-long`
settings.load_profile("quick")

LONG_SECONDS = 1800
"""For a test that takes a minute on a machine of its own: it may well be a busy one."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give time to tests that are marked `long`, and to all with long properties, unless they say how much."""
    long_properties = config.getoption("--hypothesis-profile") == "long"
    for item in items:
        if (long_properties or item.get_closest_marker("long")) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONG_SECONDS))


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the collector would go through all of it a hundred times."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


one_call_at_a_time()
moto_speed.install()
