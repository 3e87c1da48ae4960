"""`python -m adbot_queue.console.build FOLDER`: compile the templates of a copy of this package, and pack its files.

The layer's build calls it (`layers/common/Makefile`). It needs what `make setup` installs; the layer has no Brotli.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

from adbot_queue.console import assets, render


def main(package: Path) -> None:
    """Write `compiled` and `static/packed` into the copy of `adbot_queue` at `package`."""
    import brotli  # noqa: PLC0415  not in the layer

    render.environment().compile_templates(package / "console" / "compiled", zip=None, ignore_errors=False)
    packed = package / "console" / "static" / "packed"
    packed.mkdir(parents=True, exist_ok=True)
    for name in assets.names():
        raw = assets.content(name)
        if name.endswith(".woff2"):
            continue  # Brotli already
        (packed / f"{name}.br").write_bytes(brotli.compress(raw))
        (packed / f"{name}.gz").write_bytes(gzip.compress(raw, 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
