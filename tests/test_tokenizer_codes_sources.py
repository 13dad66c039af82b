import pytest
from test_tokenizer_tar_source import write_tar
from tiny_pictures import png, write_files

from pictogram.hub.errors import InputError
from pictogram.tokenizer.codes_sources import open_codes_source
from pictogram.tokenizer.images import ImageSource
from pictogram.tokenizer.tar_source import TarSource


def test_each_kind_of_source(tmp_path):
    write_files(tmp_path / "pictures", {"a.png": png()})
    write_tar(tmp_path / "archives" / "x.tar", {"a.png": png()})
    assert isinstance(open_codes_source("embedded"), ImageSource)
    assert isinstance(open_codes_source(str(tmp_path / "pictures")), ImageSource)
    assert isinstance(open_codes_source(str(tmp_path / "archives")), TarSource)
    assert isinstance(open_codes_source(str(tmp_path / "archives" / "x.tar")), TarSource)
    with pytest.raises(InputError, match="does not exist"):
        open_codes_source("./nowhere.tar")


@pytest.mark.parametrize(("name", "what"), [("a.png", "1 pictures"), ("a.parquet", "1 parquet files")])
def test_archives_beside_something_else(name, what, tmp_path):
    write_files(tmp_path, {name: png()})
    write_tar(tmp_path / "backup.tar", {"b.png": png()})
    with pytest.raises(InputError, match=f"holds {what} and 1 archives; name a folder of either"):
        open_codes_source(str(tmp_path))


def test_archives_beside_their_description(tmp_path):
    write_files(tmp_path, {"README.md": "", "metadata.parquet": b"", ".preview.png": png()})
    write_tar(tmp_path / "x.tar", {"b.png": png()})
    assert isinstance(open_codes_source(str(tmp_path)), TarSource)


def test_the_embedded_pictures_are_no_stream(monkeypatch):
    monkeypatch.setattr("pictogram.tokenizer.sources.load_dataset", lambda *args, **kwargs: pytest.fail("network"))
    with pytest.raises(InputError, match="embedded pictures come with the package, leave out streaming"):
        open_codes_source("embedded", streaming=True)


def test_what_a_source_is_known_by(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"a.png": png()})
    (name, size) = open_codes_source(str(path)).identity()["archives"][0]
    assert (name, size) == ("x.tar", path.stat().st_size)
    rows = open_codes_source("embedded").identity()
    assert rows["input_rows"] == 1806 and len(rows["keys_sha256"]) == 64


def test_archives_of_one_size_are_told_apart(tmp_path):
    paths = [
        write_tar(tmp_path / name / "x.tar", {"a.png": png(), "a.txt": words})
        for name, words in (("one", b"wrong"), ("other", b"right"))
    ]
    assert paths[0].stat().st_size == paths[1].stat().st_size
    one, other = (open_codes_source(str(path)).identity() for path in paths)
    assert one["archives"] == other["archives"] and one["archives_sha256"] != other["archives_sha256"]
