"""Small pictures and folders of them, good and damaged."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
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
