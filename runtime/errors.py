"""What can go wrong.

ImpetusError
├── InvalidRequest         the caller's fault; repeating it does not help
│   ├── UnknownModel       no such id; carries those there are
│   ├── UnservableModel    the format is known, but its engine is not installed or not ready
│   └── ContextOverflow    the prompt does not fit; carries both numbers
├── Overloaded             try again later; carries when
├── EngineError            ours
│   ├── LoadFailed         the engine refused the model
│   └── EngineCrashed      the engine's process ended; carries how and its last words
├── FormatError            a model's file is damaged, cut short or not what it claims; carries file and offset
├── DownloadError          the Hub, the network or the disk
└── ConfigError            impetus.toml, with file and line

Each carries its facts as attributes and a message fit for the user. HTTP statuses live in `api/errors.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path


class ImpetusError(Exception):
    """The root of all errors that are told to a user."""

    @property
    def message(self) -> str:
        """What the user reads."""
        return str(self.args[0]) if self.args else type(self).__name__


class InvalidRequest(ImpetusError):
    """The request cannot be served as it stands."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        """The field at fault, in the dialect's own words, or None."""
        self.code = code
        """A short word a program can act on, or None."""


class UnknownModel(InvalidRequest):
    """No model has this id."""

    def __init__(self, model: str, known: Sequence[str], *, alias: str | None = None) -> None:
        """States what is missing; the alias is the one in the settings that stands for this model, where one was asked for."""
        near = get_close_matches(model, known, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        have = (
            f"Models here: {', '.join(known)}." if known else "There is no model here yet: `impetus pull owner/repo` gets one."
        )
        whose = "" if alias is None else f", for which the settings' alias '{alias}' stands,"
        super().__init__(f"The model '{model}'{whose} does not exist.{hint} {have}", param="model", code="model_not_found")
        self.model = model
        self.known = tuple(known)


class UnservableModel(InvalidRequest):
    """The model's format is known, but nothing here can run it."""

    def __init__(self, model: str, why: str) -> None:
        super().__init__(f"The model '{model}' cannot be served: {why}", param="model", code="model_not_servable")
        self.model = model
        self.why = why


class ContextOverflow(InvalidRequest):
    """The prompt is longer than the context that is served."""

    def __init__(self, prompt_tokens: int, context_length: int, *, param: str = "messages") -> None:
        # Cline, Codex and others compact and retry when they meet exactly this wording and code.
        super().__init__(
            f"This model's maximum context length is {context_length} tokens. However, your {param} resulted in "
            f"{prompt_tokens} tokens. Please reduce the length of the {param}.",
            param=param,
            code="context_length_exceeded",
        )
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class Overloaded(ImpetusError):
    """There is no room now."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineError(ImpetusError):
    """An engine did not do what it should."""


class LoadFailed(EngineError):
    """An engine refused a model."""

    def __init__(self, model: str, why: str, *, path: str | None = None) -> None:
        """States what failed; the path is of the file that is to blame, where one is."""
        super().__init__(f"'{model}' could not be loaded{f' from {path}' if path else ''}: {why}")
        self.model = model
        self.why = why


class EngineCrashed(EngineError):
    """The process that held a model ended by itself."""

    def __init__(self, model: str, *, how: str, last_words: Sequence[str] = ()) -> None:
        tail = f" Its last words: {' | '.join(last_words[-3:])}" if last_words else ""
        super().__init__(f"The engine of '{model}' ended unexpectedly ({how}).{tail}")
        self.model = model
        self.how = how
        """As "SIGKILL" or "exit code 3"."""
        self.last_words = tuple(last_words)
        """The last lines it wrote to stderr."""


class FormatError(ImpetusError):
    """A model's file does not hold what its format promises."""

    def __init__(self, path: Path, why: str, *, offset: int | None = None, cure: str = "Download it again.") -> None:
        where = "" if offset is None else f" (at byte {offset:,})"
        super().__init__(f"{path.name}: {why}{where}. {cure}")
        self.path = path
        self.why = why
        self.offset = offset
        """Where in the file the trouble was met, in bytes from its start; None where that says nothing."""
        self.cure = cure


class DownloadError(ImpetusError):
    """A download could not be made or finished."""


class ConfigError(ImpetusError):
    """A settings file is wrong."""

    def __init__(self, message: str, *, path: Path | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
        super().__init__(where + message)
        self.path = path
        self.line = line
