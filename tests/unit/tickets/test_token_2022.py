"""Token-2022 does what the instructions say: run against the programs themselves, for any metadata that fits."""

from __future__ import annotations

from functools import lru_cache

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from solders.transaction_metadata import TransactionMetadata

from adbot_queue.core.errors import NotConfigured
from adbot_queue.providers import solana
from adbot_queue.tickets import token_2022
from adbot_queue.tickets.jobs import nft_mint as nft
from adbot_queue.tickets.token_2022 import Metadata, NotAMint, Parties

PAYER = Keypair.from_seed(bytes([7] * 32))
TRY = 1500
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
METADATA = st.builds(Metadata, TEXTS, TEXTS, TEXTS, st.dictionaries(KEYS, TEXTS, max_size=nft.MAX_ATTRIBUTES))


@lru_cache(maxsize=1)
def chain() -> LiteSVM:
    made = LiteSVM()
    assert isinstance(made.airdrop(PAYER.pubkey(), 10**14), TransactionMetadata)
    return made


def fresh_parties() -> tuple[Keypair, Parties]:
    """A mint's key, and parties whose token account's address is found at the first try."""
    while True:
        key, owner = Keypair(), Keypair().pubkey()
        seeds = [bytes(owner), bytes(token_2022.TOKEN_2022), bytes(key.pubkey())]
        if Pubkey.find_program_address(seeds, token_2022.ASSOCIATED_TOKEN)[1] == 255:
            return key, Parties(PAYER.pubkey(), key.pubkey(), owner)


def minted(metadata: Metadata, price: int = 0) -> tuple[Parties, int, TransactionMetadata]:
    """Who took part, the transaction's bytes, and what the chain says of it."""
    key, parties = fresh_parties()
    rent = chain().minimum_balance_for_rent_exemption(metadata.space())
    instructions = [instruction for _, instruction in token_2022.steps(parties, metadata, rent, price)]
    latest = chain().latest_blockhash()
    message = Message.new_with_blockhash(instructions, PAYER.pubkey(), latest)
    transaction = Transaction([PAYER, key], message, latest)
    done = chain().send_transaction(transaction)
    assert isinstance(done, TransactionMetadata), done
    return parties, len(bytes(transaction)), done


def account(address: Pubkey) -> bytes:
    found = chain().get_account(address)
    assert found is not None
    assert found.owner == token_2022.TOKEN_2022
    return bytes(found.data)


@settings(deadline=None, max_examples=50)
@given(METADATA, st.integers(0, 1000))
@example(Metadata("", "", "", {}), 0)
@example(Metadata("n" * 37, "", "", {}), 0)  # as long as a multisig account
@example(Metadata("n" * 32, "s" * 10, "u" * 200, {str(index): "v" * 10 for index in range(8)}), 1)
@example(Metadata("", "", "", {str(index): "v" * 38 for index in range(8)}), 1)
def test_whatever_metadata_fits_into_a_transaction_is_what_the_chain_shows(metadata: Metadata, price: int) -> None:
    assume(token_2022.size(metadata) <= nft.MAX_TRANSACTION)
    parties, size, done = minted(metadata, price)

    data = account(parties.mint)
    assert token_2022.differences(token_2022.read_mint(data), parties, metadata) == []
    assert token_2022.read_mint(data).supply == 1
    assert token_2022.read_amount(account(parties.account)) == 1
    assert len(data) == metadata.space(), "the rent that was paid is the rent that is needed"
    assert size == token_2022.size(metadata) - (0 if price else 12), "a price takes 12 bytes"
    assert done.compute_units_consumed() + 25 * TRY < token_2022.compute_units(metadata)


@settings(deadline=None, max_examples=50)
@given(METADATA, METADATA)
def test_differing_metadata_are_found_by_field(one: Metadata, other: Metadata) -> None:
    assume(token_2022.size(one) <= nft.MAX_TRANSACTION)
    parties, _, _ = minted(one)
    shown = token_2022.read_mint(account(parties.mint))
    differing = [name for name in ("name", "symbol", "uri", "attributes") if getattr(one, name) != getattr(other, name)]

    assert token_2022.differences(shown, parties, other) == differing


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_mint_that_is_cut_off_or_changed_is_none_or_another_and_never_a_crash(data: st.DataObject) -> None:
    whole = bytearray(some_mint())
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])

    try:
        shown = token_2022.read_mint(cut)
    except NotAMint:
        return
    assert isinstance(shown.metadata, Metadata)


@lru_cache(maxsize=1)
def some_mint() -> bytes:
    parties, _, _ = minted(Metadata("Ticket", "T", "ar://x", {"seat": "A1", "row": "7"}))
    return account(parties.mint)


def test_a_mint_without_metadata_is_not_one_of_ours() -> None:
    with pytest.raises(NotAMint):
        token_2022.read_mint(some_mint()[:234])


@given(st.text(max_size=100))
@example("1" * 88)
@example("2" * 88)
@example("z" * 88)
def test_a_signing_key_is_read_or_refused_whatever_it_is(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solana.registry, "credential", lambda *_: text)
        with pytest.raises(NotConfigured):
            solana.signer()


@given(st.one_of(st.text(max_size=60), st.binary(min_size=32, max_size=32).map(lambda raw: str(Pubkey(raw)))))
def test_an_owner_is_a_wallet_or_is_refused_whatever_it_is(text: str) -> None:
    try:
        assert nft._wallet(text) == text
    except ValueError:
        return
    assert Pubkey.from_string(text).is_on_curve()
