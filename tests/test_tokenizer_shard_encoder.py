from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from tiny_chain import image_tokenizer, processor
from tiny_pictures import png, write_files

from pictogram.tokenizer.codes_sources import open_codes_source
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.shard_encoder import ShardEncoder, code_dtype
from pictogram.tokenizer.views import ViewSettings


def test_big_codebooks_get_32_bits():
    assert [code_dtype(size) for size in (2, 65536, 65537)] == ["uint16", "uint16", "uint32"]


@pytest.fixture
def source(tmp_path):
    sizes = [(16, 16), (32, 16), (16, 16), (10, 10)]
    files = {f"{index}.png": png(index, size) for index, size in enumerate(sizes)}
    return open_codes_source(str(write_files(tmp_path, files | {"4.png": b"damaged"})))


def encoder(source, prepare=None, **settings) -> ShardEncoder:
    chosen = {"views": ViewSettings(), "batch_size": 3, **settings}
    return ShardEncoder(source, image_tokenizer(), prepare or processor(), **chosen)


def test_pictures_of_several_sizes_share_a_batch(source):
    prepare = ImageTokenizerImageProcessorPil(do_resize=False)
    (shard,) = source.input_shards(100)
    encoded = encoder(source, prepare).encode(shard)
    assert encoded.table is not None
    assert encoded.table["key"].to_pylist() == ["0.png", "1.png", "2.png"]
    assert encoded.table["grid_1"].to_pylist() == [[2, 2], [2, 4], [2, 2]]
    assert [failure["key"] for failure in encoded.failures] == ["3.png", "4.png"]  # 10x10 fits no stride
    for row, index in enumerate((0, 1, 2)):
        alone = image_tokenizer().encode(prepare(source.read(index), return_tensors="pt")["pixel_values"])
        for level, codes in enumerate(alone):
            assert np.array_equal(encoded.table[f"codes_{level}"][row].as_py(), codes.flatten().numpy())


@pytest.mark.parametrize("names", [("key", "source_key"), ("source_key", "key")])
def test_no_column_takes_the_name_of_another(names, tmp_path):
    columns = {"image": [{"bytes": png(), "path": None}], **{name: [f"of {name}"] for name in names}}
    Dataset.from_dict(columns, Features({"image": Image(), **dict.fromkeys(names, Value("string"))})).to_parquet(
        tmp_path / "x.parquet"
    )
    opened = open_codes_source(str(tmp_path / "x.parquet"))
    table = encoder(opened).encode(opened.input_shards(1)[0]).table
    assert table is not None
    (row,) = table.to_pylist()
    assert (row["key"], row["source_key"], row["source_source_key"]) == ("row-000000", "of source_key", "of key")


def test_progress_counts_source_rows_failures_included(source):
    done = []
    with ThreadPoolExecutor(2) as executor:
        chosen = encoder(source, executor=executor, progress=done.append, views=ViewSettings(num_crops=2))
        encoded = chosen.encode(source.input_shards(100)[0])
    assert sum(done) == 5
    assert encoded.num_pictures == 4
    assert encoded.table is not None and len(encoded.table) == 12


def test_a_shard_without_a_good_picture_has_no_table(source):
    encoded = encoder(source).encode(source.select([4]).input_shards(1)[0])
    assert (encoded.table, encoded.num_pictures, len(encoded.failures)) == (None, 0, 1)


def test_codes_are_made_where_the_tokenizer_is_and_stored_small(source):
    table = encoder(source).encode(source.input_shards(100)[0]).table
    assert table is not None
    assert str(table.schema.field("codes_0").type.value_type) == "uint16"
    assert code_dtype(65537) == "uint32"
