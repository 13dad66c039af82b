"""Folders to and from repositories on the Hub: a thin layer over `huggingface_hub`, whose login and cache it uses."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from .client_errors import LOG_IN, Request, bad_name, client_errors
from .errors import InputError, first_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

RepoType = Literal["model", "dataset", "space"]

NEVER_PUSHED = (".*", "*/.*", "*.tmp", "checkpoints/*", "*/checkpoints/*")
"""Hidden and temporary files, and what a training needs to go on."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class PushedRepository:
    """Where a folder went.

    Attributes:
        repo_id: owner/name.
        repo_type: "model", "dataset" or "space".
        commit: head of the branch after the push.
        url: of its page.
    """

    repo_id: str
    repo_type: str
    commit: str
    url: str


@dataclass(frozen=True)
class DownloadedRepository:
    """Files of a repository in the client's cache, which are not to be changed.

    Attributes:
        folder: with the files that were asked for.
        commit: that they are of.
    """

    folder: Path
    commit: str


def is_hub_name(name: str | os.PathLike[str]) -> bool:
    """Whether a name may mean a repository: a string "owner/name" with nothing of that name on this machine.

    Example:
        >>> [is_hub_name(name) for name in ("owner/name", "name", "./owner/name", "~/name", "a/b/c", Path("o/n"))]
        [True, False, False, False, False, False]
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and not os.path.exists(name)


def check_may_push(repo_id: str, token: str | None = None) -> None:
    """What can be known of a push before any work.

    Raises:
        InputError: no name of a repository, or nobody has logged in.
    """
    from huggingface_hub import get_token

    if _NAME.fullmatch(repo_id) is None:
        raise InputError(bad_name(repo_id))
    if not (token or get_token()):
        raise InputError(f"a push needs the token of an account that may write to {repo_id}: {LOG_IN}")


def push_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    repo_type: RepoType,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    message: str = "Upload with pictogram",
    token: str | None = None,
    allow_patterns: Sequence[str] | None = None,
    ignore_patterns: Sequence[str] = NEVER_PUSHED,
    delete_patterns: Sequence[str] = (),
    space_sdk: str | None = None,
) -> PushedRepository:
    """Uploads a folder's files; the repository and the branch are made if missing.

    An upload that was cut off goes on where it stood when the same call is made again: the client sends nothing twice.
    A large folder may become several commits, so wait for the result before reading.

    Args:
        folder: its files keep their paths.
        repo_id: owner/name.
        repo_type: "model", "dataset" or "space".
        private: make a new repository private.
        revision: branch to push to; the main one unless told.
        tag: name for the commit that the push ends with.
        message: title of the commit.
        token: of the account; by default that of the login.
        allow_patterns: globs of paths that may go up; all unless told.
        ignore_patterns: globs of paths that may not.
        delete_patterns: globs of paths that go from the repository unless the folder has them.
        space_sdk: of a new Space, "gradio" or "static" for example; the Hub makes none without.

    Raises:
        InputError: see `client_errors`; or no token, a tag that names another commit, `private` for a repository that
            is public, a README.md with invalid metadata.
    """
    from huggingface_hub import HfApi

    check_may_push(repo_id, token)
    api, request = HfApi(token=token), Request(repo_id, repo_type, revision)
    with client_errors(request):
        url = _open_repository(api, request, private, space_sdk)
        tagged = None if tag is None else _tagged_commit(api, request, tag)
        _upload(api, request, folder, message, allow_patterns, ignore_patterns, delete_patterns)
        commit = _head(api, request)  # of several commits the client reports one; this is what was pushed
        if tag is not None and tagged is None:
            api.create_tag(repo_id, repo_type=repo_type, tag=tag, revision=commit)
        elif tagged not in (None, commit):
            raise InputError(f"pushed as {commit}, but the tag {tag!r} names {tagged}: choose another tag")
    return PushedRepository(repo_id, repo_type, commit, url)


def download_folder(
    repo_id: str,
    *,
    repo_type: RepoType,
    revision: str | None = None,
    allow_patterns: Sequence[str] | None = None,
    token: str | None = None,
    local_files_only: bool = False,
) -> DownloadedRepository:
    """Brings files of a repository into the client's cache, or finds them there.

    Args:
        repo_id: owner/name.
        repo_type: "model", "dataset" or "space".
        revision: branch, tag or commit; the main branch unless told.
        allow_patterns: globs of paths; all unless told.
        token: of the account; by default that of the login.
        local_files_only: ask the cache alone.

    Raises:
        InputError: see `client_errors`.
    """
    from huggingface_hub import snapshot_download

    if _NAME.fullmatch(repo_id) is None:
        raise InputError(bad_name(repo_id))
    with client_errors(Request(repo_id, repo_type, revision, is_download=True)):
        folder = Path(
            snapshot_download(
                repo_id,
                repo_type=repo_type,
                revision=revision,
                allow_patterns=None if allow_patterns is None else list(allow_patterns),
                token=token,
                local_files_only=local_files_only,
            )
        )
    return DownloadedRepository(folder, folder.name)  # the cache keeps each commit in a folder of its name


def open_file(repo_id: str, path: str, *, repo_type: RepoType, revision: str) -> BinaryIO:
    """Opens one file of a repository for reading where it is; only the parts that are read come over.

    Args:
        repo_id: owner/name.
        path: of the file in the repository.
        repo_type: "model", "dataset" or "space".
        revision: branch, tag or commit.

    Raises:
        InputError: see `client_errors`; or there is no such file.
    """
    from huggingface_hub import HfFileSystem

    place = f"{repo_type}s/{repo_id}" if repo_type != "model" else repo_id
    with client_errors(Request(repo_id, repo_type, revision)):
        try:
            return cast(BinaryIO, HfFileSystem().open(f"{place}@{revision}/{path}", "rb"))
        except FileNotFoundError:
            raise InputError(f"{repo_type} {repo_id} has no file {path} in {revision}") from None


def _open_repository(api: HfApi, request: Request, private: bool, space_sdk: str | None) -> str:
    """Makes repository and branch if missing; returns the address of its page."""
    repo_id, repo_type, branch = request.repo_id, request.repo_type, request.revision
    # None leaves a new repository's visibility to the owner's default.
    url = api.create_repo(repo_id, repo_type=repo_type, private=private or None, exist_ok=True, space_sdk=space_sdk)
    if private and not api.repo_info(repo_id, repo_type=repo_type).private:
        raise InputError(f"{repo_id} is there already and public: make it private on the Hub, or choose another name")
    if branch is not None and not branch.startswith("refs/"):
        api.create_branch(repo_id, repo_type=repo_type, branch=branch, exist_ok=True)
    return str(url)


def _upload(
    api: HfApi,
    request: Request,
    folder: str | os.PathLike[str],
    message: str,
    allow_patterns: Sequence[str] | None,
    ignore_patterns: Sequence[str],
    delete_patterns: Sequence[str],
) -> None:
    try:
        api.upload_folder(
            repo_id=request.repo_id,
            repo_type=request.repo_type,
            folder_path=Path(folder),
            revision=request.revision,
            commit_message=message,
            allow_patterns=None if allow_patterns is None else list(allow_patterns),
            ignore_patterns=list(ignore_patterns),
            delete_patterns=list(delete_patterns) or None,
        )
    except ValueError as error:
        if isinstance(error, OSError):  # a refusal of the Hub, which may be a `ValueError` too
            raise
        raise InputError(" ".join(str(error).split())) from error
    except RuntimeError as error:  # what transfers end with when all their retries have failed
        reason = first_line(error.__cause__ or error)
        raise InputError(f"the upload was cut off ({reason}); make the push again, and it goes on there") from error


def _head(api: HfApi, request: Request) -> str:
    return cast(str, api.repo_info(request.repo_id, repo_type=request.repo_type, revision=request.revision).sha)


def _tagged_commit(api: HfApi, request: Request, tag: str) -> str | None:
    """The commit that a tag names, None for a new one. A tag stays where it is, because readers rely on it."""
    refs = api.list_repo_refs(request.repo_id, repo_type=request.repo_type)
    tagged = {ref.name: ref.target_commit for ref in refs.tags}.get(tag)
    if tagged not in (None, _head(api, request)):  # what the same push again finds is no mistake
        raise InputError(f"the tag {tag!r} of {request.repo_id} names {tagged} already: choose another tag")
    return tagged
