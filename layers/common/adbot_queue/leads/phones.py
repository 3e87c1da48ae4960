"""Phone numbers as people write them, as E.164. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

_TWO = re.compile(r"[/;,|]|:::|\s(?:or|oder|und|and)\s", re.IGNORECASE)
_QUOTED = re.compile(r'="([^"]*)"')
"""How spreadsheets are made to keep a number as text."""
_FRACTION = re.compile(r"(\d)\.0")
"""What a column of numbers makes of one."""
_LABEL = re.compile(r"\s*\([^()\d]*\)$")
_LINK = re.compile(
    r"(?:https?://)?(?:wa\.me/|api\.whatsapp\.com/send/?\?phone=)\+?(\d+)/?|whatsapp:\+?(\d+)", re.IGNORECASE
)
"""Ways to write a number with its country's code but without +."""
_SCIENTIFIC = re.compile(r"[+-]?\d(?:[.,]\d+)?[eE]\+?\d+")
MAX_WRITTEN = 64
MIN_DIGITS = 6
"""Of a part of a cell that may be a number of its own."""


def e164(written: str, country: str | None) -> str:
    """Return a number in E.164.

    Args:
        written: with its country's code, or as it is dialled in `country`.
        country: ISO 3166-1, two letters.

    Raises:
        ValueError: says what is wrong with it.
    """
    import phonenumbers  # noqa: PLC0415  few requests need it
    from phonenumbers import NumberParseException  # noqa: PLC0415

    text = _plain(written)
    if not text:
        raise ValueError("must not be empty")
    if len(text) > MAX_WRITTEN:
        raise ValueError(f"must have at most {MAX_WRITTEN} characters")
    if _SCIENTIFIC.fullmatch(text):
        raise ValueError("is a number that a spreadsheet rounded; format the column as text")
    if country is None and text.startswith("00"):
        text = f"+{text[2:]}"
    try:
        number = phonenumbers.parse(text, country)
    except NumberParseException as error:
        raise ValueError(
            _problem(text, country, error.error_type == NumberParseException.INVALID_COUNTRY_CODE)
        ) from None
    if not phonenumbers.is_valid_number(number):
        raise ValueError(_problem(text, country, no_country=False))
    other = _with_code(text, country) if country else None
    if other and other != number:
        number = _mobile(number, other)
    if number.extension:
        raise ValueError("must not have an extension")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _plain(written: str) -> str:
    """Return a number without what spreadsheets, links and labels put around it."""
    text = "".join(
        " " if unicodedata.category(letter) == "Zs" else letter
        for letter in unicodedata.normalize("NFKC", written)
        if unicodedata.category(letter) != "Cf"
    ).strip()
    text = _QUOTED.sub(r"\1", text).removeprefix("'").strip()
    if link := _LINK.fullmatch(text):
        return f"+{link[1] or link[2]}"
    return _FRACTION.sub(r"\1", text) if _FRACTION.search(text) and text.endswith(".0") else _LABEL.sub("", text)


def _with_code(text: str, country: str) -> PhoneNumber | None:
    """Return a number without + that begins with the code of its country, as if it had one; None if it is none."""
    import phonenumbers  # noqa: PLC0415

    digits = re.sub(r"\D", "", text)
    if text.startswith("+") or not digits.startswith(str(phonenumbers.country_code_for_region(country))):
        return None
    number = phonenumbers.parse(f"+{digits}", None)
    return number if phonenumbers.is_valid_number(number) else None


def _mobile(number: PhoneNumber, other: PhoneNumber) -> PhoneNumber:
    """Return which of two readings is a mobile phone: `4915112345678` in Germany is no number of the area 04915.

    Raises:
        ValueError: both are, or neither is.
    """
    import phonenumbers  # noqa: PLC0415

    kinds = phonenumbers.PhoneNumberType
    mobile = {kinds.MOBILE, kinds.FIXED_LINE_OR_MOBILE}
    found = [one for one in (number, other) if phonenumbers.number_type(one) in mobile]
    if len(found) != 1:
        raise ValueError("may be read with and without a country code; must begin with + and the country code")
    return found[0]


def check_country(code: str) -> str:
    """Return a country as two capital letters.

    Raises:
        ValueError: no country has this code.
    """
    if not is_country(code.upper()):
        raise ValueError("must be a country of ISO 3166-1 like DE")
    return code.upper()


def is_country(code: str) -> bool:
    """Return whether two capital letters are a country."""
    import phonenumbers  # noqa: PLC0415

    return code in phonenumbers.SUPPORTED_REGIONS


def _problem(text: str, country: str | None, no_country: bool) -> str:  # noqa: FBT001
    if sum(len(re.sub(r"\D", "", part)) >= MIN_DIGITS for part in _TWO.split(text)) > 1:
        return "has more than one number"
    if country is None and no_country and not text.startswith("+"):
        return "must begin with + and the country code, or the import must name a country"
    return "is not a valid phone number"
