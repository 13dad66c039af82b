"""An image tokenizer to the Hub, with a card that says what it is."""

from __future__ import annotations

import os
from pathlib import Path

from ..hub.card import CARD_NAME, stage_card
from ..hub.card_facts import CardFacts
from ..hub.errors import InputError
from ..hub.files import atomic_write_text
from ..hub.provenance import PROVENANCE_NAME
from ..hub.repository import PushedRepository, check_may_push, push_folder
from ..hub.staging import stage, staging_folder
from .loading import TOKENIZER_FILES, LoadedImageTokenizer, load_image_tokenizer
from .remote_code import CODE_PATTERNS, add_remote_code, check_has_remote_code, drop_remote_code
from .tokenizer_card import PICTURE_NAME, tokenizer_card


def push_image_tokenizer(
    tokenizer: LoadedImageTokenizer | str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    facts: CardFacts | None = None,
    create_pr: bool = False,
    message: str = "Upload image tokenizer",
    token: str | None = None,
    remote_code: bool = False,
) -> PushedRepository:
    """Puts an image tokenizer on the Hub: its three files, a card, and a picture if there is one.

    Of a folder, the card takes figures from what `pictogram evaluate tokenizer --card` kept there, or from the
    training's `complete.json`; the picture is `reconstructions.png` or the training's last. A README.md of the folder's
    own goes up in the card's place; one that `pictogram card` wrote and nobody changed is written anew. Nothing is
    written into the folder. Code of an earlier push goes from the repository unless it is sent again.

    Args:
        tokenizer: a folder, or a tokenizer at hand.
        repo_id: owner/name of a model repository, made if missing.
        private: make a new repository private.
        revision: branch to push to; the main one unless told.
        tag: name for the commit.
        facts: licenses and datasets for the card, over those of a card that lies there.
        create_pr: open a pull request for the main branch instead; the result has its address and its revision.
        message: title of the commit.
        token: of the account; by default that of the login.
        remote_code: send the code along that opens it without pictogram, see `remote_code.export_remote_code`.

    Raises:
        InputError: the tokenizer does not load, its figures are another's, there is no code to send along, or the Hub
            refuses it, see `hub.repository.push_folder`.

    Example:
        push_image_tokenizer("image-tokenizer", "owner/name", tag="v1")
    """
    check_may_push(repo_id, token, create_pr=create_pr, revision=revision, tag=tag)
    with staging_folder() as staging:
        if isinstance(tokenizer, LoadedImageTokenizer):
            tokenizer.model.save_pretrained(staging)
            tokenizer.processor.save_pretrained(staging)
            if (made := tokenizer.checked_provenance()) is not None:
                made.save(staging)
            _stage_code(tokenizer, staging, remote_code)
            card = tokenizer_card(tokenizer, repo_id, facts=facts, remote_code=remote_code)
            atomic_write_text(staging / CARD_NAME, card)
        else:
            _stage_folder(Path(tokenizer).expanduser(), repo_id, staging, facts or CardFacts(), remote_code)
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
            allow_patterns=[*TOKENIZER_FILES, PROVENANCE_NAME, CARD_NAME, PICTURE_NAME, *CODE_PATTERNS],
            delete_patterns=(*CODE_PATTERNS, PROVENANCE_NAME),
        )


def training_picture(folder: Path) -> Path | None:
    """The picture that was made by hand, or the last that the training drew."""
    drawn = [*sorted(folder.glob("reconstructions-*.png")), folder / PICTURE_NAME]
    return next((path for path in reversed(drawn) if path.is_file()), None)


def _stage_folder(folder: Path, repo_id: str, staging: Path, facts: CardFacts, remote_code: bool) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder} is not an image tokenizer: it is not a folder")
    loaded = load_image_tokenizer(folder)
    for name in TOKENIZER_FILES:
        stage(folder / name, staging / name)
    _stage_code(loaded, staging, remote_code)
    if (made := loaded.checked_provenance()) is not None:
        made.save(staging)  # it may stand in that of the bundle around
    picture = training_picture(folder)
    if picture is not None:
        stage(picture, staging / PICTURE_NAME)
    known = facts.over(CardFacts.of_draft(folder))

    def card() -> str:
        has_picture = picture is not None
        return tokenizer_card(
            loaded, repo_id, folder=folder, facts=known, has_picture=has_picture, remote_code=remote_code
        )

    stage_card(folder, staging, card)


def _stage_code(loaded: LoadedImageTokenizer, staging: Path, remote_code: bool) -> None:
    if not remote_code:
        drop_remote_code(staging)  # a folder may name code, as one by `export_remote_code` does
        return
    check_has_remote_code(loaded)
    add_remote_code(staging)
