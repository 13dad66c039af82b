"""The commands that draw, complete and describe pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..hub.command_line import OUTPUT_FLAGS, print_result, printable
from ..hub.errors import InputError
from ..hub.files import check_new_file, check_new_folder, check_targets
from ..tokenizer.pictures import picture_grid, save_picture
from .command_options import (
    Guidance,
    Json,
    Model,
    ModelsTemperature,
    ModelsTopK,
    ModelsTopP,
    Seed,
    Temperature,
    TopK,
    TopP,
    png_path,
)
from .image_completion import ImageCompletionOutput, ImageCompletionPipeline, completion_grid
from .image_to_text import ImageToTextPipeline
from .picture_origin import read_origin
from .picture_request import check_picture_count
from .text_to_image import TextToImageOutput, TextToImagePipeline


def generate(
    prompts: Annotated[list[str], typer.Argument(help="Words, one picture each; quote them.")],
    model: Model = "noto",
    output: Annotated[Path, typer.Option(*OUTPUT_FLAGS, help="PNG file for a titled grid of all pictures.")] = Path(
        "samples.png"
    ),
    folder: Annotated[Path | None, typer.Option(help="Folder for each picture at its own size as well.")] = None,
    num_images: Annotated[int, typer.Option(help="Pictures per prompt.")] = 1,
    num_candidates: Annotated[
        int,
        typer.Option(help="Pictures drawn for each one; that from which the prior reads the words best is kept."),
    ] = 1,
    symbol: Annotated[int | None, typer.Option(help="Whole-image code that all pictures must have.")] = None,
    seed: Seed = 0,
    guidance_scale: Guidance = 1.0,
    temperature: ModelsTemperature = None,
    top_k: ModelsTopK = None,
    top_p: ModelsTopP = None,
    json_output: Json = False,
) -> None:
    """Draw pictures from words.

    The PNG files say how they were made; `pictogram info` reads it.

    Example: pictogram generate "red apple" "grinning face" --num-images 4 --out apples.png
    """
    _check_places(output, folder, len(prompts) * num_images)
    result = TextToImagePipeline.from_pretrained(model)(
        prompts,
        num_images=num_images,
        num_candidates=num_candidates,
        symbol=symbol,
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
    save_picture(grid, output, result.png_text())
    files = _save_each(result, folder)
    print_result(
        {
            "output": str(output),
            "model": result.origin.model,
            "bundle_fingerprint": result.origin.bundle_fingerprint,
            "pictures": [
                {"prompt": prompt, "seed": used, "bits": round(bits, 2)} | ({"file": files[index]} if files else {})
                for index, (prompt, used, bits) in enumerate(
                    zip(result.prompts, result.seeds, result.bits.tolist(), strict=True)
                )
            ],
        }
        if json_output
        else {"output": str(output), "model": result.origin.model, "pictures": len(result.images)},
        json_output,
    )


def complete(
    images: Annotated[list[str], typer.Argument(help="Picture files.")],
    model: Model = "noto",
    keep_rows: Annotated[float | None, typer.Option(help="Share of the height to keep at the top, 0 to 1.")] = None,
    mask: Annotated[str | None, typer.Option(help="Picture file: white is drawn anew, black is kept.")] = None,
    prompt: Annotated[str, typer.Option(help="Words for all pictures.")] = "",
    output: Annotated[
        Path, typer.Option(*OUTPUT_FLAGS, help="PNG file for a grid of originals and completions.")
    ] = Path("completions.png"),
    folder: Annotated[Path | None, typer.Option(help="Folder for each completion at its own size as well.")] = None,
    num_images: Annotated[int, typer.Option(help="Completions per picture.")] = 1,
    num_candidates: Annotated[int, typer.Option(help="Completions drawn for each one; the likeliest is kept.")] = 1,
    seed: Seed = 0,
    guidance_scale: Guidance = 1.0,
    temperature: ModelsTemperature = None,
    top_k: ModelsTopK = None,
    top_p: ModelsTopP = None,
    json_output: Json = False,
) -> None:
    """Keep a part of pictures and draw the rest anew.

    Example: pictogram complete apple.png --keep-rows 0.5 --num-images 4
    """
    _check_places(output, folder, len(images) * num_images, [*images, *filter(None, [mask])])
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
    save_picture(completion_grid(result, num_images), output, result.png_text())
    files = _save_each(result, folder)
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


def caption(
    images: Annotated[list[str], typer.Argument(help="Picture files.")],
    model: Model = "noto",
    seed: Seed = 0,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    json_output: Json = False,
) -> None:
    """Write captions for pictures.

    Example: pictogram caption apple.png
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
            print(printable(f"{image}: {words}"))


def _check_places(output: Path, folder: Path | None, count: int, inputs: Sequence[str] = ()) -> None:
    """Whatever keeps pictures from being written, or would cost others, is known before the work."""
    check_picture_count(count)
    files = _files_in(folder, count)
    check_targets([png_path(output, "--output"), *files], inputs)
    check_new_file(output)
    if folder is not None:
        check_new_folder(folder)
    for file in filter(os.path.exists, [str(output), *files]):
        try:
            read_origin(file)
        except InputError:
            raise InputError(f"{file} exists, and pictogram has not drawn it; give another place") from None


def _files_in(folder: Path | None, count: int) -> list[str]:
    return [] if folder is None else [str(folder / f"{index:04d}.png") for index in range(count)]


def _save_each(result: TextToImageOutput | ImageCompletionOutput, folder: Path | None) -> list[str]:
    files = _files_in(folder, len(result.images))
    for index, file in enumerate(files):
        result.save(file, index)
    return files
