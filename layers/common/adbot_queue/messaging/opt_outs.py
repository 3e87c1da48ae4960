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
        please stop, stop please, stop it, stop messages, stop promotions, unsubscribe me,
        stopp, abmelden, abbestellen, austragen, löschen,
        baja, darse de baja, dar de baja, parar, alto, detener, cancelar, cancelar suscripción, desuscribir,
        arret, arrêt, arrêter, arrête, arrêtez, désabonner, me désabonner, désinscription, stop pub, résilier,
        pare, sair, descadastrar, cancelar inscrição,
        basta, cancella, cancellami, disiscrivi, disiscrivimi, annulla,
        afmelden, uitschrijven, stoppen, zatrzymaj, wypisz, rezygnuję,
        afmeld, frameld, avsluta, avregistrera, avslutt, meld av, lopeta, lõpeta, stabdyti, apturēt,
        odhlásit, odhlásiť, zrušit, zrušiť, konec, koniec, leiratkozás, leiratkozom, állj, dezabonare, renunță,
        διακοπή, διαγραφή, στοπ, odjava, prekini,
        стоп, отписаться, отписка, отмена, відписатися, відписка, спри, отказ,
        dur, durdur, iptal, ret, çık, berhenti, dừng, hủy,
        henti, tigil, ihinto, หยุด, ยกเลิก, రద్దు, நிறுத்து, বন্ধ, बन्द, रोक्नुहोस्, रोकें, बंद करें, روکیں, بند کریں, لغو,
        إيقاف, ايقاف, توقف, إلغاء, الغاء, הסר, הסרה, עצור,
        停止, 配信停止, 解除, やめる, 取消, 取消订阅, 取消訂閱, 退订, 退訂, 중지, 중단, 해지, 수신거부
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
_LETTERS = {"L", "M", "N"}


def _plain(text: str) -> str:
    """Return a text without what people write differently.

    Case, accents, width, invisible characters, marks and emojis around words, a word that is repeated.
    """
    letters = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(letter for letter in letters if unicodedata.category(letter) not in {"Mn", "Cf"})
    around = "".join(letter for letter in set(kept) if unicodedata.category(letter)[0] not in _LETTERS)
    words = [plain for word in kept.replace("ı", "i").split() if (plain := word.strip(around))]
    return words[0] if len(set(words)) == 1 else " ".join(words)


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
