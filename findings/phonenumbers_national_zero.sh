#!/usr/bin/env bash
# phonenumbers 9.0.43 (data of libphonenumber): a number written with the calling code AND the national 0 is parsed, the 0 is
# dropped silently and the number is valid (+33 06..., +49 0151...). Expected: no such E.164 number exists, so invalid.
# Who compares the text that came in with the one that is dialled has two texts for one phone: limits and opt-outs miss.
set -euo pipefail
cd "$(mktemp -d)"
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'phonenumbers==9.0.43'
venv/bin/python - <<'PY'
import phonenumbers
found = {}
for text in ("+330612345678", "+33612345678", "+49015123456789", "+4915123456789"):
    number = phonenumbers.parse(text)
    found[text] = (phonenumbers.is_valid_number(number), phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
for text, what in found.items():
    print(text, *what)
assert found["+330612345678"] == (True, "+33612345678"), found
assert found["+49015123456789"] == (True, "+4915123456789"), found
PY
