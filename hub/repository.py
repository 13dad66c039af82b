"""Folders to and from repositories on the Hub: a thin layer over `huggingface_hub`, whose login and cache it uses."""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from .client_errors import LOG_IN, Request, bad_name, client_errors
from .errors import InputError, first_line

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

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
        commit: that the push ended with.
        url: of its page, or of the pull request.
        revision: what the commit is the head of: a branch, or "refs/pr/N" of a pull request.
    """

    repo_id: str
    repo_type: str
    commit: str
    url: str
    revision: str = "main"


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


def check_may_push(
    repo_id: str,
    token: str | None = None,
    *,
    create_pr: bool = False,
    revision: str | None = None,
    tag: str | None = None,
) -> None:
    """What can be known of a push before any work; the arguments are those of `push_folder`.

    Raises:
        InputError: no name of a repository, nobody has logged in, or a pull request is wanted together with a tag or a
            branch.
    """
    from huggingface_hub import get_token

    if _NAME.fullmatch(repo_id) is None:
        raise InputError(bad_name(repo_id))
    if create_pr and tag is not None:
        raise InputError(f"a tag names a commit of a branch: merge the pull request first, then push with tag {tag!r}")
    if create_pr and revision is not None:
        raise InputError(f"a pull request is made for the main branch: leave out either it or revision {revision!r}")
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
    create_pr: bool = False,
    message: str = "Upload with pictogram",
    token: str | None = None,
    allow_patterns: Sequence[str] | None = None,
    ignore_patterns: Sequence[str] = NEVER_PUSHED,
    delete_patterns: Sequence[str] | Callable[[str], Sequence[str]] = (),
    space_sdk: str | None = None,
) -> PushedRepository:
    """Uploads a folder's files; the repository and the branch are made if missing.

    An upload that was cut off goes on where it stood when the same call is made again: the client sends nothing twice.
    A large folder may become several commits, so wait for the result before reading.

    What somebody else pushes in the meantime is not overwritten: the first commit is refused if the branch has moved
    since this push looked at it, and a commit that came in between later ones is found at the end and told.

    Args:
        folder: its files keep their paths.
        repo_id: owner/name.
        repo_type: "model", "dataset" or "space".
        private: make a new repository private.
        revision: branch to push to; the main one unless told.
        tag: name for the commit that the push ends with.
        create_pr: open a pull request for the main branch, which stays as it is; none if nothing differs.
        message: title of the commit.
        token: of the account; by default that of the login.
        allow_patterns: globs of paths that may go up; all unless told.
        ignore_patterns: globs of paths that may not.
        delete_patterns: globs of paths that go from the repository unless the folder has them; or a function that
            names them, given the commit that the push builds on.
        space_sdk: of a new Space, "gradio" or "static" for example; the Hub makes none without.

    Raises:
        InputError: see `client_errors`; or no token, a tag that names another commit, `private` for a repository that
            is public, a README.md with invalid metadata, another push at the same time.
    """
    from huggingface_hub import HfApi

    check_may_push(repo_id, token, create_pr=create_pr, revision=revision, tag=tag)
    api, request = HfApi(token=token), Request(repo_id, repo_type, revision)
    with client_errors(request):
        url = _open_repository(api, request, private, space_sdk)
        base, mark = _head(api, request), secrets.token_hex(8)
        tagged = None if tag is None else _tagged_commit(api, request, tag, base)
        unwanted = delete_patterns(base) if callable(delete_patterns) else delete_patterns
        pushed = _upload(
            api,
            request,
            folder_path=Path(folder),
            commit_message=message,
            commit_description=f"One push of pictogram: {mark}",
            create_pr=create_pr,
            parent_commit=base,
            allow_patterns=None if allow_patterns is None else list(allow_patterns),
            ignore_patterns=list(ignore_patterns),
            delete_patterns=list(unwanted) or None,
        )
        commit = pushed.oid  # the last of several
        _check_alone(api, request, base, commit, mark)
        if tag is not None and tagged is None:
            api.create_tag(repo_id, repo_type=repo_type, tag=tag, revision=commit)
        elif tagged not in (None, commit):
            raise InputError(f"pushed as {commit}, but the tag {tag!r} names {tagged}: choose another tag")
    if pushed.pr_url is not None and pushed.pr_revision is not None:
        return PushedRepository(repo_id, repo_type, commit, pushed.pr_url, pushed.pr_revision)
    return PushedRepository(repo_id, repo_type, commit, url, revision or "main")


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
        try:
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
        except RuntimeError as error:
            raise InputError(
                f"the download of {repo_type} {repo_id} was cut off ({_reason(error)}); try again"
            ) from error
    return DownloadedRepository(folder, folder.name)  # the cache keeps each commit in a folder of its name


def open_file(repo_id: str, path: str, *, repo_type: RepoType, revision: str, token: str | None = None) -> BinaryIO:
    """Opens one file of a repository for reading where it is; only the parts that are read come over.

    Args:
        repo_id: owner/name.
        path: of the file in the repository.
        repo_type: "model", "dataset" or "space".
        revision: branch, tag or commit.
        token: of the account; by default that of the login.

    Raises:
        InputError: see `client_errors`; or there is no such file.
    """
    from huggingface_hub import HfFileSystem

    place = f"{repo_type}s/{repo_id}" if repo_type != "model" else repo_id
    with client_errors(Request(repo_id, repo_type, revision)):
        try:
            return cast(BinaryIO, HfFileSystem(token=token).open(f"{place}@{revision}/{path}", "rb"))
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


def _upload(api: HfApi, request: Request, **options: Any) -> CommitInfo:
    repo_id, repo_type = request.repo_id, request.repo_type
    try:
        return api.upload_folder(repo_id=repo_id, repo_type=repo_type, revision=request.revision, **options)
    except ValueError as error:
        if isinstance(error, OSError):  # a refusal of the Hub, which may be a `ValueError` too
            raise
        raise InputError(" ".join(str(error).split())) from error
    except RuntimeError as error:
        again = "make the push again, and it goes on there"
        if options["create_pr"]:  # which may be open by now; the same push again opens another
            again = "make the push again, with revision refs/pr/N if the pull request N is open already"
        raise InputError(f"the upload was cut off ({_reason(error)}); {again}") from error


def _reason(error: RuntimeError) -> str:
    """Why a transfer ended when all of the client's retries had failed."""
    return first_line(error.__cause__ or error)


def _check_alone(api: HfApi, request: Request, base: str, commit: str, mark: str) -> None:
    """Whether all commits since `base` are this push's: the client guards the first of several only."""
    if commit == base:
        return
    made = api.list_repo_commits(request.repo_id, repo_type=request.repo_type, revision=commit)
    since = itertools.takewhile(lambda one: one.commit_id != base, made)
    strange = next((one for one in since if mark not in one.message), None)
    if strange is not None:
        raise InputError(
            f"{', '.join(strange.authors)} pushed {strange.title!r} to {request.repo_id} at the same time, as "
            f"{strange.commit_id}: see what is there now, and push again to replace it"
        )


def _head(api: HfApi, request: Request) -> str:
    return cast(str, api.repo_info(request.repo_id, repo_type=request.repo_type, revision=request.revision).sha)


def _tagged_commit(api: HfApi, request: Request, tag: str, head: str) -> str | None:
    """The commit that a tag names, None for a new one. A tag stays where it is, because readers rely on it."""
    refs = api.list_repo_refs(request.repo_id, repo_type=request.repo_type)
    tagged = {ref.name: ref.target_commit for ref in refs.tags}.get(tag)
    if tagged not in (None, head):  # what the same push again finds is no mistake
        raise InputError(f"the tag {tag!r} of {request.repo_id} names {tagged} already: choose another tag")
    return tagged
