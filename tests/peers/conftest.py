"""What our processors send is held against providers' published schemas, and against servers that others wrote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import peers

FOLDER = str(Path(__file__).parent) + os.sep


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is in this folder needs the peers; without them it is skipped and says why."""
    reason = peers.lacking()
    for item in items:
        if str(item.path).startswith(FOLDER):
            item.add_marker("peers")
            item.add_marker(pytest.mark.timeout(300))  # the first of them waits for npm
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))
