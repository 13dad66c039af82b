import pytest
from datasets import ClassLabel, Features, Image, List, Value

from pictogram.hub.errors import InputError
from pictogram.tokenizer.columns import captions_beside, captions_of, find_caption_column, find_image_column


def test_the_picture_s_column():
    assert find_image_column(Features({"a": Value("binary"), "b": Image()}), "x") == "b"
    assert find_image_column(Features({"a": Value("string"), "b": Value("binary")}), "x") == "b"
    with pytest.raises(InputError, match="x has no column with pictures; its columns: a"):
        find_image_column(Features({"a": Value("string")}), "x")


def test_the_caption_s_column():
    features = Features({"label": ClassLabel(names=["a"]), "name": Value("string"), "text": List(Value("string"))})
    assert find_caption_column(features, "x", None) == "text"
    assert find_caption_column(features, "x", "label") == "label"
    assert find_caption_column(Features({"label": ClassLabel(names=["a"]), "n": Value("int64")}), "x", None) == "label"
    assert find_caption_column(Features({"n": Value("int64")}), "x", None) is None


def test_lists_of_lists_are_no_captions():
    features = Features({"caption": List(List(Value("string"))), "name": Value("string")})
    assert find_caption_column(features, "x", None) == "name"
    with pytest.raises(InputError, match="captions must be text, lists of text or class labels; 'caption' holds"):
        find_caption_column(features, "x", "caption")


def test_values_of_caption_columns():
    assert captions_of(["a", None], List(Value("string"))) == ["a", ""]
    assert captions_of([], List(Value("string"))) == [""]
    assert captions_of(-1, ClassLabel(names=["a"])) == [""]


@pytest.mark.parametrize(
    ("content", "captions"),
    [
        (b"a cat", ["a cat"]),
        ("\ufeffa cat\r\n\r\n eine Katze \n黒い猫".encode(), ["a cat", "eine Katze", "黒い猫"]),
        (b"", [""]),
        (b" \n ", [""]),
    ],
)
def test_captions_in_a_file_beside_the_picture(content, captions, tmp_path):
    (tmp_path / "a.b.txt").write_bytes(content)
    assert captions_beside(str(tmp_path / "a.b.png")) == captions
    assert captions_beside(str(tmp_path / "other.png")) == [""]


def test_caption_files_that_cannot_be_read(tmp_path):
    (tmp_path / "a.txt").write_bytes("Müller".encode("latin-1"))
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(InputError, match=r"its caption a\.txt is not UTF-8"):
        captions_beside(str(tmp_path / "a.png"))
    with pytest.raises(InputError, match=r"its caption b\.txt cannot be read: Is a directory"):
        captions_beside(str(tmp_path / "b.png"))
