"""The commands that compress pictures, read them again, and say what is in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from ..hub.command_line import OUTPUT_FLAGS, print_result
from ..hub.errors import InputError
from ..hub.files import atomic_write_bytes, check_new_file, check_new_folder, check_targets
from ..hub.shipped import shipped_folder
from ..lm.bundle import Bundle
from ..lm.static_chances import count_rows
from ..tokenizer.codes_dataset import load_codes
from ..tokenizer.pictures import save_picture
from ..tokenizer.sources import PICTURE_SUFFIXES, visible_files
from .codec_format import MAGIC, CodecFile, read_file
from .command_options import Codes, Json, Model, Seed
from .image_codec import ImageCodec
from .picture_origin import check_origin, is_png, read_origin

_MAX_STEM = 50
"""Letters of a file's name, which may take 4 bytes each, that leave room for an ending and a temporary name."""

Output = Annotated[Path, typer.Option(*OUTPUT_FLAGS, help="File for the compressed pictures.")]
Folder = Annotated[Path, typer.Option(*OUTPUT_FLAGS, help="Folder for the pictures, PNG files; none is replaced.")]


def compress(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    model: Model = "bundle",
    output: Output = Path("pictures.picto"),
    num_levels: Annotated[int, typer.Option(help="Levels of codes that are kept, coarse to fine; 0 keeps all.")] = 0,
    rate_weight: Annotated[
        float, typer.Option(help="Squared error, of pixels of 0 to 255, that one bit is worth; 0 ignores bits.")
    ] = 0.0,
    static: Annotated[
        bool, typer.Option("--static", help="Counted tables in place of the prior: faster, longer, for any computer.")
    ] = False,
    names: Annotated[bool, typer.Option(help="Keep the names of several pictures in the file.")] = True,
    group_size: Annotated[int, typer.Option(help="Pictures that share a stream and are read together.")] = 128,
    verify: Annotated[bool, typer.Option(help="Read every stream again before it is written.")] = True,
    json_output: Json = False,
) -> None:
    """Compress pictures into one file.

    Example: pictogram compress photos/ --model bundle --output photos.picto
    """
    files = _pictures(pictures)
    check_targets([output], files)
    check_new_file(output)
    if output.exists() and (_first_byte(output) or bytes([MAGIC])) != bytes([MAGIC]):
        raise InputError(f"{output} exists and is no compressed file; give another --output, or remove it")
    codec = ImageCodec.from_pretrained(model)
    result = codec.compress(
        files,
        names=[file.name for file in files] if names and len(files) > 1 else (),
        num_levels=num_levels or None,
        rate_weight=rate_weight,
        static=static,
        group_size=group_size,
        verify=verify,
        progress=True,
    )
    atomic_write_bytes(output, result.data)
    print_result(
        {
            "output": str(output),
            "pictures": result.num_images,
            "model_bytes": round(result.model_bits / 8, 2),
            "payload_bytes": result.payload_bytes,
            "file_bytes": len(result.data),
            "bytes_per_picture": round(len(result.data) / result.num_images, 2),
        },
        json_output,
    )


def decompress(
    file: Annotated[Path, typer.Argument(help="What `pictogram compress` wrote.")],
    model: Model = "bundle",
    output: Folder = Path("pictures"),
    rest: Annotated[
        str, typer.Option(help='Levels that the file does not keep: "left out", or "drawn" by the prior.')
    ] = "left out",
    seed: Seed = 0,
    json_output: Json = False,
) -> None:
    """Read the pictures of a compressed file.

    Example: pictogram decompress photos.picto --model bundle --output again
    """
    data = _read(file)
    check_new_folder(output)
    codec = ImageCodec.from_pretrained(model)
    about = codec.inspect(data)
    names = _file_names(about.names or (f"{number:05d}" for number in range(about.num_pictures)))
    _check_free(output, names)
    result = codec.decompress(data, rest=rest, seed=seed, progress=True)
    for image, name in zip(result.images, names, strict=True):
        save_picture(image, output / name)
    print_result({"output": str(output), "pictures": len(names), "files": names}, json_output)


def info(
    file: Annotated[Path, typer.Argument(help="What `pictogram compress` or `generate` wrote.")],
    model: Annotated[
        str,
        typer.Option(
            help="Bundle that is asked whether it reads a compressed file, as itself or as a descendant; or whether it "
            "drew a picture."
        ),
    ] = "",
    json_output: Json = False,
) -> None:
    """Say what is in a compressed file, or who drew a picture; needs no model.

    Example: pictogram info photos.picto
    """
    data = _read(file)
    if is_png(data):
        checked = asdict(check_origin(file, Bundle.from_pretrained(model))) if model else {}
        print_result({"file": str(file)} | _spoken(read_origin(file), json_output) | checked, json_output)
        return
    described = _described(read_file(data, (0, 0), with_names=False), len(data))
    reader = {"read_by": ImageCodec.from_pretrained(model).reader(data)} if model else {}
    print_result({"file": str(file)} | described | reader, json_output)


def count_codes(
    codes: Codes = "codes",
    split: Annotated[str, typer.Option(help="Split to count.")] = "train",
    model: Annotated[str, typer.Option(help="Folder of the bundle that gets the tables.")] = "bundle",
    json_output: Json = False,
) -> None:
    """Count a dataset of codes into a bundle, for compression with --static. `train-lm` does it by itself.

    Example: pictogram count-codes --codes codes --model bundle
    """
    bundle = Bundle.from_pretrained(model)
    if bundle.revision is not None or shipped_folder(model) is not None:
        raise InputError(f"the tables go into a folder, but {model} is a name; take a folder of your own")
    rows = load_codes(codes, split, tokenizer=bundle.image_tokenizer, processor=bundle.image_processor)
    tables = count_rows(rows, bundle.vocabulary.order, bundle.vocabulary.codebook_sizes)
    tables.save(Path(model).expanduser())
    print_result({"bundle": model, "pictures": len(rows), "levels": len(tables.frequencies)}, json_output)


def _pictures(paths: Iterable[Path]) -> list[Path]:
    """Files as they are named, and the pictures in folders, sorted."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in visible_files(path) if file.suffix.lower() in PICTURE_SUFFIXES)
            if not inside:
                raise InputError(f"{path} holds no pictures")
            found += inside
        else:
            found.append(path)
    return found


def _first_byte(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(1)


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise InputError(f"{file} is not a file")
    return file.read_bytes()


def _spoken(origin: dict[str, Any], json_output: bool) -> dict[str, Any]:
    """What a picture says of itself; people are spared the codes."""
    if json_output:
        return origin
    pictures = [f"{json.dumps(each['prompt'], ensure_ascii=False)} seed {each['seed']}" for each in origin["pictures"]]
    return {name: value for name, value in origin.items() if name != "pictures" and value is not None} | {
        "pictures": pictures
    }


def _described(file: CodecFile, num_bytes: int) -> dict[str, Any]:
    """What a file says without its model."""
    shapes = {
        f"{shape.width}x{shape.height}" if shape.width else "the model's own": None
        for shape in (group.shape for group in file.groups)
    }
    return {
        "kind": "archive" if file.is_archive else "picture",
        "model": file.model.hex(),
        "pictures": file.num_pictures,
        "sizes": list(shapes),
        "groups": len(file.groups),
        "levels": sorted({group.shape.num_levels or "all" for group in file.groups}, key=str),
        "payload_bytes": file.payload_bytes,
        "file_bytes": num_bytes,
    }


def _check_free(folder: Path, names: Iterable[str]) -> None:
    """Raises InputError where a picture would take the place of a file: that may be the one it was compressed from."""
    for name in names:
        if (folder / name).exists():
            raise InputError(
                f"{folder / name} exists, and decompress replaces no file; give another --output, or remove what an "
                "interrupted run has left there"
            )


def _file_names(names: Iterable[str]) -> list[str]:
    """Names of PNG files, each once: whatever a file says, nothing is written outside the folder."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    result: list[str] = []
    for name in names:
        plain = "".join(letter for letter in name.replace("\\", "/") if letter.isprintable())
        stem = PurePosixPath(plain).stem.strip(". ")[:_MAX_STEM] or "picture"
        candidate = f"{stem}.png"
        while candidate.casefold() in taken:
            counts[stem] = counts.get(stem, 1) + 1
            candidate = f"{stem}-{counts[stem]}.png"
        taken.add(candidate.casefold())
        result.append(candidate)
    return result
