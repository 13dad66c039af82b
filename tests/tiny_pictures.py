"""Small pictures and folders of them, good and damaged."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def png(seed: int = 0, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, "PNG")
    return buffer.getvalue()


def write_files(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def damaged_folder(tmp_path: Path) -> str:
    buffer = io.BytesIO()
    picture(9, (64, 64)).save(buffer, "JPEG")
    files = {
        "a.png": png(1),
        "b_truncated.png": png(2, (64, 64))[:2000],
        "c_empty.png": b"",
        "d_page.jpg": "<html></html>",
        "e_flipped.png": png(3)[:45] + b"\x00" * 40 + png(3)[85:],
        "f_truncated.jpg": buffer.getvalue()[:1000],
        "g.png": png(4),
        "h_really_png.jpg": png(5),
    }
    return str(write_files(tmp_path, files))


def smooth_pictures(count: int, size: int = 8, channels: int = 1, seed: int = 0) -> torch.Tensor:
    """(count, size, size, channels) uint8: a ramp in a random direction with noise."""
    generator = torch.Generator().manual_seed(seed)
    slopes = torch.randn(count, 2, 1, 1, channels, generator=generator) * 12
    ramp = torch.arange(size) - size / 2
    clean = slopes[:, 0] * ramp.view(1, -1, 1, 1) + slopes[:, 1] * ramp.view(1, 1, -1, 1)
    noisy = 128 + clean + 4 * torch.randn(count, size, size, channels, generator=generator)
    return noisy.round().clamp(0, 255).to(torch.uint8)


def smooth_folder(folder: Path, size: int = 8, channels: int = 1) -> Path:
    """The splits train and test, of 40 and 16 smooth pictures."""
    for seed, (split, count) in enumerate((("train", 40), ("test", 16))):
        (folder / split).mkdir(parents=True)
        for index, pixels in enumerate(smooth_pictures(count, size, channels, seed)):
            Image.fromarray(pixels.squeeze(-1).numpy()).save(folder / split / f"{index:02d}.png")
    return folder


def noise_in_two_classes(folder: Path, count: int = 60, size: int = 16) -> Path:
    """A test split of noise, bright and dark by turns, and a file that is no picture."""
    drawn = np.random.default_rng(0)
    for number in range(count):
        target = folder / "test" / ("dark" if number % 2 else "bright")
        target.mkdir(parents=True, exist_ok=True)
        values = drawn.integers(0, 100, (size, size, 3)) + 100 * (number % 2 == 0)
        Image.fromarray(values.astype(np.uint8)).save(target / f"{number:02d}.png")
    (folder / "test" / "dark" / "bad.png").write_text("no picture")
    return folder
