"""Pages for operators and customers: every address, who may see it, and its view."""

from __future__ import annotations

from adbot_queue.console.app import EVERYONE, Console, Route
from adbot_queue.core.http import ADMINS, CUSTOMERS, LARGE_BODY, OWNERS, STAFF

console = Console(
    [
        Route("GET /", "public:home", EVERYONE),
        Route("GET /docs", "public:reference", EVERYONE),
        Route("GET /docs/{chapter}", "public:chapter", EVERYONE),
        Route("GET /my", "my:show"),
        Route("POST /my/buy", "my:buy", CUSTOMERS, keyed=False),
        Route("POST /my/bots/{id}/start", "my:start"),
        Route("POST /my/bots/{id}/stop", "my:stop"),
        Route("GET /my/sign-up", "sign_up:ask", EVERYONE),
        Route("POST /my/sign-up", "sign_up:begin", EVERYONE, keyed=False),
        Route("POST /my/sign-up/code", "sign_up:confirm", EVERYONE, keyed=False),
        Route("POST /my/sign-up/resend", "sign_up:resend", EVERYONE, keyed=False),
        Route("GET /console", "overview:show", STAFF),
        Route("GET /console/queues", "queues:index", STAFF),
        Route("GET /console/queues/{name}", "queues:show", STAFF),
        Route("POST /console/queues/{name}/clean", "queues:clean", OWNERS),
        Route("POST /console/queues/{name}/pause", "queues:pause", ADMINS),
        Route("POST /console/queues/{name}/resume", "queues:resume", ADMINS),
        Route("GET /console/replays", "long_running:index", STAFF),
        Route("GET /console/jobs/new", "enqueue:show", ADMINS),
        Route("POST /console/jobs", "enqueue:enqueue", ADMINS),
        Route("GET /console/jobs/{id}", "jobs:show", STAFF),
        Route("GET /console/dead-letters", "dead_letters:index", STAFF),
        Route("POST /console/dead-letters/replay", "dead_letters:replay", ADMINS),
        Route("POST /console/dead-letters/discard", "dead_letters:discard", ADMINS),
        Route("GET /console/jobs/{id}/edit", "jobs:edit", ADMINS),
        Route("POST /console/jobs/{id}/edit", "jobs:check", ADMINS, keyed=False),
        Route("POST /console/jobs/{id}/retry", "jobs:retry", ADMINS),
        Route("POST /console/jobs/{id}/cancel", "jobs:cancel", ADMINS),
        Route("GET /console/bots", "bots:index", STAFF),
        Route("POST /console/bots/resolve", "bots:resolve", ADMINS),
        Route("GET /console/bots/{id}", "bots:show", STAFF),
        Route("POST /console/bots/{id}/start", "bots:start", ADMINS),
        Route("POST /console/bots/{id}/stop", "bots:stop", ADMINS),
        Route("POST /console/bots/{id}/cancel", "bots:cancel", ADMINS),
        Route("POST /console/bots/{id}/unpark", "bots:unpark", ADMINS),
        Route("GET /console/stock", "stock:show", STAFF),
        Route("POST /console/stock/pools", "stock:make_pool", ADMINS),
        Route("GET /console/stock/uploads", "stock:index", STAFF),
        Route("POST /console/stock/uploads", "stock:upload", ADMINS, keyed=False, limit=LARGE_BODY),
        Route("GET /console/stock/uploads/{id}", "stock:one", STAFF),
        Route("POST /console/stock/refused", "stock:refused", ADMINS, keyed=False, limit=LARGE_BODY),
        Route("GET /console/ledger", "ledger:show", STAFF),
        Route("GET /console/health", "health:show", STAFF),
        Route("POST /console/health/mode", "health:set_mode", OWNERS),
        Route("GET /console/sign-in", "session:start", EVERYONE),
        Route("GET /console/signed-in", "session:finish", EVERYONE),
        Route("GET /console/signed-out", "session:ended", EVERYONE),
        Route("POST /console/sign-out", "session:end", keyed=False),
        Route("POST /console/theme", "session:theme", keyed=False),
    ]
)

handler = console.handler
