"""Writes `messaging/mobile_numbers.json`: which numbers are mobile ones, and of which country.

The figures are those of Google's libphonenumber (Apache 2.0) in the release that the file names. Its package is 2 MB
of patterns for much else, so it is needed here alone:

    uv run --with phonenumbers==9.0.43 python -m local.mobile_numbers
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

from adbot_queue.messaging import phone_ranges as numbers


def main() -> None:
    """Write the file: calling code -> its countries, each with its first digits and its mobile numbers."""
    library, data = import_module("phonenumbers"), import_module("phonenumbers.data")
    found: dict[str, list[list[str | None]]] = {}
    for code, regions in sorted(data._COUNTRY_CODE_TO_REGION_CODE.items()):  # noqa: SLF001  in the library's own order
        for region in regions:
            plan = library.PhoneMetadata.metadata_for_region(region)
            if plan is None or not plan.mobile or not plan.mobile.national_number_pattern:
                continue  # satellites and other numbers of no country, and a country without mobile numbers
            entry = [region, plan.leading_digits, plan.mobile.national_number_pattern]
            found.setdefault(str(code), []).append(entry)
    kept = {"source": f"libphonenumber {library.__version__}, Apache License 2.0", "codes": found}
    Path(numbers.FILE).write_text(json.dumps(kept, indent=0) + "\n")


if __name__ == "__main__":
    main()
