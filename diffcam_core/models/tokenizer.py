"""A thin wrapper around a checkpoint's ``tokenizer.json`` (tokenizers library, no code in it)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from tokenizers import Tokenizer

from diffcam_core.errors import CheckpointError

_MAX_BYTES = 256 * 1024 * 1024


class _RefuseMalformed:
    """Turn the library's error for malformed files, which is a bare Exception, into ours."""

    def __init__(self, origin: str) -> None:
        self._origin = origin

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        if kind is Exception:
            raise CheckpointError(
                f"{self._origin} is not a tokenizer.json ({error})", "Fetch it again."
            ) from error
        return False


class TextTokenizer:
    """Text to ids and back.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = {
            index: token.content
            for index, token in tokenizer.get_added_tokens_decoder().items()
            if token.special
        }
        self._bytes = _byte_alphabet() if _is_byte_level(tokenizer) else None

    @classmethod
    def from_folder(cls, folder: Path) -> TextTokenizer:
        """Read ``tokenizer.json``.

        Raises
        ------
        CheckpointError
            If it is missing or damaged.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(
                f"tokenizer.json is missing in {folder}", "Fetch it from where the model came from."
            )
        if path.stat().st_size > _MAX_BYTES:
            raise CheckpointError(f"{path} is too large for a tokenizer", "Fetch it again.")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error})", "Fetch it again.") from error
        return cls.from_json(text, str(path))

    @classmethod
    def from_json(cls, text: str, origin: str = "the tokenizer") -> TextTokenizer:
        """Build from the text of a ``tokenizer.json``; CheckpointError if it is not one."""
        with _RefuseMalformed(origin):
            return cls(Tokenizer.from_str(text))

    @property
    def size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of special tokens."""
        return frozenset(self._special)

    def id_of(self, token: str) -> int | None:
        """Return the id of a token given as it is stored, or None."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def encode(self, text: str) -> list[int]:
        """Encode text; strings of special tokens become those tokens, none are added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Decode ids, leaving out special ones and ids without a token."""
        kept = [i for i in map(int, ids) if 0 <= i < 2**32 and i not in self._special]
        return str(self._tokenizer.decode(kept, skip_special_tokens=True))

    def token_text(self, token_id: int) -> str:
        """Return the display text of one token, its leading space included.

        Special tokens show their name; bytes that are no text alone show as ``<0xE2>``; an id
        without a token shows as ``<id 126400>``.
        """
        token_id = int(token_id)
        if token_id in self._special:
            return self._special[token_id]
        piece = self._tokenizer.id_to_token(token_id) if 0 <= token_id < 2**32 else None
        if piece is None:
            return f"<id {token_id}>"
        if self._bytes is None:
            return str(self._tokenizer.decode([token_id], skip_special_tokens=False)) or str(piece)
        values = [self._bytes.get(char) for char in piece]
        if any(value is None for value in values):  # an added token, stored as plain text
            return str(piece)
        raw = bytes(value for value in values if value is not None)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return _show_bytes(raw)

    def texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Return the display text of every id."""
        return tuple(self.token_text(i) for i in ids)


def _show_bytes(raw: bytes) -> str:
    """Decode what is text and name the other bytes."""
    return "".join(
        f"<0x{ord(char) - 0xDC00:02X}>" if 0xDC80 <= ord(char) <= 0xDCFF else char
        for char in raw.decode("utf-8", errors="surrogateescape")
    )


def _is_byte_level(tokenizer: Tokenizer) -> bool:
    def find(node: Any) -> bool:
        if isinstance(node, dict):
            return node.get("type") == "ByteLevel" or any(find(n) for n in node.values())
        return isinstance(node, list) and any(find(n) for n in node)

    return find(json.loads(tokenizer.to_str()).get("decoder"))


def _byte_alphabet() -> dict[str, int]:
    """Return the byte behind each letter of the byte-level alphabet (GPT-2's convention).

    Printable Latin-1 bytes stand for themselves; the others are numbered on from U+0100.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    letters.update({chr(0x100 + index): byte for index, byte in enumerate(others)})
    return letters
