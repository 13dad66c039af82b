import pytest
from datasets import Dataset, Features, Image, Value
from tiny_pictures import picture, png, write_files

from pictogram.hub.errors import InputError
from pictogram.tokenizer.codes_sources import open_codes_source
from pictogram.tokenizer.decoding import decode_row
from pictogram.tokenizer.input_shards import InputRow


@pytest.fixture
def folder(tmp_path):
    features = Features({"image": Image(), "text": Value("string"), "n": Value("int64")})
    for shard in range(3):
        rows = range(2 * shard, 2 * shard + 2)
        images = [{"bytes": png(row) if row != 3 else b"damaged", "path": None} for row in rows]
        columns = {"image": images, "text": [f"picture {row}" for row in rows], "n": list(rows)}
        Dataset.from_dict(columns, features).to_parquet(tmp_path / f"train-{shard:05d}-of-00003.parquet")
    return tmp_path


def test_every_file_is_a_shard_and_pictures_stay_files(folder):
    source = open_codes_source(str(folder), streaming=True)
    shards = source.input_shards(4096)
    assert [shard.num_rows for shard in shards] == [None] * 3
    rows = [row for shard in shards for row in shard.rows()]
    assert all(isinstance(row, InputRow) for row in rows)
    assert [row.key for row in rows][1:4] == [
        "shard-00000/row-000001",
        "shard-00001/row-000000",
        "shard-00001/row-000001",
    ]
    first = rows[0]
    assert isinstance(first, InputRow)
    assert (first.captions, first.values["n"]) == (["picture 0"], 0)
    assert decode_row(first.picture).tobytes() == picture(0).tobytes()
    assert source.caption_column == "text"
    assert source.identity()["shards"] == 3


def test_sources_that_cannot_be_streamed(folder, tmp_path):
    write_files(tmp_path / "pictures", {"a.png": png()})
    with pytest.raises(InputError, match="expected parquet files or a dataset's name"):
        open_codes_source(str(tmp_path / "pictures"), streaming=True)
    with pytest.raises(InputError, match="has no split 'test'"):
        open_codes_source(str(folder), "test", streaming=True)
    with pytest.raises(InputError, match="does not exist"):
        open_codes_source("./nowhere", streaming=True)
    with pytest.raises(InputError, match="has no column 'title'"):
        open_codes_source(str(folder), caption_column="title", streaming=True)
