"""What changes while a local stack runs: source files, and the memory of its processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

from local.settings import ROOT

_FOLDERS = ("layers/common/adbot_queue", "functions")
DEPLOYED = ("infra/template.yaml", "layers/common/requirements.txt")
"""Files that take effect at the next start only."""


class SourceWatch:
    """Finds files of the source tree that changed since it last looked."""

    def __init__(self) -> None:
        self._seen = dict(_times())

    def changed(self) -> list[str]:
        """Return the paths, relative to the tree, that were written, added or deleted since the last call."""
        now = dict(_times())
        paths = sorted(path for path in self._seen.keys() | now.keys() if self._seen.get(path) != now.get(path))
        self._seen = now
        for path in paths:
            # Bytecode is checked by the source's second and size: two saves within a second may look the same.
            if path.endswith(".py"):
                bytecode(ROOT / path).unlink(missing_ok=True)
        return paths


def bytecode(module: Path) -> Path:
    """Return where Python keeps what it compiled of a module."""
    return Path(cache_from_source(str(module)))


def _times() -> Iterator[tuple[str, int]]:
    """Yield each watched file and when it was last written, in nanoseconds."""
    files = [ROOT / name for name in DEPLOYED]
    for folder in _FOLDERS:
        for directory, names, found in os.walk(ROOT / folder):
            names[:] = [name for name in names if name != "__pycache__"]
            files += [Path(directory, name) for name in found]
    for file in files:
        try:
            yield str(file.relative_to(ROOT)), file.stat().st_mtime_ns
        except FileNotFoundError:
            continue  # an editor was replacing it


def memory(groups: set[int]) -> tuple[int, int]:
    """Return the resident megabytes and the number of this process and all processes of `groups`."""
    listed = subprocess.run(["ps", "-axo", "pid=,pgid=,rss="], capture_output=True, text=True, check=False)  # noqa: S607
    rows = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    ours = [resident for pid, group, resident in rows if group in groups or pid == os.getpid()]
    return sum(ours) // 1024, len(ours)
