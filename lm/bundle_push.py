"""A bundle to the Hub, with a card that says what it is."""

from __future__ import annotations

import os
from pathlib import Path

from ..hub.card import CARD_NAME, stage_card
from ..hub.card_facts import CardFacts
from ..hub.errors import InputError
from ..hub.files import atomic_write_text
from ..hub.repository import PushedRepository, check_may_push, push_folder
from ..hub.shipped import local_folder
from ..hub.staging import stage, staging_folder
from .bundle import BUNDLE_PATTERNS, Bundle, bundle_files
from .bundle_card import PICTURE_NAME, bundle_card, drafted_prompt


def push_bundle(
    bundle: Bundle | str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    facts: CardFacts | None = None,
    create_pr: bool = False,
    message: str = "Upload bundle",
    token: str | None = None,
) -> PushedRepository:
    """Puts a bundle on the Hub: its files, a card, and a picture if there is one.

    Of a folder, the card takes figures from what `pictogram evaluate ... --card` kept there, or from the training's
    `metrics.jsonl`, and the picture is `samples.png`. A README.md of the folder's own goes up in the card's place; one
    that the training or `pictogram card` left and nobody changed is written anew. Nothing is written into the folder.
    Files of a bundle that an earlier push left and this one lacks, such as other shards of weights, are deleted.

    Args:
        bundle: a folder, or a bundle at hand.
        repo_id: owner/name of a model repository, made if missing.
        private: make a new repository private.
        revision: branch to push to; the main one unless told.
        tag: name for the commit.
        facts: licenses and datasets for the card, over those of a card that lies there.
        create_pr: open a pull request for the main branch instead; the result has its address and its revision.
        message: title of the commit.
        token: of the account; by default that of the login.

    Raises:
        InputError: the bundle does not load, its figures are another's, or the Hub refuses it, see
            `hub.repository.push_folder`.

    Example:
        push_bundle("bundle", "owner/name", tag="v1")
    """
    check_may_push(repo_id, token, create_pr=create_pr, revision=revision, tag=tag)
    with staging_folder() as staging:
        if isinstance(bundle, Bundle):
            bundle.save_pretrained(staging)
            atomic_write_text(staging / CARD_NAME, bundle_card(bundle, repo_id, facts=facts))
        else:
            _stage_folder(local_folder(bundle), repo_id, staging, facts or CardFacts())
        return push_folder(
            staging,
            repo_id,
            repo_type="model",
            private=private,
            revision=revision,
            tag=tag,
            create_pr=create_pr,
            message=message,
            token=token,
            allow_patterns=[*bundle_files(staging), CARD_NAME, PICTURE_NAME],
            delete_patterns=BUNDLE_PATTERNS,
        )


def _stage_folder(folder: Path, repo_id: str, staging: Path, facts: CardFacts) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a bundle: it is not a folder")
    bundle = Bundle.from_pretrained(folder)
    for name in bundle_files(folder):
        stage(folder / name, staging / name)
    has_picture = (folder / PICTURE_NAME).is_file()
    if has_picture:
        stage(folder / PICTURE_NAME, staging / PICTURE_NAME)

    def card() -> str:
        known, prompt = facts.over(CardFacts.of_draft(folder)), drafted_prompt(folder)
        return bundle_card(bundle, repo_id, folder=folder, facts=known, prompt=prompt, has_picture=has_picture)

    stage_card(folder, staging, card)
