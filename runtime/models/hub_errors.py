"""Tells a user in words what went wrong between this machine and the Hub, and what to do about it."""

from __future__ import annotations

import errno

from ..errors import DownloadError

BUSY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which another try may help."""


def to_download_error(error: Exception, *, repo: str | None, endpoint: str | None) -> DownloadError:
    """Translates what huggingface_hub, its HTTP client or the disk raised.

    Args:
        error: the exception.
        repo: which repository it was about, or None for a search.
        endpoint: the Hub that was asked; None is huggingface_hub's own choice.
    """
    # Importing huggingface_hub at the top would cost the dashboard's start.
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    hub = endpoint or constants.ENDPOINT
    page = f"{hub}/{repo}" if repo else hub
    what = f"'{repo}'" if repo else "the search"
    match error:
        case DownloadError():
            return error
        case OfflineModeIsEnabled():
            text = "The Hub may not be asked: HF_HUB_OFFLINE is set. Unset it to search and download."
        case GatedRepoError():
            text = f"{what} is gated: accept its terms at {page}, then log in with `hf auth login` and try again."
        case RepositoryNotFoundError():
            text = f"{what} does not exist on {hub}, or it is private. Check its name, or log in with `hf auth login`."
        case HFValidationError():
            text = f"{what} is not a repository's name: it is written owner/repo."
        case EntryNotFoundError():
            text = f"A file of {what} is no longer on {hub}. Look at {page} for what there is."
        case HfHubHTTPError():
            text = _about_status(error.response.status_code, what, page, hub)
        case OSError() if error.errno == errno.ENOSPC:
            text = f"The disk is full: {what} is not complete. Free some space and pull it again: it goes on where it stopped."
        case OSError() if error.errno is not None and not isinstance(error, (ConnectionError, TimeoutError)):
            where = f" ({error.filename})" if error.filename else ""
            text = f"{what} could not be written: {error.strerror}{where}."
        case _ if is_transient(error):
            reason = str(error) or type(error).__name__
            text = (
                f"The Hub at {hub} cannot be reached ({reason}). Is this machine online? Models that are here need no internet."
            )
        case _:
            text = f"{what} could not be had: {type(error).__name__}: {error}"
    return DownloadError(text[:1].upper() + text[1:])


def is_transient(error: Exception) -> bool:
    """Says whether the same request may succeed a little later."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    # The root of its HTTP client's errors; which client that is depends on its version.
    from huggingface_hub.errors import HTTPError as ClientError  # pyright: ignore[reportPrivateImportUsage]

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in BUSY_STATUSES
    if isinstance(error, OfflineModeIsEnabled):
        return False
    return isinstance(error, (ClientError, ConnectionError, TimeoutError))


def _about_status(status: int, what: str, page: str, hub: str) -> str:
    if status in (401, 403):
        return (
            f"{hub} does not give {what} to this login ({status}). Ask for access at {page}, then log in with `hf auth login`."
        )
    if status == 404:
        return f"{what} is not on {hub}. Check its name."
    if status == 429:
        return f"{hub} has had too many requests from here. Wait some minutes, or log in with `hf auth login`, and try again."
    if status >= 500:
        return f"{hub} has trouble of its own ({status}). Try again later."
    return f"{hub} refused {what} ({status})."
