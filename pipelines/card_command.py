"""`pictogram card`: writes the card of an image tokenizer or a bundle from what was measured, with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from ..hub.card import CARD_NAME, has_draft_card, write_draft_card
from ..hub.card_facts import CardFacts
from ..hub.command_line import print_result
from ..hub.errors import InputError
from ..hub.provenance import Provenance
from ..lm.bundle import Bundle, holds_bundle
from ..lm.bundle_card import PICTURE_NAME, drafted_prompt, write_bundle_card
from ..tokenizer.loading import TOKENIZER_FILES, load_image_tokenizer
from ..tokenizer.pictures import picture_grid, save_picture
from ..tokenizer.tokenizer_card import tokenizer_card
from ..tokenizer.tokenizer_push import training_picture
from .command_options import DataLicense, Datasets, Json, License, Seed
from .text_to_image import TextToImageOutput, TextToImagePipeline

_NUM_SAMPLES = 16
_COLUMNS = 8


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of an image tokenizer or of a bundle.")],
    name: Annotated[str | None, typer.Option(help="Name that the model will have, such as owner/name.")] = None,
    license_: License = "",
    data_license: DataLicense = "",
    datasets: Datasets = None,
    seed: Seed = 0,
    json_output: Json = False,
) -> None:
    """Write the card of an image tokenizer or a bundle from what was measured.

    It holds the figures that `evaluate --card` kept, how the model was made, its limits, and pictures. Of a bundle,
    these are 16 samples, one for each of 16 captions that the training's seed drew: the first ones, nobody chose among
    them. A push writes the card anew and keeps what is said here.

    Example: pictogram card bundle --license apache-2.0 --data-license "photographs of my own"
    """
    folder = folder.expanduser()
    if (folder / CARD_NAME).is_file() and not has_draft_card(folder):
        raise InputError(f"{folder / CARD_NAME} is your own, which a push sends as it is; move it away for a new card")
    facts = CardFacts(license_, data_license, datasets or ()).over(CardFacts.of_draft(folder))
    if folder.is_dir() and holds_bundle(str(folder)):
        pictures = _bundle_card(folder, name, facts, seed)
    elif all((folder / file).is_file() for file in TOKENIZER_FILES):
        pictures = _tokenizer_card(folder, name, facts)
    else:
        raise InputError(f"{folder} holds no image tokenizer and no bundle; codes get their card when they are pushed")
    print_result({"card": str(folder / "README.md"), "pictures": pictures}, json_output)


def card_samples(bundle: Bundle, captions: list[str], seed: int) -> TextToImageOutput:
    """One picture for each caption, or 16 of any kind where there are none."""
    return TextToImagePipeline(bundle)(captions or [""] * _NUM_SAMPLES, seed=seed)


def samples_grid(drawn: TextToImageOutput) -> Image.Image:
    """The pictures with their captions, all of them."""
    lines = range(0, len(drawn.images), _COLUMNS)
    return picture_grid(
        [drawn.images[line : line + _COLUMNS] for line in lines],
        titles=[drawn.prompts[line : line + _COLUMNS] for line in lines],
    )


def _bundle_card(folder: Path, name: str | None, facts: CardFacts, seed: int) -> str:
    bundle, provenance = Bundle.from_pretrained(folder), Provenance.load(folder)
    captions = provenance.examples if provenance else []
    drawn = card_samples(bundle, captions, seed)
    save_picture(samples_grid(drawn), folder / PICTURE_NAME, drawn.png_text())
    prompt = drafted_prompt(folder) or next(iter(captions), "")
    write_bundle_card(bundle, folder, prompt=prompt, name=name, facts=facts)
    return str(folder / PICTURE_NAME)


def _tokenizer_card(folder: Path, name: str | None, facts: CardFacts) -> str:
    picture = training_picture(folder)
    card = tokenizer_card(
        load_image_tokenizer(folder), name, folder=folder, facts=facts, has_picture=picture is not None
    )
    write_draft_card(folder, card)
    return str(picture) if picture else "none"
