"""The picture set that comes with the package: 1906 emoji of 32x32 pixels with their English names.

The pictures are Noto Emoji (Google, Apache-2.0), the names come from unicode-emoji-json (MIT) and the Unicode Character
Database (Unicode license). Licenses and changes are in ``tokenizer/noto32/NOTICE``, shipped beside the data.
"""

from __future__ import annotations

import importlib.resources
import io

import pyarrow.parquet
from datasets import Dataset, DatasetDict


def load_embedded() -> DatasetDict:
    """Loads the embedded set, from the installed package alone: no network, no cache folder.

    Returns:
        Splits "train" (1806 rows) and "test" (100 rows) with the columns `image` (32x32 RGB), `caption`, `name`,
        `category` (9 classes) and `emoji` (the character itself).
    """
    folder = importlib.resources.files(__name__.rpartition(".")[0]) / "noto32"
    splits = {}
    for split in ("train", "test"):
        content = (folder / f"{split}.parquet").read_bytes()
        splits[split] = Dataset(pyarrow.parquet.read_table(io.BytesIO(content)))
    return DatasetDict(splits)
