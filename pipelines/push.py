"""A folder to the Hub, whatever pictogram made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..hub.card_facts import CardFacts
from ..hub.command_line import print_result
from ..hub.errors import InputError
from ..hub.files import read_json_object
from ..hub.repository import PushedRepository
from ..lm.bundle_push import push_bundle
from ..lm.vocabulary import VOCABULARY_FILE
from ..tokenizer.adapter_config import AdaptedTokenizerConfig
from ..tokenizer.codes_manifest import MANIFEST_NAME
from ..tokenizer.codes_push import push_codes
from ..tokenizer.config import ImageTokenizerConfig
from ..tokenizer.tokenizer_push import push_image_tokenizer
from .app_space import push_space, space_sdk
from .command_options import DataLicense, Datasets, License

_TOKENIZER_TYPES = (ImageTokenizerConfig.model_type, AdaptedTokenizerConfig.model_type)


@dataclass(frozen=True)
class FoundFolder:
    """What a folder holds, and how it is pushed.

    Attributes:
        kind: in words.
        push: takes a repository's name and the options that all pushes have.
    """

    kind: str
    push: Callable[..., PushedRepository]


def find_out(folder: Path, tokenizer: str | None = None, remote_code: bool = False) -> FoundFolder:
    """Tells a folder by its files.

    Args:
        folder: anything.
        tokenizer: of the codes, if it holds codes.
        remote_code: send code along, if it holds an image tokenizer.

    Raises:
        InputError: it holds nothing that pictogram made, a tokenizer is given for something else than codes, or code is
            wanted for something else than an image tokenizer.
    """
    if remote_code and not _is_image_tokenizer(folder):
        raise InputError(f"--remote-code goes with the folder of an image tokenizer; {folder} is none")
    if (folder / MANIFEST_NAME).is_file():
        return FoundFolder("codes", partial(push_codes, folder, tokenizer=tokenizer))
    if tokenizer is not None:
        raise InputError(f"--tokenizer goes with a folder of codes; {folder} has no {MANIFEST_NAME}")
    if (folder / VOCABULARY_FILE).is_file():
        return FoundFolder("bundle", partial(push_bundle, folder))
    if _is_image_tokenizer(folder):
        return FoundFolder("image tokenizer", partial(push_image_tokenizer, folder, remote_code=remote_code))
    if (sdk := space_sdk(folder)) is not None:
        return FoundFolder(f"Space ({sdk})", partial(push_space, folder))
    what = "holds no image tokenizer, finished codes or bundle" if folder.is_dir() else "is not a folder"
    raise InputError(
        f"{folder} {what}; expected what train-tokenizer, import-tokenizer, tokenize, train-lm or app --export made"
    )


def _is_image_tokenizer(folder: Path) -> bool:
    config = folder / "config.json"
    return config.is_file() and read_json_object(config).get("model_type") in _TOKENIZER_TYPES


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of an image tokenizer, of codes, of a bundle, or of a Space.")],
    repo: Annotated[str, typer.Option(help="Repository on the Hub, owner/name; made if missing.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="Of codes: their image tokenizer, a folder or owner/name, for the card.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to; made if missing.")] = None,
    tag: Annotated[str | None, typer.Option(help="Name for the commit, such as v1.")] = None,
    remote_code: Annotated[
        bool,
        typer.Option(
            "--remote-code",
            help="Of an image tokenizer: send its code along, so that transformers opens it without pictogram by "
            "trust_remote_code=True.",
        ),
    ] = False,
    license_: License = "",
    data_license: DataLicense = "",
    datasets: Datasets = None,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request for the main branch, and leave the branch alone.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Put an image tokenizer, a dataset of codes, a bundle or a Space on the Hub, with a card.

    Log in once with `hf auth login`, or set HF_TOKEN. A push that was cut off goes on when it is made again.

    Example: pictogram push image-tokenizer --repo owner/name --tag v1
    """
    found = find_out(folder.expanduser(), tokenizer, remote_code)
    facts = CardFacts(license_, data_license, datasets or ())
    pushed = found.push(repo, private=private, revision=revision, tag=tag, create_pr=create_pr, facts=facts)
    print_result({"pushed": found.kind, **asdict(pushed)}, json_output)
