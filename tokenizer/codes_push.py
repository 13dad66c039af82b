"""A dataset of codes to the Hub, with a card, and pictures of some rows where the tokenizer is at hand."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..hub.card import CARD_NAME, stage_card
from ..hub.card_facts import CardFacts
from ..hub.errors import InputError
from ..hub.repository import PushedRepository, check_may_push, download_folder, is_hub_name, push_folder
from ..hub.staging import stage, staging_folder
from .codes_card import PICTURE_NAME, codes_card, example_pictures
from .codes_check import check_codes
from .codes_location import CodesLocation, find_codes
from .codes_manifest import MANIFEST_NAME, CodesManifest
from .loading import LoadedImageTokenizer, load_image_tokenizer
from .pictures import save_picture


def push_codes(
    folder: str | os.PathLike[str],
    repo_id: str,
    tokenizer: LoadedImageTokenizer | str | os.PathLike[str] | None = None,
    *,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    facts: CardFacts | None = None,
    create_pr: bool = False,
    message: str = "Upload codes",
    token: str | None = None,
) -> PushedRepository:
    """Puts a dataset of codes on the Hub: its shards, its manifest, a card, and a picture of some rows.

    The manifest on the Hub names the tokenizer by its name there, if it has one; paths of this machine stay here. A
    README.md in the folder goes up in the card's place. Shards of an earlier push that the folder no longer has are
    deleted. Nothing is written into the folder, and a push that was cut off goes on when it is made again.

    Args:
        folder: a finished folder of codes.
        repo_id: owner/name of a dataset repository, made if missing.
        tokenizer: the image tokenizer that made the codes, at hand, a folder or a name on the Hub; by default the one
            that the manifest names, if it can be loaded.
        private: make a new repository private.
        revision: branch to push to; the main one unless told.
        tag: name for the commit.
        facts: license of the dataset, and datasets that it was made from, for the card.
        create_pr: open a pull request for the main branch instead; the result has its address and its revision.
        message: title of the commit.
        token: of the account; by default that of the login.

    Raises:
        InputError: the folder is not whole, another tokenizer made the codes, or the Hub refuses them, see
            `hub.repository.push_folder`.

    Example:
        push_codes("codes", "owner/name", tokenizer="owner/tokenizer", tag="v1")
    """
    check_may_push(repo_id, token, create_pr=create_pr, revision=revision, tag=tag)
    location = _whole(Path(folder).expanduser())
    loaded = _tokenizer(location, tokenizer, token)
    manifest = _public(location.manifest, loaded)
    with staging_folder() as staging:
        shards = [shard for split in manifest.splits for shard in location.shards(split)]
        names = [f"data/{shard.name}" for shard in shards]
        for name, shard in zip(names, shards, strict=True):
            stage(shard, staging / name)
        manifest.save(staging)
        picture = None if loaded is None else example_pictures(location, loaded.model)
        if picture is not None:
            save_picture(picture, staging / PICTURE_NAME)
        has_picture = picture is not None
        stage_card(location.folder, staging, lambda: codes_card(manifest, repo_id, facts, has_picture=has_picture))
        return push_folder(
            staging,
            repo_id,
            repo_type="dataset",
            private=private,
            revision=revision,
            tag=tag,
            create_pr=create_pr,
            message=message,
            token=token,
            allow_patterns=[*names, MANIFEST_NAME, CARD_NAME, PICTURE_NAME],
            delete_patterns=lambda base: sorted(_shards_there(repo_id, base, token) - set(names)),
        )


def _whole(folder: Path) -> CodesLocation:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of codes: it is not a folder")
    location = find_codes(folder)
    problems = check_codes(folder).problems
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise InputError(f"{folder} is not whole and stays here: {problems[0]}{more}")
    return location


def _tokenizer(
    location: CodesLocation, tokenizer: LoadedImageTokenizer | str | os.PathLike[str] | None, token: str | None
) -> LoadedImageTokenizer | None:
    """The one given, which must be right, or the one that the manifest names, if it is to be had and still the same."""
    manifest = location.manifest
    if tokenizer is not None:
        if not isinstance(tokenizer, LoadedImageTokenizer):
            tokenizer = load_image_tokenizer(tokenizer, token=token)
        location.check_fingerprint(tokenizer.codes_fingerprint)
        return tokenizer
    # Without a revision it was loaded from a path; one that leads nowhere from here may look like a name on the Hub.
    if manifest.tokenizer_id is None or (manifest.tokenizer_revision is None and is_hub_name(manifest.tokenizer_id)):
        return None
    try:
        loaded = load_image_tokenizer(manifest.tokenizer_id, manifest.tokenizer_revision, token=token)
    except InputError:
        return None
    return loaded if loaded.codes_fingerprint == manifest.codes_fingerprint else None


def _public(manifest: CodesManifest, loaded: LoadedImageTokenizer | None) -> CodesManifest:
    """The manifest without paths of this machine."""
    if loaded is not None and loaded.revision is not None:
        return replace(manifest, tokenizer_id=loaded.name, tokenizer_revision=loaded.revision)
    if manifest.tokenizer_revision is not None:
        return manifest
    return replace(manifest, tokenizer_id=None)


def _shards_there(repo_id: str, commit: str, token: str | None) -> set[str]:
    """Names of the shards that an earlier push left, by its manifest: other files there are none of ours."""
    found = download_folder(repo_id, repo_type="dataset", revision=commit, allow_patterns=[MANIFEST_NAME], token=token)
    try:
        manifest = CodesManifest.load(found.folder)
    except InputError:  # nothing there yet, or nothing that tells
        return set()
    paths = [path for name, split in manifest.splits.items() for path in split.shard_paths(found.folder, name)]
    return {path.relative_to(found.folder).as_posix() for path in paths}
