"""A request's prompt as the model's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ..request import ChatPrompt, FillPrompt, GenerateRequest, ImagePart, Message, TextPrompt, TokenPrompt
from .backends.backend import LoadError, PromptTooLong, Refusal
from .backends.llama_picture import Picture, PromptTokens
from .chat.conversation import Conversation, Written
from .fill import FillTokens, fill_tokens
from .output.choice import FAMILIES
from .prefix.normalise import normalise
from .prompt import Segment
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from .backends.llama_projector import Projector


class PromptReader:
    """Renders and tokenises prompts for one model.

    Args:
        vocabulary: the model's.
        template: its chat template, or None where its file has none.
        fill: its tokens for gaps, or None where it was not made to fill them.
        context_length: the most tokens of a prompt, less one.
        normalised: whether known noise is taken out of conversations.
        projector: what looks at pictures, or None where nothing does.
        tool_family: the name of its syntax of calls; "auto" finds it out.

    Raises:
        LoadError: there is no such family.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        template: str | None,
        fill: FillTokens | None,
        *,
        context_length: int,
        normalised: bool,
        projector: Projector | None = None,
        tool_family: str = "auto",
    ) -> None:
        self._vocabulary = vocabulary
        self._context_length = context_length
        self._fill = fill
        self._normalised = normalised
        self.conversation = Conversation(
            template,
            bos=vocabulary.text_of(vocabulary.bos),
            eos=vocabulary.text_of(vocabulary.eos),
            control_texts=tuple(vocabulary.control_texts),
            sees=projector is not None,
            family_name=check_family(tool_family),
        )
        self._projector = projector

    def read(self, request: GenerateRequest) -> PromptTokens:
        """Gives the prompt's tokens, and where pictures are among them.

        Raises:
            Refusal: the model cannot take it.
            PromptTooLong: it leaves no room for an answer.
        """
        pictures: list[Picture] = []
        written: Written | None = None
        match request.prompt:
            case ChatPrompt():
                written = self._write(request)
                ids = self._tokenize(written.segments, pictures, begins=self._vocabulary.adds_bos_to_chats)
            case TextPrompt(text):
                ids = self._tokenize([Segment(text, control=True)], pictures, begins=self._vocabulary.adds_bos)
            case TokenPrompt(token_ids):
                if not self._vocabulary.are_known(token_ids):
                    raise Refusal(
                        "invalid", f"The prompt has a token id outside of 0 to {self._vocabulary.size - 1}.", param="prompt"
                    )
                ids = list(token_ids)
            case FillPrompt(prefix, suffix, files):
                self._check_size(prefix, suffix, *(file.text for file in files))
                ids = fill_tokens(request.prompt, self._fill, lambda text: self._vocabulary.tokenize(text, control=False))
        if not ids:
            raise Refusal("invalid", "The prompt is empty.", param="prompt")
        limit = min(self._context_length, request.context_limit or self._context_length)
        if len(ids) >= limit:
            raise PromptTooLong(len(ids), limit)
        if pictures and pictures[-1].end == len(ids):
            raise Refusal("invalid", "The model's chat template ends with a picture; no text can follow it.", param="messages")
        return PromptTokens(ids, tuple(pictures), written)

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        """Writes a conversation by the model's chat template; raises Refusal."""
        return self._write(GenerateRequest("", ChatPrompt(tuple(messages)))).segments

    def shown(self, written: Written | None) -> frozenset[int]:
        """The control tokens whose texts the reader of an answer needs to see."""
        texts = self._vocabulary.control_texts
        return frozenset(texts[text] for text in (written.controls if written is not None else ()) if text in texts)

    def _write(self, request: GenerateRequest) -> Written:
        prompt = request.prompt
        assert isinstance(prompt, ChatPrompt)  # noqa: S101 - its callers look
        if self._normalised:
            prompt = msgspec.structs.replace(prompt, messages=normalise(prompt.messages))
        return self.conversation.write(prompt, request.constraint, split=request.split)

    def _tokenize(self, segments: list[Segment], pictures: list[Picture], *, begins: bool) -> list[int]:
        """Tokenises a prompt.

        Args:
            segments: the prompt.
            pictures: those in it are added here.
            begins: whether a beginning-of-sequence token is to stand first.

        Raises:
            PromptTooLong: it is too long even if every token were the longest one; its count is then an estimate.
        """
        vocabulary = self._vocabulary
        self._check_size(*(segment.text for segment in segments))
        ids: list[int] = []
        if begins and vocabulary.bos is not None:
            ids.append(vocabulary.bos)
        for segment in segments:
            if segment.picture is not None:
                self._add_picture(segment.picture, ids, pictures)
                continue
            words = vocabulary.tokenize(segment.text, control=segment.control)
            if len(ids) == 1 and begins and words[:1] == ids:  # the template wrote it itself
                words = words[1:]
            ids += words
        return ids

    def _add_picture(self, picture: ImagePart, ids: list[int], pictures: list[Picture]) -> None:
        if self._projector is None:
            raise Refusal("invalid", "This model takes text only.", param="messages")
        for piece in self._projector.read(picture):
            if isinstance(piece, list):
                ids += piece
                continue
            pictures.append(Picture(len(ids), len(piece.ids), piece))
            ids += piece.ids

    def _check_size(self, *texts: str) -> None:
        """To cut tens of megabytes into tokens would take seconds, in which nobody else gets one."""
        size = sum(len(text.encode("utf-8", "replace")) for text in texts)
        if size > self._context_length * self._vocabulary.longest_bytes:
            raise PromptTooLong(max(size // 4, self._context_length), self._context_length)


def check_family(name: str) -> str:
    """Gives a family's name back; raises LoadError for one that is not known."""
    if name != "auto" and name not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise LoadError(f"[engine] tool_family names no known syntax of tool calls: '{name}'. Known are auto, {known}.")
    return name
