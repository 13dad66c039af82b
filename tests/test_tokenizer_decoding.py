import pytest
from PIL import Image
from tiny_pictures import picture, png

from pictogram.tokenizer.decoding import UnreadableImage, decode_row


def test_files_and_bytes(tmp_path):
    picture(1).save(tmp_path / "a.png")
    assert decode_row({"bytes": None, "path": str(tmp_path / "a.png")}).tobytes() == picture(1).tobytes()
    assert decode_row({"bytes": png(1), "path": None}).tobytes() == picture(1).tobytes()


@pytest.mark.parametrize("row", [None, {}, {"bytes": None, "path": None}, {"bytes": None, "path": ""}])
def test_rows_without_a_picture(row):
    with pytest.raises(UnreadableImage, match="no picture"):
        decode_row(row)


@pytest.mark.parametrize("limit", [63, 20])  # PIL itself would warn at the first and raise at the second
def test_too_many_pixels(limit, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UnreadableImage, match="pixels"):
        decode_row({"bytes": png(), "path": None})
    assert not recwarn.list
