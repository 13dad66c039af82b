import math

import pytest
from tiny_apps import broken_files, model, odd_pictures
from tiny_bundles import DEEP, bundle_around
from tiny_pictures import picture

from pictogram.hub.errors import InputError
from pictogram.pipelines import app_files
from pictogram.pipelines.app_files import compress_picture, other_files, read_compressed
from pictogram.pipelines.app_model import AppModel


def test_every_number_of_levels_is_a_file_that_reads_as_it_is_shown(tmp_path):
    found = compress_picture(model(), picture(3, (16, 16)))
    assert [point.num_codes for point in found.ours] == [1, 5, 21]
    assert [point.name for point in found.ours] == ["1 code", "5 codes", "21 codes"]
    assert found.picture.tobytes() == picture(3, (16, 16)).tobytes()
    sizes = [len(point.data) for point in found.ours]
    assert sizes == sorted(sizes) and sizes[-1] < 60
    for point in found.ours:
        (tmp_path / "a.picto").write_bytes(point.data)
        (read,) = read_compressed(model(), str(tmp_path / "a.picto"))
        assert read.tobytes() == point.image.tobytes()
        assert point.payload_bytes is not None and 8 < len(point.data) - point.payload_bytes < 18
        assert math.isfinite(point.psnr)


def test_other_formats():
    image = picture(5, (16, 16))
    png, *others = other_files(image, wanted=0.0)
    assert png.psnr == math.inf and png.image.tobytes() == image.tobytes()
    assert {"JPEG", "WebP"} <= {point.name for point in others} and len({point.name for point in others}) == len(others)
    better = other_files(image, wanted=12.0)
    assert all(point.psnr < 12 or point.note for point in better)
    grey = other_files(image.convert("L"), wanted=99.0)
    assert grey[0].image.mode == "L" and len(grey) == len({point.name for point in grey})


def test_uploads_of_every_kind(tmp_path):
    for path in odd_pictures(tmp_path):
        assert len(compress_picture(model(), str(path)).ours) == 3
    for path in [None, *map(str, broken_files(tmp_path))]:
        with pytest.raises(InputError, match=r"cannot be read|no picture yet"):
            compress_picture(model(), path)


def test_orders_and_models():
    assert [point.num_codes for point in compress_picture(model("pyramid"), picture()).ours] == [21]
    grey = AppModel(bundle_around(DEEP, settings={"num_channels": 1}, num_channels=1))
    found = compress_picture(grey, picture())
    assert found.picture.mode == "L" and len(found.ours) == 3
    padded = AppModel(bundle_around(DEEP, do_pad=True))
    assert len(compress_picture(padded, picture(0, (9, 5))).ours) == 3


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    file = tmp_path / "a.picto"
    data = model().codec.compress([picture(n, (16, 16)) for n in range(3)]).data
    for content, message in [
        (b"", "no compressed file|damaged|empty|not a"),
        (b"\x89PNG" + bytes(60), "not|no "),
        (data[:-1], "damaged|cut"),
        (data[:2] + b"abcd" + data[6:], "was written with model 61626364"),
    ]:
        file.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_compressed(model(), str(file))
    file.write_bytes(data)
    assert len(read_compressed(model(), str(file))) == 3
    monkeypatch.setattr(app_files, "_MAX_FILE_IMAGES", 2)
    named = model().codec.compress([picture(n, (16, 16)) for n in range(3)], names=["a", "b", "c"]).data
    with monkeypatch.context() as patch:
        patch.setattr("pictogram.pipelines.codec_format._unpack_names", None)  # they may be millions
        file.write_bytes(named)
        with pytest.raises(InputError, match="at most 2 pictures"):
            read_compressed(model(), str(file))
    file.write_bytes(data)
    with pytest.raises(InputError, match="at most 2 pictures"):
        read_compressed(model(), str(file))
    monkeypatch.setattr(app_files, "_MAX_FILE_BYTES", 20)
    with pytest.raises(InputError, match="files of at most 20 bytes"):
        read_compressed(model(), str(file))
    for missing in (None, "", str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(InputError, match=r"no file yet|files of at most"):
            read_compressed(model(), missing)
