"""What the tests of the web app share: a model, a page, and files that visitors might upload."""

import functools
import importlib.util
import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_bundles import DEEP, bundle_around
from tiny_pictures import picture

from pictogram.pipelines.app_model import AppModel

needs_gradio = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="needs gradio")


@functools.cache
def model(order: str = "level") -> AppModel:
    """Of 1 + 4 + 16 codes; read only."""
    return AppModel(bundle_around(DEEP, order))


@functools.cache
def page() -> Any:
    from pictogram.pipelines.app_page import new_page

    return new_page(model(), ["red apple", "<b>{{this}} ${1}</b>"])


def listeners(name: str) -> list[Any]:
    """gradio's functions by the name of the function that does the work."""
    return [found for found in page().fns.values() if found.name == name]


def call(found: Any, *values: Any) -> Any:
    """What a listener answers, the last of several answers; its warnings do not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = found.fn(*values)
        return list(answer)[-1] if inspect.isgenerator(answer) else answer


def odd_pictures(folder: Path) -> list[Path]:
    """Readable files of unusual kinds."""
    deep = np.linspace(0, 65535, 20 * 30).reshape(20, 30).astype(np.uint16)
    images = {
        "odd.png": picture(1, (37, 5)),
        "one.png": picture(2, (1, 1)),
        "grey.png": picture(3).convert("L"),
        "clear.png": picture(4, (20, 20)).convert("RGBA"),
        "deep.png": Image.fromarray(deep),
        "palette.gif": picture(5).convert("P"),
        "cmyk.jpg": picture(6, (40, 40)).convert("CMYK"),
        "wide.tiff": Image.fromarray(np.linspace(0, 1, 64).reshape(8, 8).astype(np.float32)),
    }
    paths = [folder / name for name in images]
    for path, image in zip(paths, images.values(), strict=True):
        image.save(path)
    return paths


def broken_files(folder: Path) -> list[Path]:
    """Files that are no pictures."""
    contents = {"text.png": b"hello", "empty.png": b"", "page.svg": b"<svg/>"}
    (folder / "cut.png").write_bytes(odd_pictures(folder)[0].read_bytes()[:60])
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [*(folder / name for name in contents), folder / "cut.png", folder / "missing.png", folder]
