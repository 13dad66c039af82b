"""`pictogram evaluate`: scores of image tokenizers, priors and what they have learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..hub.command_line import OUTPUT_FLAGS, command, new_app, numbers, print_result
from ..hub.errors import InputError
from .command_options import Card, Codes, Guidance, Json, JsonFile, MaxImages, Model, Seed, Split, png_path
from .evaluate_captions import evaluate_captions
from .evaluate_classes import evaluate_classes
from .evaluate_codec import CodecEvaluation, evaluate_codec
from .evaluate_codec import tables as codec_tables
from .evaluate_names import evaluate_names
from .evaluate_prior import evaluate_prior
from .evaluate_samples import evaluate_samples
from .evaluate_tokenizer import evaluate_image_tokenizer
from .evaluation_card import measure_for_card
from .evaluation_table import print_evaluation
from .rate_tables import print_captions, print_classes, print_names, print_rates
from .sample_table import print_samples
from .samples_config import SamplesEvaluation

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
    card: Card = False,
    json_output: Json = False,
) -> None:
    """Distortion of every prefix of levels, what the codes cost and tell, and the time it takes.

    Example: pictogram evaluate tokenizer --model pictogram-demo/image-tokenizer --data embedded --picture grid.png
    """
    result = _measured(
        "tokenizer",
        model,
        card,
        lambda: evaluate_image_tokenizer(
            model,
            data,
            split,
            reference_split=reference_split,
            features=features,
            max_images=max_images,
            picture=None if picture is None else png_path(picture, "--picture"),
            batch_size=batch_size,
        ),
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
    card: Card = False,
    json_output: Json = False,
) -> None:
    """Bits of codes and captions, alone and given each other, with intervals.

    Example: pictogram evaluate prior --model pictogram-demo/bundle --codes pictogram-demo/codes --train-split train
    """
    result = _measured(
        "prior",
        model,
        card,
        lambda: evaluate_prior(
            model,
            codes,
            split,
            train_split=train_split,
            against=against,
            max_images=max_images,
            batch_size=batch_size,
            per_image=per_image,
            output=output,
        ),
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
    card: Card = False,
    json_output: Json = False,
) -> None:
    """The prior as a Bayes classifier of pictures whose captions form a small set.

    Example: pictogram evaluate classes --model bundle --codes codes --column label --max-images 1000
    """
    result = _measured(
        "classes",
        model,
        card,
        lambda: evaluate_classes(
            model,
            codes,
            split,
            column=column,
            method=method,
            prior=prior,
            max_images=max_images,
            batch_size=batch_size,
            output=output,
        ),
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
    card: Card = False,
    json_output: Json = False,
) -> None:
    """How often the most likely caption of a picture's codes is exactly the true one.

    Example: pictogram evaluate captions --model pictogram-demo/bundle --codes pictogram-demo/codes --split train
    """
    result = _measured(
        "captions",
        model,
        card,
        lambda: evaluate_captions(
            model,
            codes,
            split,
            max_images=max_images,
            batch_size=batch_size,
            output=output,
        ),
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
    column: Annotated[
        str | None, typer.Option(help="Of class labels or texts, such as category: figures for each of them as well.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(*OUTPUT_FLAGS, help="Folder for names.png, the first samples, and mistakes.json.")
    ] = None,
    card: Card = False,
    json_output: Json = False,
) -> None:
    """How often the training picture nearest to a sample bears the sample's caption.

    Example: pictogram evaluate names --model noto --guidance-scale 1 --column category --output names
    """
    result = _measured(
        "names",
        model,
        card,
        lambda: evaluate_names(model, data, split, seed, guidance_scale, num_captions, column=column, output=output),
    )
    _show(result, json_output, print_names)


@app.command("codec")
def evaluate_codec_command(
    data: Annotated[str, typer.Option(help="The pictures, grey or in colour: a folder, parquet, or a name.")],
    model: Annotated[
        list[str] | None, typer.Option(help="Bundle; given again, the best of all makes the curve. By default bundle.")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="NAME=BUNDLE, another curve; the same name again adds to it.")
    ] = None,
    split: Split = "test",
    reference_split: Annotated[
        str, typer.Option(help='For the codecs without a network to learn from; "" leaves them out.')
    ] = "train",
    rate_weights: Annotated[
        str, typer.Option("--lambdas", help="Rate weights at encoding, with commas; 0 is always among them.")
    ] = "0",
    layout: Annotated[
        str, typer.Option(help="aligned: things lie alike in all pictures; crops: all places are alike.")
    ] = "aligned",
    max_images: MaxImages = None,
    max_files: Annotated[int, typer.Option(help="Most pictures in files of their own.")] = 100,
    at_psnr: Annotated[str, typer.Option(help="dB at which bytes are compared, with commas.")] = "",
    output: Annotated[Path, typer.Option(*OUTPUT_FLAGS, help="Folder for points, tables and curves; goes on.")] = Path(
        "codec"
    ),
    json_output: Json = False,
) -> None:
    """Bytes of real files against PSNR and SSIM, beside standard files and codecs without a network.

    Example: pictogram evaluate codec --data zalando-datasets/fashion_mnist --lambdas 0,300,600 --out codec
    """
    what = CodecEvaluation(
        models=model or ["bundle"],
        data=data,
        split=split,
        reference_split=reference_split,
        rate_weights=numbers("lambdas", rate_weights),
        against=named_bundles(against or []),
        layout=layout,
        max_images=max_images,
        max_files=max_files,
        at_psnr=numbers("at_psnr", at_psnr),
    )
    report = evaluate_codec(what, output)
    if json_output:
        print_result(report, json_output)
    else:
        print(codec_tables(report) + f"\ncurves: {output / 'curves.png'}")


app.command("samples")(
    command(
        SamplesEvaluation,
        evaluate_samples,
        "samples",
        """Whether drawn pictures teach a classifier as real ones do, how they spread, and that they are no copies.

        Example: pictogram evaluate samples --model fashion --data zalando-datasets/fashion_mnist --out samples
        """,
        show=print_samples,
    )
)


def named_bundles(texts: Sequence[str]) -> dict[str, list[str]]:
    """NAME=BUNDLE, several of a name together.

    Raises:
        InputError: one has no name or no bundle.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, _, bundle = text.partition("=")
        if not name.strip() or not bundle:
            raise InputError(f"--against must be NAME=BUNDLE, got {text!r}")
        found.setdefault(name.strip(), []).append(bundle)
    return found


def _measured(kind: str, model: str, card: bool, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `measure` returns; for a card, it stays in the model's folder as well."""
    return measure_for_card(model, kind, measure) if card else measure()


def _show(result: dict[str, Any], json_output: bool, print_table: Callable[[dict[str, Any]], None]) -> None:
    if json_output:
        print_result(result, json_output)
    else:
        print_table(result)
