import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_chain import codes_folder, image_tokenizer

from pictogram.hub.errors import InputError
from pictogram.tokenizer.codes_dataset import load_codes, write_codes
from pictogram.tokenizer.codes_stream import CodesStream
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.images import load_image_source


@pytest.fixture(scope="module")
def native(tmp_path_factory) -> Path:
    """Codes of pictures that kept their sizes, two neighbours of which are alike."""
    folder = tmp_path_factory.mktemp("native")
    (folder / "in").mkdir()
    generator = np.random.default_rng(0)
    for index, (height, width) in enumerate([(16, 16), (16, 16), (24, 8)]):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "in" / f"{index}.png")
    processor = ImageTokenizerImageProcessorPil(do_resize=False)
    write_codes(load_image_source(str(folder / "in")), image_tokenizer(), processor, folder / "out")
    return folder / "out"


@pytest.mark.parametrize("batch_size", [1, 4, 10, 16, 100])
def test_batches_are_full_across_files(batch_size):
    dataset, stream = load_codes(codes_folder()), load_codes(codes_folder(), streaming=True)
    assert len(stream) == len(dataset) == 16
    assert stream.manifest == dataset.manifest
    row = 0
    for batch in stream.batches(batch_size):
        rows = range(row, min(row + batch_size, 16))
        assert batch.keys == [dataset.keys[index] for index in rows]
        assert batch.views == [0] * len(rows)
        assert batch.captions == [dataset.captions(index) for index in rows]
        assert all(torch.equal(a, b) for a, b in zip(batch.codes, dataset.codes(rows), strict=True))
        row = rows.stop
    assert row == 16


def test_rows_and_every_pass_anew():
    dataset, stream = load_codes(codes_folder()), load_codes(codes_folder(), streaming=True)
    for _ in range(2):
        rows = list(stream)
        assert [row.key for row in rows] == dataset.keys
        for index in (0, 9, 10, 15):
            assert (rows[index].view, rows[index].captions) == (0, dataset.captions(index))
            for level, right in zip(rows[index].codes, dataset.codes([index]), strict=True):
                assert torch.equal(level, right[0])


def test_pictures_of_several_sizes(native):
    stream = load_codes(native, streaming=True)
    assert [tuple(row.codes[1].shape) for row in stream] == [(2, 2), (2, 2), (3, 1)]
    batches = stream.batches(2)
    assert next(batches).codes[1].shape == (2, 2, 2)
    with pytest.raises(InputError, match="equal grids"):
        list(stream.batches(3))


def test_nothing_is_read_before_it_is_wanted(tmp_path):
    folder = Path(shutil.copytree(codes_folder(), tmp_path / "codes"))
    second = folder / "data" / "train-00001-of-00002.parquet"
    second.unlink()
    stream = load_codes(folder, streaming=True)
    batches = stream.batches(5)
    assert len(next(batches).keys) == len(next(batches).keys) == 5
    with pytest.raises(InputError, match="is missing"):
        next(batches)


def test_counts_are_compared_at_the_end(tmp_path):
    folder = Path(shutil.copytree(codes_folder(), tmp_path / "codes"))
    first, second = sorted((folder / "data").iterdir())
    second.write_bytes(first.read_bytes())
    batches = load_codes(folder, streaming=True).batches(10)
    assert len(next(batches).keys) == len(next(batches).keys) == 10
    with pytest.raises(InputError, match="holds 20 rows, its manifest says 16"):
        next(batches)


def test_checks_before_any_row():
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        load_codes(codes_folder(), streaming=True, codes_fingerprint="0" * 64)
    with pytest.raises(InputError, match="no split 'test'"):
        load_codes(codes_folder(), "test", streaming=True)
    stream = load_codes(codes_folder(), streaming=True)
    assert isinstance(stream, CodesStream)
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        next(stream.batches(0))
