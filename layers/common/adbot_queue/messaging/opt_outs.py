"""Opt-outs from messages to a phone: a person's STOP ends SMS and WhatsApp alike, START allows them again.

Twilio acts on such words itself for SMS, and for WhatsApp only where Advanced Opt-Out is on; so they are judged here,
in more languages. A word counts only as the whole message: "please stop by at noon" is no opt-out.
"""

# ruff: noqa: RUF001  words in the letters that people write
from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from enum import StrEnum

from adbot_queue.messaging import suppressions

CHANNEL = "phone"
"""Of suppressions: an address is a phone in E.164, or the WhatsApp id of a person without one."""
STOPPED = "stop"
"""Their reason."""


class Wish(StrEnum):
    """What a message asks for beyond its words."""

    STOP = "STOP"
    START = "START"
    HELP = "HELP"


_WORDS: Mapping[Wish, str] = {
    Wish.STOP: """
        stop, stopall, stop all, unsubscribe, end, quit, revoke, optout, opt out, opt-out, cancel, remove me,
        stopp, abmelden, abbestellen, austragen, löschen,
        baja, darse de baja, dar de baja, parar, alto, detener, cancelar,
        arret, arrêt, arrêter, désabonner, me désabonner, désinscription,
        pare, sair, descadastrar, cancelar inscrição,
        basta, cancella, cancellami, disiscrivi, disiscrivimi, annulla,
        afmelden, uitschrijven, stoppen, zatrzymaj, wypisz, rezygnuję,
        стоп, отписаться, отписка, відписатися, відписка,
        dur, durdur, iptal, ret, çık, berhenti, dừng, hủy,
        إيقاف, ايقاف, توقف, إلغاء, الغاء, הסר, הסרה, עצור, रोकें, बंद करें, 停止, 配信停止, 退订, 退訂, 중지, 수신거부
        """,
    Wish.START: """
        start, unstop, subscribe, resubscribe, anmelden, alta, iniciar, commencer, réabonner, inizia, hervatten,
        старт, підписатися, подписаться, başla, mulai, ابدأ, התחל, 開始, 订阅, 시작
        """,
    Wish.HELP: """
        help, info, hilfe, ayuda, aide, ajuda, aiuto, hulp, pomoc, помощь, допомога, yardım, bantuan, مساعدة, עזרה,
        मदद, ヘルプ, 帮助, 도움말
        """,
}
_AROUND = " \t\r\n.!?,;:\"'“”„«»()[]*_~-"


def _plain(text: str) -> str:
    """Return a text without what people write differently: case, accents, width, invisible and surrounding marks."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(letter for letter in letters if unicodedata.category(letter) not in {"Mn", "Cf"})
    return " ".join(kept.replace("ı", "i").strip(_AROUND).split())


WISHES: Mapping[str, Wish] = {_plain(word): wish for wish, words in _WORDS.items() for word in words.split(",")}
"""Each word as it is compared -> what it asks for."""


def wish_of(text: str, button: str = "", opt_out_type: str = "") -> Wish | None:
    """Return what an inbound message asks for, None for an ordinary one. A STOP wins over all else it may say.

    Args:
        text: the whole message.
        button: the payload of the button that was pressed instead.
        opt_out_type: what Twilio's Advanced Opt-Out made of it.
    """
    said = [Wish(one) for word in (opt_out_type, button) if (one := word.strip().upper()) in {*Wish}]
    said += [wish] if (wish := WISHES.get(_plain(text))) else []
    return Wish.STOP if Wish.STOP in said else next(iter(said), None)


def is_stopped(address: str) -> bool:
    """Return whether a person wants no messages to this phone.

    Raises:
        NotConfigured, Unavailable: as `secrets.read`.
    """
    return suppressions.from_env().reason(CHANNEL, address) is not None


def stop(address: str, at: int, job: str | None = None) -> None:
    """Send nothing more to a phone; an older word than the latest START changes nothing. Raises as `is_stopped`."""
    suppressions.from_env().add(CHANNEL, address, STOPPED, at, job)


def start(address: str, at: int) -> None:
    """Allow messages to a phone again, unless a later STOP is known. Raises as `is_stopped`."""
    suppressions.from_env().resubscribe(CHANNEL, address, STOPPED, at)
