"""`python -m tests.browser [paths]`: one stack for all tests, and two of them at once against it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.e2e.conftest import LocalStack

FOLDER = Path(__file__).parent


def main() -> int:
    """Return pytest's exit code."""
    paths = sys.argv[1:] or [str(FOLDER)]
    with tempfile.TemporaryDirectory() as folder:
        stack = LocalStack(Path(folder))
        try:
            print(f"The stack is ready after {stack.start():.0f} s.", flush=True)
            environment = {**os.environ, "ADBOT_STACK": str(stack.state / "stack.json")}
            command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-m", "browser", *paths]
            return subprocess.run(command, env=environment, check=False).returncode
        finally:
            stack.stop()


if __name__ == "__main__":
    sys.exit(main())
