#!/usr/bin/env bash
# phonenumberslite 9.0.42 (data of libphonenumber): a German mobile number with its calling code but without + is read, for Germany, as
# a valid fixed line: 49 is dialled twice. For France, the same spelling is read as it was meant. Expected: one way for all countries.
# Exports of messengers and CRMs write numbers like this: who trusts is_valid_number calls somebody else.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'phonenumberslite==9.0.42'
venv/bin/python - <<'PY'
import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

def e164(number):
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)

print("phonenumberslite", phonenumbers.__version__)
found = {}
for country in ("DE", "FR"):
    example = e164(phonenumbers.example_number_for_type(country, PhoneNumberType.MOBILE))
    number = phonenumbers.parse(example.removeprefix("+"), country)
    found[country] = (example, e164(number), phonenumbers.is_valid_number(number), PhoneNumberType.to_string(phonenumbers.number_type(number)))
    print(f"{example.removeprefix('+')} in {country}: expected {example}, seen", *found[country][1:])
example, *seen = found["DE"]
assert seen == ["+49" + example.removeprefix("+"), True, "FIXED_LINE"], found
example, *seen = found["FR"]
assert seen == [example, True, "MOBILE"], found
PY
