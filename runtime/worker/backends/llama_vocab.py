"""A model's vocabulary: text to token ids and back."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import cast

from llama_cpp import llama_cpp as native

from ..vocabulary import BOUNDARY
from .llama_candidates import Candidates
from .llama_dry import DrySamplers

_CONTROL = native.LLAMA_TOKEN_ATTR_CONTROL | native.LLAMA_TOKEN_ATTR_UNKNOWN
"""The tokens that the tokenizer makes out of text only when it is told to."""
_PIECE_BYTES = 64


class Vocabulary:
    """Reads llama.cpp's vocabulary; pieces are kept once they were asked for."""

    def __init__(self, vocab: native.llama_vocab_p) -> None:
        self._vocab = vocab
        self.size = native.llama_vocab_n_tokens(vocab)
        self._pieces: list[bytes | None] = [None] * self.size
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        self.control_texts: dict[str, int] = {}
        """Token ids of the control tokens by their text."""
        self.longest_bytes = 1
        """No token stands for more bytes of text."""
        self.candidates = Candidates(self.size)
        """Room for choosing a token."""
        self.dry = DrySamplers(vocab)
        for token in range(self.size):
            text = native.llama_vocab_get_text(vocab, token)
            self.longest_bytes = max(self.longest_bytes, len(text))
            if native.llama_vocab_get_attr(vocab, token) & _CONTROL:
                self.control_texts[text.decode("utf-8", "replace")] = token
        self.ends = frozenset(token for token in self.control_texts.values() if self._is_end(token)) | self._plain_ends()
        self.bos = self._known(_number(native.llama_vocab_bos(vocab)))
        """The token that begins a sequence, or None."""
        self.eos = self._known(_number(native.llama_vocab_eos(vocab)))
        self.boundaries = frozenset(token for text, token in self.control_texts.items() if BOUNDARY.search(text))
        """The control tokens that begin a message in the chat templates of the field."""
        self.adds_bos = native.llama_vocab_get_add_bos(vocab)
        """Whether the model wants it before every text."""
        self.adds_bos_to_chats = self.adds_bos

    def tokenize(self, text: str, *, control: bool, whole: bool = False) -> list[int]:
        """Cuts text into tokens.

        Args:
            text: what to cut.
            control: whether the texts of control tokens become these tokens, or stay plain text.
            whole: whether the tokens are put around it that begin and end a text of this model; else nothing is.
        """
        data = text.encode("utf-8", "replace")
        room = len(data) + 16
        ids = (native.llama_token * room)()
        count = native.llama_tokenize(self._vocab, data, len(data), ids, room, whole, control)
        if count < 0:
            room = -count
            ids = (native.llama_token * room)()
            count = native.llama_tokenize(self._vocab, data, len(data), ids, room, whole, control)
        return cast("list[int]", ids[: max(0, count)])

    def piece(self, token: int) -> bytes:
        """The bytes of a token as shown to a reader; b"" for a control token."""
        piece = self._pieces[token]
        if piece is None:
            piece = self._pieces[token] = self._read_piece(token, special=False)
        return piece

    def text(self, tokens: Sequence[int]) -> str:
        """Puts tokens together to text, with the texts of control tokens; what is not whole UTF-8 is replaced."""
        ids = (native.llama_token * len(tokens))(*tokens)
        buffer = ctypes.create_string_buffer(self.longest_bytes * len(tokens) + 16)
        length = native.llama_detokenize(self._vocab, ids, len(tokens), cast("bytes", buffer), len(buffer), False, True)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = native.llama_detokenize(self._vocab, ids, len(tokens), cast("bytes", buffer), len(buffer), False, True)
        return buffer.raw[: max(0, length)].decode("utf-8", "replace")

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token, those of a control token too."""
        return self._read_piece(token, special=True)

    def text_of(self, token: int | None) -> str:
        """The text of a token as a template writes it, control tokens too."""
        return "" if token is None else self.bytes_of(token).decode("utf-8", "replace")

    def are_known(self, tokens: Sequence[int]) -> bool:
        """Whether all of these are ids of this vocabulary; the engine itself does not look."""
        return all(0 <= token < self.size for token in tokens)

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        buffer = self._buffer
        length = native.llama_token_to_piece(self._vocab, token, cast("bytes", buffer), len(buffer), 0, special)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = native.llama_token_to_piece(self._vocab, token, cast("bytes", buffer), len(buffer), 0, special)
        return buffer.raw[: max(0, length)]

    def _is_end(self, token: int) -> bool:
        return native.llama_vocab_is_eog(self._vocab, token)

    def _plain_ends(self) -> frozenset[int]:
        """Ends that are no control tokens by their attributes; some converted models have such."""
        named = (_number(native.llama_vocab_eos(self._vocab)), _number(native.llama_vocab_eot(self._vocab)))
        return frozenset(token for token in named if self._known(token) is not None and self._is_end(token))

    def _known(self, token: int) -> int | None:
        return token if 0 <= token < self.size else None


def _number(token: object) -> int:
    """The binding declares its C type, but ctypes gives a plain int."""
    return cast("int", token)
