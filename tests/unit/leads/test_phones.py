"""Phones as people, spreadsheets and CRMs write them: the right number, or a refusal, never another person's."""

# ruff: noqa: RUF001  digits and dashes that people write
from __future__ import annotations

import phonenumbers
import pytest
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from adbot_queue.leads.phones import e164

BERLIN = "+4915112345678"


@pytest.mark.parametrize(
    "written",
    [
        *("+49 151 12345678", "0049 151 12345678", "+49 (0)151 12345678", "+49.151.123.456.78", "+49–151–12345678"),
        *("(0151) 123-45678", "0151/12345678", "15112345678", "015112345678.0", "15112345678.0", "'015112345678"),
        *("4915112345678", "4915112345678.0", "49 151 12345678", '="+4915112345678"', "٠١٥١١٢٣٤٥٦٧٨"),
        *("+49\u00a0151\u202f12345678", "\u200e+49 151 12345678\u202c", "＋４９１５１１２３４５６７８"),
        *("tel:+49-151-12345678", "whatsapp:+4915112345678", "https://wa.me/4915112345678", "wa.me/4915112345678/"),
        *("https://api.whatsapp.com/send?phone=4915112345678", "+49 151 12345678 (mobil)", "Mobil: +49 151 12345678"),
    ],
)
def test_a_number_of_germany_is_read_in_every_writing(written: str) -> None:
    assert e164(written, "DE") == BERLIN


@pytest.mark.parametrize(
    ("written", "country", "why"),
    [
        ("0151 12345678", None, "must begin with + and the country code"),
        ("4915112345678", None, "must begin with + and the country code"),
        ("+49 151 12345678 / +49 30 1234567", "DE", "has more than one number"),
        ("+49 151 12345678 ::: +49 30 1234567", "DE", "has more than one number"),
        ("+49 151 12345678 ext 5", "DE", "must not have an extension"),
        ("4.91511E+12", "DE", "is a number that a spreadsheet rounded"),
        ("468123456", "SE", "may be read with and without a country code"),
        ("110", "DE", "is not a valid phone number"),
        (" ", "DE", "must not be empty"),
        ("+" * 65, "DE", "must have at most 64 characters"),
    ],
)
def test_what_may_be_another_number_is_refused_with_the_rule(written: str, country: str | None, why: str) -> None:
    with pytest.raises(ValueError, match="^" + why.replace("+", r"\+")):
        e164(written, country)


def read(written: str, country: str) -> str:
    """Return the number, or why it is refused."""
    try:
        return e164(written, country)
    except ValueError as error:
        return str(error).partition(";")[0]


def test_no_writing_of_a_number_is_read_as_another_in_any_country() -> None:
    count = 0
    for country in phonenumbers.SUPPORTED_REGIONS:
        for kind in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE):
            example = phonenumbers.example_number_for_type(country, kind)
            if example is None:
                continue
            wanted = phonenumbers.format_number(example, PhoneNumberFormat.E164)
            for written in (
                wanted.removeprefix("+"),
                f"{wanted.removeprefix('+')}.0",
                f"https://wa.me/{wanted.removeprefix('+')}",
                phonenumbers.format_number(example, PhoneNumberFormat.NATIONAL),
                phonenumbers.format_number(example, PhoneNumberFormat.INTERNATIONAL),
            ):
                found = read(written, country)
                assert found in {wanted, "may be read with and without a country code"}, (country, written)
                count += found == wanted
    assert count > 2_000
