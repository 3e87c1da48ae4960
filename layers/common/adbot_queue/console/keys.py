"""The keyboard shortcuts: the help sheet lists them, and the script binds what the sheet lists."""

from __future__ import annotations

KEYS = {
    "?": ("this sheet, and what the page is for", ""),
    "r": ("refresh now", ""),
    "g o": ("overview", "/console"),
    "g q": ("queues", "/console/queues"),
    "g d": ("dead letters", "/console/dead-letters"),
    "g h": ("health", "/console/health"),
    "g b": ("bots", "/console/bots"),
    "g s": ("stock", "/console/stock"),
    "g l": ("ledger", "/console/ledger"),
    "j": ("next row", ""),
    "k": ("row before", ""),
    "x": ("select the row", ""),
    "e": ("edit and retry the open job", ""),
}
"""Keys -> what they do, and the page they open."""

NATIVE = {"Enter": "open the row", "Esc": "close"}
"""Keys that browsers bind themselves; listed, not bound."""
