import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from tiny_chain import image_tokenizer, processor

from pictogram.hub.errors import InputError
from pictogram.tokenizer.codes_check import check_codes
from pictogram.tokenizer.codes_manifest import MANIFEST_NAME
from pictogram.tokenizer.codes_writer import write_codes
from pictogram.tokenizer.images import load_image_source


@pytest.fixture
def folder(tmp_path) -> Path:
    for split, rows in (("train", range(10)), ("test", range(10, 13))):
        source = load_image_source("embedded").select(rows)
        write_codes(source, image_tokenizer(), processor(), tmp_path, split, rows_per_shard=4)
    return tmp_path


def shard(folder: Path, index: int) -> Path:
    return folder / "data" / f"train-{index:05d}-of-00003.parquet"


def rewrite(folder: Path, index: int, change) -> None:
    """A shard with other rows, and a manifest that has no hashes to tell."""
    table = pyarrow.parquet.read_table(shard(folder, index))
    pyarrow.parquet.write_table(change(table), shard(folder, index))
    edit(folder, lambda split: split.update(sha256=[]))


def edit(folder: Path, change) -> None:
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    change(manifest["splits"]["train"])
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))


def test_a_whole_folder(folder):
    steps = []
    check = check_codes(folder, steps.append)
    assert (check.shards, check.rows, check.codes, check.problems) == (4, 13, 13 * (1 + 4), [])
    assert sum(steps) == 4


def test_other_bytes_with_the_same_rows(folder):
    table = pyarrow.parquet.read_table(shard(folder, 1))
    pyarrow.parquet.write_table(table, shard(folder, 1), compression="snappy")
    assert check_codes(folder).problems == [f"{shard(folder, 1).name} has changed since it was made: another SHA-256"]


def test_missing_damaged_and_strange_files(folder):
    shard(folder, 0).unlink()
    shard(folder, 1).write_bytes(shard(folder, 1).read_bytes()[:500])
    (folder / "data" / "train-00003-of-00004.parquet").write_bytes(shard(folder, 2).read_bytes())
    problems = "\n".join(check_codes(folder).problems)
    assert f"{shard(folder, 0).name} is missing" in problems
    assert f"{shard(folder, 1).name} is damaged" in problems
    assert "split train has rows 2, its manifest says 10" in problems
    assert "train-00003-of-00004.parquet is in the folder, but not in the manifest" in problems


def test_codes_out_of_range(folder):
    def change(table: pyarrow.Table) -> pyarrow.Table:
        codes = table["codes_1"].to_pylist()
        codes[2][0] = 60000
        return table.set_column(3, table.schema.field("codes_1"), pyarrow.array(codes, table["codes_1"].type))

    rewrite(folder, 0, change)
    (problem,) = check_codes(folder).problems
    assert "level 1 has code 60000, but its codebook has" in problem


def test_rows_with_too_few_codes(folder):
    def change(table: pyarrow.Table) -> pyarrow.Table:
        codes = table["codes_1"].to_pylist()
        codes[1] = codes[1][:-1]
        return table.set_column(3, table.schema.field("codes_1"), pyarrow.array(codes, table["codes_1"].type))

    rewrite(folder, 0, change)
    (problem,) = check_codes(folder).problems
    assert "row 1 has 3 codes in level 1, its grid wants 4" in problem


def test_rows_that_are_there_twice(folder):
    rewrite(folder, 0, lambda table: pyarrow.concat_tables([table.slice(0, 3), table.slice(0, 1)]))
    assert check_codes(folder).problems == ["split train has 1 rows whose key and view occur twice"]


def test_failures_that_the_manifest_does_not_list(folder):
    edit(folder, lambda split: split["failures"].append({"key": "x", "reason": "y"}))
    assert check_codes(folder).problems == ["split train: files and manifest list different failures"]


def test_no_manifest(tmp_path):
    with pytest.raises(InputError, match="is missing"):
        check_codes(tmp_path)
