"""The bits of every picture in a file, for paired tests by other people."""

from __future__ import annotations

import io
import json
import math
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet

from ..hub.errors import InputError
from ..hub.files import atomic_write_bytes
from .image_bits import ImageBits

_SUFFIXES = (".parquet", ".jsonl")


def check_bits_file(path: str | os.PathLike[str]) -> None:
    """Whether `write_image_bits` can write such a file; for asking before the work.

    Raises:
        InputError: the name ends in neither .parquet nor .jsonl.
    """
    if Path(path).suffix not in _SUFFIXES:
        raise InputError(f"the bits of every picture go into a {' or '.join(_SUFFIXES)} file, got {path}")


def write_image_bits(path: str | os.PathLike[str], keys: list[str], bits: ImageBits) -> None:
    """Writes one row per picture.

    Columns: `key`; `codes_0_bits_given_caption`, `codes_0_bits`, ... per level; `caption_bits_given_codes`,
    `caption_bits`, `caption_bytes`. What could not be measured is null.

    Args:
        path: ends in .parquet or .jsonl.
        keys: of the pictures.
        bits: of the same pictures.

    Raises:
        InputError: see `check_bits_file`.
    """
    check_bits_file(path)
    columns = {"key": keys}
    for level in range(bits.codes.shape[1]):
        columns[f"codes_{level}_bits_given_caption"] = bits.codes_given_caption[:, level].tolist()
        columns[f"codes_{level}_bits"] = bits.codes[:, level].tolist()
    columns |= {
        "caption_bits_given_codes": bits.caption_given_codes.tolist(),
        "caption_bits": bits.caption.tolist(),
        "caption_bytes": [value if math.isnan(value) else int(value) for value in bits.caption_bytes.tolist()],
    }
    columns = {name: [_known(value) for value in values] for name, values in columns.items()}
    if Path(path).suffix == ".jsonl":
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    else:
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
        content = buffer.getvalue()
    atomic_write_bytes(path, content)


def _known(value: float | str) -> float | str | None:
    return None if isinstance(value, float) and math.isnan(value) else value
