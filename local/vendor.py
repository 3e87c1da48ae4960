"""`make vendor`: the console's files that others made, from npm packages of these versions, checked by their integrity.

Fonts are cut down to what pages show, icons joined into one sprite. The results are in the repository: a build and a
test need neither npm nor this.
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

from local.settings import ROOT

STATIC = ROOT / "layers" / "common" / "adbot_queue" / "console" / "static"
BROWSER = ROOT / "tests" / "browser" / "vendored"

PACKAGES = {
    "htmx.org@4.0.1": "oF7JgXhDW9UXCy/k1ZYFUQgzu/rm19ORWPSPNL91vPluB2PB9+MV55tyQdH/w7o2EAbTYUG5SDW1R60mdkdqGg==",
    "inter-ui@4.1.1": "451h0J29HyOmA+JXgSi/6M12tL7ZCZ8arYKZUXiOXTJpJbAKqJvFh3k5SiV3x7tKe0C0KyrKUUiQIvvZ2PQDcA==",
    "lucide-static@1.62.0": "WBZA/m2PvkFpMGHDtsBck5P2A9G4ehLlYu4GwwICcmEm1BvYVgj00lCDxKRWLlbMlOibLaiwdQ88G5pHkSWgwA==",
    "@fontsource-variable/jetbrains-mono@5.3.0": (
        "F32xpS2NsGYoQi2ADSkKTgpJj7ozajsGgDJ8woTnqjmIB+dxDIqImjl4pXZVEExu8UFZ2ndhmX18EBS/hdz3Lw=="
    ),
    "axe-core@4.14.1": "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
}
"""Package -> SHA-512 of its archive, its integrity in npm's registry."""

COPIED = {
    ("htmx.org", "dist/htmx.min.js"): STATIC / "htmx.min.js",
    ("htmx.org", "LICENSE"): STATIC / "htmx.LICENSE",
    ("inter-ui", "LICENSE.txt"): STATIC / "inter.LICENSE",
    ("lucide-static", "LICENSE"): STATIC / "icons.LICENSE",
    ("@fontsource-variable/jetbrains-mono", "LICENSE"): STATIC / "mono.LICENSE",
    ("axe-core", "axe.min.js"): BROWSER / "axe.min.js",
}

ICONS = [
    "activity",
    "arrow-right",
    "ban",
    "banknote",
    "bell",
    "bell-ring",
    "book-open",
    "bot",
    "calendar-clock",
    "check",
    "chevron-down",
    "chevron-left",
    "chevron-right",
    "chevrons-up-down",
    "circle",
    "circle-alert",
    "circle-check",
    "circle-dot",
    "circle-minus",
    "circle-pause",
    "circle-question-mark",
    "circle-x",
    "clock",
    "copy",
    "download",
    "ellipsis",
    "external-link",
    "eye",
    "fast-forward",
    "file-text",
    "flag",
    "globe",
    "history",
    "hourglass",
    "house",
    "inbox",
    "info",
    "key-round",
    "layers",
    "layout-dashboard",
    "link",
    "list",
    "list-filter",
    "loader",
    "lock",
    "log-out",
    "mail",
    "mail-x",
    "menu",
    "message-square-text",
    "monitor",
    "moon",
    "package",
    "pause",
    "pencil",
    "play",
    "plus",
    "power",
    "receipt-text",
    "refresh-cw",
    "rotate-ccw",
    "scroll-text",
    "search",
    "send",
    "server",
    "shield-user",
    "shopping-cart",
    "snail",
    "square",
    "stethoscope",
    "sun",
    "sun-moon",
    "table",
    "tag",
    "terminal",
    "trash-2",
    "triangle",
    "triangle-alert",
    "undo-2",
    "unplug",
    "upload",
    "user",
    "users-round",
    "wallet",
    "workflow",
    "x",
    "zap",
]

MARK = (
    '<symbol id="mark" viewBox="0 0 24 24"><g fill="none" stroke-linecap="round" stroke-width="2.4">'
    '<rect x="1" y="1" width="22" height="22" rx="6" fill="#4a48d2" stroke="none"/>'
    '<path stroke="#fff" d="M6 8h12M6 12h8M6 16h4M17 16h1"/></g></symbol>'
)
"""The product's mark; the sprite shows it when it is opened itself, as the page's icon."""

ASCII = range(0x20, 0x7F)
TEXT = [
    *ASCII,
    *range(0xA0, 0x100),
    *(0x131, 0x152, 0x153, 0x2018, 0x2019, 0x201A, 0x201C, 0x201D, 0x201E, 0x2022, 0x2026, 0x2039, 0x203A, 0x20AC),
    *range(0x2010, 0x2016),
    *range(0x2190, 0x2194),
    0x2212,
]
TABULAR = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "plus", "minus", "plusminus"}
"""What Inter's tabular figures are for: its own feature widens brackets and full stops too."""


def main() -> int:
    """Write every file."""
    with tempfile.TemporaryDirectory() as folder:
        packages = {name.rpartition("@")[0]: _unpack(name, Path(folder)) for name in PACKAGES}
        for (package, path), target in COPIED.items():
            target.parent.mkdir(exist_ok=True)
            target.write_bytes((packages[package] / path).read_bytes())
        (STATIC / "icons.svg").write_text(_sprite(packages["lucide-static"] / "icons"))
        inter = packages["inter-ui"] / "variable" / "InterVariable.woff2"
        _font(inter, STATIC / "inter.woff2", TEXT, {"opsz": 14, "wght": (400, 650)})
        mono = packages["@fontsource-variable/jetbrains-mono"] / "files" / "jetbrains-mono-latin-wght-normal.woff2"
        _font(mono, STATIC / "mono.woff2", [*ASCII, 0x2026], {"wght": 440})
    return 0


def _unpack(name: str, folder: Path) -> Path:
    """Fetch a package with npm and check what arrived."""
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), name]
    packed = folder / subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    if digest != PACKAGES[name]:
        raise SystemExit(f"{name} is not the package that it was: {digest}")
    target = folder / packed.stem
    with tarfile.open(packed) as archive:
        archive.extractall(target, filter="data")
    return target / "package"


def _sprite(icons: Path) -> str:
    symbols = []
    for name in ICONS:
        found = re.search(r"<svg[^>]*>(.*)</svg>", (icons / f"{name}.svg").read_text(), re.DOTALL)
        if found is None:
            raise SystemExit(f"{name}.svg is no icon")
        drawn = re.sub(r"\s+", " ", found[1]).strip().replace(" />", "/>").replace("> <", "><")
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{drawn}</symbol>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">{MARK}{"".join(symbols)}'
        '<use href="#mark"/></svg>\n'
    )


def _font(source: Path, target: Path, characters: Iterable[int], limits: Mapping[str, object]) -> None:
    """Keep these characters, and pin or limit the axes: subset first, or the instance is made of all glyphs."""
    options = subset.Options()
    options.layout_features = ["kern", "liga", "tnum", "mark", "mkmk", "ccmp", "locl"]
    options.hinting = False
    font = TTFont(source, recalcTimestamp=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=list(characters))
    subsetter.subset(font)
    font = instancer.instantiateVariableFont(font, dict(limits))
    table: Any = font["GSUB"].table
    for record in table.FeatureList.FeatureRecord:
        if record.FeatureTag == "tnum":
            for index in record.Feature.LookupListIndex:
                for part in table.LookupList.Lookup[index].SubTable:
                    mapping = getattr(getattr(part, "ExtSubTable", part), "mapping", {})
                    for glyph in [name for name in mapping if name not in TABULAR]:
                        del mapping[glyph]
    font.flavor = "woff2"
    font.save(target)


if __name__ == "__main__":
    sys.exit(main())
