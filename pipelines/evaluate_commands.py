"""`pictogram evaluate`: scores of image tokenizers, priors and what they have learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..tokenizer.command_line import new_app, print_result
from .command_options import Codes, Guidance, Json, JsonFile, MaxImages, Model, Seed, Split, png_path
from .evaluate_captions import evaluate_captions
from .evaluate_classes import evaluate_classes
from .evaluate_names import evaluate_names
from .evaluate_prior import evaluate_prior
from .evaluate_tokenizer import evaluate_image_tokenizer
from .evaluation_table import print_evaluation
from .rate_tables import print_captions, print_classes, print_rates

app = new_app("Score an image tokenizer, or what a bundle has learned: its rate, classes, captions and names.")


@app.command("tokenizer")
def evaluate_tokenizer_command(
    model: Annotated[str, typer.Option(help="Folder of an image tokenizer.")] = "image-tokenizer",
    data: Annotated[
        str, typer.Option(help='"embedded", a folder of images, parquet, or any `datasets` name.')
    ] = "embedded",
    split: Split = "test",
    reference_split: Annotated[
        str, typer.Option(help="Other pictures: held-out code tables, majority votes, Fréchet distance.")
    ] = "train",
    features: Annotated[
        str,
        typer.Option(
            help="Of the Fréchet distance: thumbnail, none, or a TorchScript or .pt2 file, (B, 3, H, W) in -1..1 "
            "to (B, F)."
        ),
    ] = "thumbnail",
    max_images: Annotated[int | None, typer.Option(help="Most pictures of a split, drawn by a fixed seed.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG file for some pictures beside their decodings.")] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures at a time.")] = 64,
    json_output: Json = False,
) -> None:
    """Distortion of every prefix of levels, what the codes cost and tell, and the time it takes.

    Example: pictogram evaluate tokenizer --model pictogram-demo/image-tokenizer --data embedded --picture grid.png
    """
    result = evaluate_image_tokenizer(
        model,
        data,
        split,
        reference_split=reference_split,
        features=features,
        max_images=max_images,
        picture=None if picture is None else png_path(picture, "--picture"),
        batch_size=batch_size,
    )
    _show(result, json_output, print_evaluation)


@app.command("prior")
def evaluate_prior_command(
    model: Model = "bundle",
    codes: Codes = "codes",
    split: Split = "test",
    train_split: Annotated[
        str | None, typer.Option(help="Training pictures: as many of this split, and the gap to them.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="Another bundle for the same codes: paired differences.")] = None,
    max_images: MaxImages = None,
    batch_size: Annotated[int | None, typer.Option(help="Documents at a time; by default 4096 tokens.")] = None,
    per_image: Annotated[
        Path | None, typer.Option(help="A .parquet or .jsonl file for the bits of every picture.")
    ] = None,
    output: JsonFile = None,
    json_output: Json = False,
) -> None:
    """Bits of codes and captions, alone and given each other, with intervals.

    Example: pictogram evaluate prior --model pictogram-demo/bundle --codes pictogram-demo/codes --train-split train
    """
    result = evaluate_prior(
        model,
        codes,
        split,
        train_split=train_split,
        against=against,
        max_images=max_images,
        batch_size=batch_size,
        per_image=per_image,
        output=output,
    )
    _show(result, json_output, print_rates)


@app.command("classes")
def evaluate_classes_command(
    model: Model = "bundle",
    codes: Codes = "codes",
    split: Split = "test",
    column: Annotated[str, typer.Option(help="With the classes: caption, or one of class labels.")] = "caption",
    method: Annotated[
        str, typer.Option(help="codes: Bayes' rule on p(codes | caption); caption: p(caption | codes) itself.")
    ] = "codes",
    prior: Annotated[str, typer.Option(help="Of the classes: uniform, or model for its own p(caption).")] = "uniform",
    max_images: MaxImages = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Pairs of a picture and a class at a time; by default 4096 tokens.")
    ] = None,
    output: JsonFile = None,
    json_output: Json = False,
) -> None:
    """The prior as a Bayes classifier of pictures whose captions form a small set.

    Example: pictogram evaluate classes --model bundle --codes codes --column label --max-images 1000
    """
    result = evaluate_classes(
        model,
        codes,
        split,
        column=column,
        method=method,
        prior=prior,
        max_images=max_images,
        batch_size=batch_size,
        output=output,
    )
    _show(result, json_output, print_classes)


@app.command("captions")
def evaluate_captions_command(
    model: Model = "bundle",
    codes: Codes = "codes",
    split: Split = "test",
    max_images: MaxImages = None,
    batch_size: Annotated[int, typer.Option(help="Captions at a time.")] = 50,
    output: JsonFile = None,
    json_output: Json = False,
) -> None:
    """How often the most likely caption of a picture's codes is exactly the true one.

    Example: pictogram evaluate captions --model pictogram-demo/bundle --codes pictogram-demo/codes --split train
    """
    result = evaluate_captions(
        model,
        codes,
        split,
        max_images=max_images,
        batch_size=batch_size,
        output=output,
    )
    _show(result, json_output, print_captions)


@app.command("names")
def evaluate_names_command(
    model: Model = "bundle",
    data: Annotated[str, typer.Option(help="The pictures that the bundle was trained on.")] = "embedded",
    split: Split = "train",
    num_captions: Annotated[int, typer.Option(help="Captions to try.")] = 200,
    seed: Seed = 0,
    guidance_scale: Guidance = 1.2,
    json_output: Json = False,
) -> None:
    """How often the training picture nearest to a sample bears the sample's caption.

    Example: pictogram evaluate names --model pictogram-demo/bundle
    """
    print_result(evaluate_names(model, data, split, seed, guidance_scale, num_captions), json_output)


def _show(result: dict[str, Any], json_output: bool, print_table: Callable[[dict[str, Any]], None]) -> None:
    if json_output:
        print_result(result, json_output)
    else:
        print_table(result)
