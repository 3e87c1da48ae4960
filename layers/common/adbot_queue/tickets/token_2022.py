"""One token of Solana's Token-2022 program, its metadata in the mint: instructions for the chain, and its answer. Pure.

solders makes keys, messages and the instructions of the system program. What it lacks is encoded here, after
spl-token-2022-interface (`instruction`, `state`, `extension`, `extension::metadata_pointer::instruction`),
spl-token-metadata-interface (`instruction`, `state`; its texts are Borsh: four bytes of length, UTF-8) and
spl-associated-token-account-interface (`instruction`), all on docs.rs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.instruction import AccountMeta, Instruction
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM
from solders.system_program import CreateAccountParams, create_account
from solders.token.associated import get_associated_token_address
from solders.token.state import Mint, TokenAccount

TOKEN_2022 = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED_TOKEN = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")


# Numbers of Token-2022's instructions, and of one authority.
_SET_AUTHORITY, _MINT_TO, _INITIALIZE_MINT_2, _METADATA_POINTER = 6, 7, 20, 39
_TO_MINT = 0
_CREATE_IDEMPOTENT = 1

# An extended mint: 82 bytes of mint, zeros up to the size of a token account, its kind, and then entries of
# kind (2 bytes), length (2) and value.
_MINT_BYTES, _ACCOUNT_BYTES, _IS_MINT = 82, 165, 1
# Two bytes are added to one that would be as long as a multisig account, so that it is not taken for one.
_MULTISIG_BYTES = 355
_POINTER_ENTRY, _METADATA_ENTRY = 18, 19
_ENTRY_HEAD = 4
_KEY, _SIGNATURE = 32, 64
_NO_KEY = bytes(_KEY)

SPACE = _ACCOUNT_BYTES + 1 + _ENTRY_HEAD + 2 * _KEY
"""Bytes that a mint is created with. It grows when its metadata is written, if it has the rent for that."""

CREATE_MINT, CREATE_ACCOUNT = "create mint", "create token account"
"""The two steps that cost rent."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a token says of itself."""

    name: str
    symbol: str
    uri: str
    attributes: Mapping[str, str]

    def space(self) -> int:
        """Bytes of a mint that holds it."""
        texts = [self.name, self.symbol, self.uri, *self.attributes, *self.attributes.values()]
        space = SPACE + _ENTRY_HEAD + 2 * _KEY + sum(len(_text(text)) for text in texts) + len(_number(0))
        return space + 2 if space == _MULTISIG_BYTES else space


def compute_units(metadata: Metadata) -> int:
    """The most that a mint may use.

    The largest that fit into a transaction use 43,000 without attributes and up to 118,000 with eight. The token
    account's address is searched for, at 1,500 a try of which one in two hits: there is room for 25 of them.
    """
    return 85_000 + 10_000 * len(metadata.attributes)


@dataclass(frozen=True, slots=True)
class Parties:
    """Whom a mint is between: `payer` pays and signs, `mint` is the token, `owner` gets it."""

    payer: Pubkey
    mint: Pubkey
    owner: Pubkey

    @property
    def account(self) -> Pubkey:
        """Where the owner's wallet keeps the token."""
        return get_associated_token_address(self.owner, self.mint, TOKEN_2022)


Step = tuple[str, Instruction]
"""An instruction and what people call it."""


def steps(parties: Parties, metadata: Metadata, lamports: int, price: int) -> list[Step]:
    """Return the instructions of the one transaction that mints the token, which is final.

    Args:
        parties: whom it is between.
        metadata: the token's description.
        lamports: rent of `metadata.space()` bytes.
        price: micro-lamports a compute unit, on top of the fee.
    """
    mint, payer = parties.mint, parties.payer
    by_payer = [_writable(mint), AccountMeta(payer, is_signer=True, is_writable=False)]
    return [
        ("compute limit", set_compute_unit_limit(compute_units(metadata))),
        *([("compute price", set_compute_unit_price(price))] if price else []),
        (
            CREATE_MINT,
            create_account(
                CreateAccountParams(from_pubkey=payer, to_pubkey=mint, lamports=lamports, space=SPACE, owner=TOKEN_2022)
            ),
        ),
        # The pointer is fixed; the metadata is in the mint.
        ("metadata pointer", _token([_METADATA_POINTER, 0], _NO_KEY + bytes(mint), [_writable(mint)])),
        # No decimals; the payer may mint; freezing is not possible.
        ("initialize mint", _token([_INITIALIZE_MINT_2, 0], bytes(payer) + bytes([0]), [_writable(mint)])),
        ("metadata", _initialize(parties, metadata)),
        *(("attribute", _attribute(key, text, by_payer)) for key, text in sorted(metadata.attributes.items())),
        ("freeze metadata", Instruction(TOKEN_2022, _named("update_the_authority") + _NO_KEY, by_payer)),
        (CREATE_ACCOUNT, _create_account(parties)),
        (
            "mint one",
            _token([_MINT_TO], (1).to_bytes(8, "little"), [by_payer[0], _writable(parties.account), by_payer[1]]),
        ),
        ("end minting", _token([_SET_AUTHORITY, _TO_MINT, 0], b"", by_payer)),
    ]


def _initialize(parties: Parties, metadata: Metadata) -> Instruction:
    texts = _text(metadata.name) + _text(metadata.symbol) + _text(metadata.uri)
    mint, payer = parties.mint, parties.payer
    accounts = [
        _writable(mint),
        _readable(payer),
        _readable(mint),
        AccountMeta(payer, is_signer=True, is_writable=False),
    ]
    return Instruction(TOKEN_2022, _named("initialize_account") + texts, accounts)


def _attribute(key: str, text: str, by_payer: list[AccountMeta]) -> Instruction:
    # 3: a field of one's own. 0 to 2 are name, symbol and uri.
    return Instruction(TOKEN_2022, _named("updating_field") + bytes([3]) + _text(key) + _text(text), by_payer)


def _create_account(parties: Parties) -> Instruction:
    accounts = [
        AccountMeta(parties.payer, is_signer=True, is_writable=True),
        _writable(parties.account),
        *map(_readable, (parties.owner, parties.mint, SYSTEM, TOKEN_2022)),
    ]
    return Instruction(ASSOCIATED_TOKEN, bytes([_CREATE_IDEMPOTENT]), accounts)


def _token(numbers: list[int], rest: bytes, accounts: list[AccountMeta]) -> Instruction:
    return Instruction(TOKEN_2022, bytes(numbers) + rest, accounts)


def _writable(key: Pubkey) -> AccountMeta:
    return AccountMeta(key, is_signer=False, is_writable=True)


def _readable(key: Pubkey) -> AccountMeta:
    return AccountMeta(key, is_signer=False, is_writable=False)


def _named(name: str) -> bytes:
    """The first bytes of an instruction of the metadata interface."""
    return sha256(f"spl_token_metadata_interface:{name}".encode()).digest()[:8]


def _number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _number(len(encoded)) + encoded


def size(metadata: Metadata) -> int:
    """Return the most bytes of the transaction that mints a token, signatures included."""
    parties = Parties(Pubkey.new_unique(), Pubkey.new_unique(), Pubkey.new_unique())
    message = Message([instruction for _, instruction in steps(parties, metadata, 1, 1)], parties.payer)
    return 1 + 2 * _SIGNATURE + len(bytes(message))


class NotAMint(ValueError):
    """The bytes are none of a Token-2022 mint with its metadata."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A mint as the chain shows it; None is an authority that does not exist."""

    supply: int
    decimals: int
    mint_authority: Pubkey | None
    freeze_authority: Pubkey | None
    pointer: tuple[Pubkey | None, Pubkey | None]
    update_authority: Pubkey | None
    of: Pubkey | None
    metadata: Metadata


def read_mint(data: bytes) -> Shown:
    """A mint out of its account's bytes.

    Raises:
        NotAMint: they are something else.
    """
    if len(data) <= _ACCOUNT_BYTES or data[_ACCOUNT_BYTES] != _IS_MINT:
        raise NotAMint
    try:
        mint = Mint.from_bytes(data[:_MINT_BYTES])
    except ValueError as error:
        raise NotAMint from error
    entries = _entries(data[_ACCOUNT_BYTES + 1 :])
    if _POINTER_ENTRY not in entries or _METADATA_ENTRY not in entries:
        raise NotAMint
    pointer, metadata = _Reader(entries[_POINTER_ENTRY]), _Reader(entries[_METADATA_ENTRY])
    return Shown(
        mint.supply,
        mint.decimals,
        mint.mint_authority,
        mint.freeze_authority,
        (pointer.key(), pointer.key()),
        metadata.key(),
        metadata.key(),
        Metadata(metadata.text(), metadata.text(), metadata.text(), metadata.texts()),
    )


def differences(shown: Shown, parties: Parties, metadata: Metadata) -> list[str]:
    """What is not as `steps` make it. A token that its owner has burnt since was made all the same."""
    rules = {
        "supply": shown.supply in {0, 1},
        "decimals": shown.decimals == 0,
        "mint authority": shown.mint_authority is None,
        "freeze authority": shown.freeze_authority is None,
        "update authority": shown.update_authority is None,
        "metadata pointer": shown.pointer == (None, parties.mint) and shown.of == parties.mint,
        "name": shown.metadata.name == metadata.name,
        "symbol": shown.metadata.symbol == metadata.symbol,
        "uri": shown.metadata.uri == metadata.uri,
        "attributes": dict(shown.metadata.attributes) == dict(metadata.attributes),
    }
    return [name for name, kept in rules.items() if not kept]


def read_amount(data: bytes) -> int:
    """How many tokens an account holds."""
    return TokenAccount.from_bytes(data[:_ACCOUNT_BYTES]).amount


def _entries(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= _ENTRY_HEAD:
        kind, size = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
        found[kind], data = data[_ENTRY_HEAD : _ENTRY_HEAD + size], data[_ENTRY_HEAD + size :]
    return found


class _Reader:
    """Takes values off the front of bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def _take(self, size: int) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        if len(taken) < size:
            raise NotAMint
        return taken

    def _number(self) -> int:
        return int.from_bytes(self._take(4), "little")

    def key(self) -> Pubkey | None:
        """A key; zeros are none."""
        taken = self._take(_KEY)
        return None if taken == _NO_KEY else Pubkey.from_bytes(taken)

    def text(self) -> str:
        try:
            return self._take(self._number()).decode()
        except UnicodeDecodeError as error:
            raise NotAMint from error

    def texts(self) -> dict[str, str]:
        return {self.text(): self.text() for _ in range(self._number())}
