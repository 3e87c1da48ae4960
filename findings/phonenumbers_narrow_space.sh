#!/usr/bin/env bash
# phonenumberslite 9.0.42: spaces that typesetting puts between groups of digits, U+202F (narrow no-break) and U+2009 (thin), make a
# number unreadable; U+00A0 (no-break) and U+3000 (ideographic) are skipped. Expected: any space is skipped. Numbers copied from
# a French page or a text processor look right and are refused.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'phonenumberslite==9.0.42'
venv/bin/python - <<'PY'
import unicodedata
import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

example = phonenumbers.example_number_for_type("FR", PhoneNumberType.MOBILE)
written = phonenumbers.format_number(example, PhoneNumberFormat.NATIONAL)
print("phonenumberslite", phonenumbers.__version__, "with", written)
found = {}
for space in " \u00a0\u3000\u202f\u2009":
    try:
        found[space] = phonenumbers.parse(written.replace(" ", space), "FR") == example
    except phonenumbers.NumberParseException as error:
        found[space] = error.error_type == phonenumbers.NumberParseException.NOT_A_NUMBER and "not a number"
    print(f"U+{ord(space):04X} {unicodedata.name(space)}: expected read, seen {'read' if found[space] is True else found[space]}")
assert found == {" ": True, "\u00a0": True, "\u3000": True, "\u202f": "not a number", "\u2009": "not a number"}, found
PY
