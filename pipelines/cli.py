"""The `pictogram` command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from ..hub.errors import InputError
from ..lm import build_documents
from ..lm import train as train_lm
from ..tokenizer import import_tokenizer
from ..tokenizer import train as train_tokenizer
from ..tokenizer.command_line import command, new_app, print_result, run_app
from ..tokenizer.pictures import picture_grid, save_picture
from . import demo, push, serve, tokenize
from .demo_report import summarise
from .evaluate_captions import evaluate_captions
from .evaluate_classes import evaluate_classes
from .evaluate_names import evaluate_names
from .evaluate_prior import evaluate_prior
from .evaluate_tokenizer import evaluate_image_tokenizer
from .evaluation_table import print_evaluation
from .image_completion import ImageCompletionPipeline, completion_grid
from .image_to_text import ImageToTextPipeline
from .rate_tables import print_captions, print_classes, print_rates
from .text_to_image import TextToImagePipeline

Model = Annotated[str, typer.Option(help="Folder of a bundle, or its name on the Hub.")]
Split = Annotated[str, typer.Option(help="Split to score.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Guidance = Annotated[float, typer.Option(help="1 draws as the model does; more follows the words more closely.")]
Temperature = Annotated[float, typer.Option(help="Below 1 prefers likely tokens; 0 takes the most likely ones.")]
TopK = Annotated[int, typer.Option(help="Draw from the k most likely tokens only; 0 from all.")]
TopP = Annotated[float, typer.Option(help="Draw from the most likely tokens that hold this share of the chances.")]
Codes = Annotated[str, typer.Option(help="Dataset of codes: a folder, or its name on the Hub.")]
MaxImages = Annotated[int | None, typer.Option(help="Most pictures of a split, drawn by a fixed seed.")]
JsonFile = Annotated[Path | None, typer.Option(help="JSON file for the result as well.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

app = new_app("Images as a discrete language for transformers. Start with: pictogram demo")
app.command("demo")(
    command(
        demo.DemoConfig,
        demo.run_demo,
        "demo",
        """Run the whole chain on the embedded pictures: a few minutes to pictures made from words.

        Example: pictogram demo --output pictogram-demo
        """,
        summarise=summarise,
    )
)
app.command("train-tokenizer")(train_tokenizer.main)
app.command("import-tokenizer")(import_tokenizer.main)
app.command("tokenize")(tokenize.main)
app.command("build-documents")(build_documents.main)
app.command("train-lm")(train_lm.main)
app.command("push")(push.main)
app.command("serve")(serve.main)


@app.command("generate")
def generate(
    prompts: Annotated[list[str], typer.Argument(help="Words, one picture each; quote them.")],
    model: Model = "bundle",
    output: Annotated[Path, typer.Option(help="PNG file for a titled grid of all pictures.")] = Path("samples.png"),
    folder: Annotated[Path | None, typer.Option(help="Folder for each picture at its own size as well.")] = None,
    num_images: Annotated[int, typer.Option(help="Pictures per prompt.")] = 1,
    seed: Seed = 0,
    guidance_scale: Guidance = 1.0,
    temperature: Temperature = 1.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    json_output: Json = False,
) -> None:
    """Draw pictures from words.

    Example: pictogram generate "red apple" "grinning face" --model pictogram-demo/bundle --num-images 4
    """
    _make_folders(output, folder)
    result = TextToImagePipeline.from_pretrained(model)(
        prompts,
        num_images=num_images,
        seed=seed,
        guidance_scale=guidance_scale,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        progress=True,
    )
    columns = num_images if num_images > 1 else min(4, len(result.images))
    lines = range(0, len(result.images), columns)
    grid = picture_grid(
        [result.images[line : line + columns] for line in lines],
        titles=[result.prompts[line : line + columns] for line in lines],
        cell=128,
    )
    save_picture(grid, output)
    files = _save_each(result.images, folder)
    print_result(
        {
            "output": str(output),
            "pictures": [
                {"prompt": prompt, "seed": used, "bits": round(bits, 2)} | ({"file": files[index]} if files else {})
                for index, (prompt, used, bits) in enumerate(
                    zip(result.prompts, result.seeds, result.bits.tolist(), strict=True)
                )
            ],
        }
        if json_output
        else {"output": str(output), "pictures": len(result.images)},
        json_output,
    )


@app.command("complete")
def complete(
    images: Annotated[list[str], typer.Argument(help="Picture files.")],
    model: Model = "bundle",
    keep_rows: Annotated[float | None, typer.Option(help="Share of the height to keep at the top, 0 to 1.")] = None,
    mask: Annotated[str | None, typer.Option(help="Picture file: white is drawn anew, black is kept.")] = None,
    prompt: Annotated[str, typer.Option(help="Words for all pictures.")] = "",
    output: Annotated[Path, typer.Option(help="PNG file for a grid of originals and completions.")] = Path(
        "completions.png"
    ),
    folder: Annotated[Path | None, typer.Option(help="Folder for each completion at its own size as well.")] = None,
    num_images: Annotated[int, typer.Option(help="Completions per picture.")] = 1,
    num_candidates: Annotated[int, typer.Option(help="Completions drawn for each one; the likeliest is kept.")] = 1,
    seed: Seed = 0,
    guidance_scale: Guidance = 1.0,
    temperature: Temperature = 1.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    json_output: Json = False,
) -> None:
    """Keep a part of pictures and draw the rest anew.

    Example: pictogram complete apple.png --keep-rows 0.5 --model pictogram-demo/bundle --num-images 4
    """
    _make_folders(output, folder)
    result = ImageCompletionPipeline.from_pretrained(model)(
        images,
        keep_rows=keep_rows,
        mask=mask,
        prompts=prompt,
        num_images=num_images,
        num_candidates=num_candidates,
        seed=seed,
        guidance_scale=guidance_scale,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        progress=True,
    )
    save_picture(completion_grid(result, num_images), output)
    files = _save_each(result.images, folder)
    pictures = [
        {
            "image": images[index // num_images],
            "seed": result.seeds[index],
            "bits": round(float(result.bits[index]), 2),
            "forced_bits": round(float(result.forced_bits[index]), 2),
            "kept_codes": result.num_kept[index].tolist(),
            "exact_codes": int(result.num_exact[index]),
        }
        | ({"file": files[index]} if files else {})
        for index in range(len(result.images))
    ]
    print_result({"output": str(output), "pictures": pictures if json_output else len(pictures)}, json_output)


@app.command("caption")
def caption(
    images: Annotated[list[str], typer.Argument(help="Picture files.")],
    model: Model = "bundle",
    seed: Seed = 0,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    json_output: Json = False,
) -> None:
    """Write captions for pictures.

    Example: pictogram caption apple.png --model pictogram-demo/bundle
    """
    result = ImageToTextPipeline.from_pretrained(model)(
        images, seed=seed, temperature=temperature, top_k=top_k, top_p=top_p, progress=True
    )
    if json_output:
        bits = [round(value, 2) for value in result.bits.tolist()]
        rows = zip(images, result.captions, bits, strict=True)
        print_result({"captions": [{"file": f, "caption": c, "bits": b} for f, c, b in rows]}, json_output)
    else:
        for image, words in zip(images, result.captions, strict=True):
            print(f"{image}: {words}")


evaluate = new_app("Score an image tokenizer, or what a bundle has learned: its rate, classes, captions and names.")
app.add_typer(evaluate, name="evaluate")


@evaluate.command("tokenizer")
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
        picture=None if picture is None else _png(picture, "--picture"),
        batch_size=batch_size,
    )
    if json_output:
        print_result(result, json_output)
    else:
        print_evaluation(result)


@evaluate.command("prior")
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
    if json_output:
        print_result(result, json_output)
    else:
        print_rates(result)


@evaluate.command("classes")
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
    if json_output:
        print_result(result, json_output)
    else:
        print_classes(result)


@evaluate.command("captions")
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
    if json_output:
        print_result(result, json_output)
    else:
        print_captions(result)


@evaluate.command("names")
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


def _make_folders(output: Path, folder: Path | None) -> None:
    for target in filter(None, (Path(_png(output, "--output")).parent, folder)):
        target.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is known before the work


def _save_each(images: Sequence[Image.Image], folder: Path | None) -> list[str]:
    files = [str(folder / f"{index:04d}.png") for index in range(len(images))] if folder else []
    for image, file in zip(images, files, strict=False):
        save_picture(image, file)
    return files


def _png(path: Path, option: str) -> str:
    if path.suffix.lower() != ".png":
        raise InputError(f"{option} must end in .png, got {path}")
    return str(path)


def main() -> None:
    """Entry point of the `pictogram` command."""
    run_app(app)


if __name__ == "__main__":
    main()
