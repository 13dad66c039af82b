"""What the Hub's client raises for a user's mistake or a missing network, as one line that says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import InputError, first_line

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@dataclass(frozen=True)
class Request:
    """What was asked of the Hub, for messages.

    Attributes:
        repo_id: owner/name.
        repo_type: "model", "dataset" or "space".
        revision: branch, tag or commit; None is the main branch.
        is_download: the name was no folder's, so a mistyped path may have come this far.
    """

    repo_id: str
    repo_type: str
    revision: str | None = None
    is_download: bool = False


@contextlib.contextmanager
def client_errors(request: Request) -> Iterator[None]:
    """Turns the client's errors inside the block into `InputError`s; bugs keep their type.

    Raises:
        InputError: no such repository or revision, one that the token may not read or write, a name that cannot be
            one, no network and nothing in the cache, or another refusal of the Hub.
    """
    # Their base class is another library's, which one depends on the client's version.
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except (HFValidationError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise InputError(_explain(error, request)) from error


def _explain(error: Exception, request: Request) -> str:
    from huggingface_hub import constants, errors

    what = f"{request.repo_type} {request.repo_id}"
    no_folder = "no folder of that name is here, and " if request.is_download else ""
    if isinstance(error, errors.HFValidationError):
        return bad_name(request.repo_id)
    if isinstance(error, errors.GatedRepoError):
        return f"access to {what} is restricted: ask for it on its page on the Hub, and {LOG_IN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{no_folder}there is no {what} on the Hub, or it is private: check the name, and {LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{what} has no revision {request.revision!r}: expected a branch, a tag or a commit"
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(error, what)
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub does not answer"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"{no_folder}{what} is not in the cache, or not all that is needed of it, and {reason}"
    return f"{what} cannot be reached: {reason}"


def _refusal(error: Exception, what: str) -> str:
    status = error.response.status_code  # pyright: ignore[reportAttributeAccessIssue]
    if status == 412:  # a commit whose parent is no longer the newest
        return f"{what} has changed while this push was made, so it was refused: see what came in, and push again"
    message = getattr(error, "server_message", None) or first_line(error)
    advice = f"; {LOG_IN}, with a token that may write there" if status in (401, 403) else ""
    if status >= 500:
        advice = "; try again later, what has arrived stays there"
    return f"the Hub answers for {what}: {' '.join(message.split())} (status {status}){advice}"


def bad_name(repo_id: str) -> str:
    """What is wrong with a repository's name.

    Example:
        >>> bad_name("a b")
        "'a b' cannot be a repository on the Hub: expected owner/name, letters, digits, '-', '_' and '.'"
    """
    return f"{repo_id!r} cannot be a repository on the Hub: expected owner/name, letters, digits, '-', '_' and '.'"
