"""Phone numbers as people write them, as E.164. Pure."""

from __future__ import annotations

import re

_TWO = re.compile(r"[/;,|]|\s(?:or|oder|und|and)\s", re.IGNORECASE)
_QUOTED = re.compile(r'="([^"]*)"')
"""How spreadsheets are made to keep a number as text."""
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

    text = _QUOTED.sub(r"\1", written.strip()).removeprefix("'").strip()
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
    if number.extension:
        raise ValueError("must not have an extension")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


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
