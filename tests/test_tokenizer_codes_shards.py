import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_tokenizer_codes_dataset import damage_page
from tiny_chain import codes_folder

from pictogram.hub.errors import InputError
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.codes_location import find_codes
from pictogram.tokenizer.codes_manifest import CodesManifest
from pictogram.tokenizer.codes_shards import CodesShards


def shards(folder: Path | None = None, num_held: int = 8) -> CodesShards:
    return CodesShards(find_codes(folder or codes_folder()), "train", num_held)


@pytest.mark.parametrize("num_held", [1, 8])
@pytest.mark.parametrize("rows", [[0], [15, 0, 9, 10, 10], list(range(16)), []], ids=str)
def test_rows_are_those_of_the_dataset(rows: list[int], num_held: int):
    found, dataset = shards(num_held=num_held), load_codes(codes_folder())
    assert len(found) == len(dataset) == 16
    assert (found.shared_grids, found.codebook_sizes) == (dataset.shared_grids, dataset.codebook_sizes)
    for level, expected in zip(found.codes(rows), dataset.codes(rows), strict=True):
        assert torch.equal(level, expected)
    assert found.captions_of(rows) == dataset.captions_of(rows) == [dataset.captions(row) for row in rows]


def test_only_so_many_shards_are_held(monkeypatch):
    read: list[int] = []
    inner = CodesShards._read
    monkeypatch.setattr(CodesShards, "_read", lambda self, shard: (read.append(shard), inner(self, shard))[1])
    one, all_ = shards(num_held=1), shards()
    last = len(one) - 1
    for rows in ([0], [last], [0], [0]):
        one.codes(rows)
    assert len(read) == 3
    read.clear()
    for rows in ([0], [last], [0]):
        all_.codes(rows)
    assert len(read) == 2


def test_old_manifests_do_not_know_the_sizes(tmp_path):
    folder = shutil.copytree(codes_folder(), tmp_path / "codes")
    manifest = CodesManifest.load(folder)
    sizes = shards().shard_sizes
    assert manifest.splits["train"].shard_rows == list(sizes)
    replace(manifest, splits={"train": replace(manifest.splits["train"], shard_rows=[])}).save(folder)
    assert shards(folder).shard_sizes == sizes
    replace(manifest, splits={"train": replace(manifest.splits["train"], shard_rows=[3, 3])}).save(folder)
    with pytest.raises(InputError, match="holds 6 rows, its manifest says 16"):
        _ = shards(folder).shard_sizes


def test_rows_that_are_not_there_and_shards_that_are_damaged(tmp_path):
    for rows in ([16], [-1]):
        with pytest.raises(IndexError, match=r"rows must be 0\.\.15"):
            shards().codes(rows)
    folder = shutil.copytree(codes_folder(), tmp_path / "codes")
    first = sorted((folder / "data").iterdir())[0]
    first.write_bytes(first.read_bytes()[:-40])
    with pytest.raises(InputError, match="damaged"):
        shards(folder).codes([0])
    shutil.copy(sorted((codes_folder() / "data").iterdir())[0], first)
    damage_page(first)
    with pytest.raises(InputError, match=r"train-00000-of-00002\.parquet of .* is damaged: "):
        shards(folder).codes([0])
    first.unlink()
    with pytest.raises(InputError, match="is missing"):
        shards(folder).codes([0])
