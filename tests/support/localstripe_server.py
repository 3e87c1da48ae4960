"""localstripe on a free port of loopback; its own command line listens on all interfaces and keeps its state in a file.

Ends when its standard input does: when its parent process is gone.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web
from localstripe import resources, server


async def serve() -> None:
    """Serve until standard input ends."""
    runner = web.AppRunner(server.app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"listening on {runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    resources.Store.dump_to_disk = lambda _store: None  # type: ignore[method-assign]
    asyncio.run(serve())
