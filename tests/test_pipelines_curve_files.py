import io

import pytest
import torch
from PIL import Image
from tiny_pictures import smooth_pictures

from pictogram.pipelines.curve_files import WAYS, file_points, formats, measure_files, tile, untile


@pytest.mark.parametrize("channels", [1, 3])
def test_files_rise_and_sheets_spare_headers(channels):
    shown = smooth_pictures(12, size=16, channels=channels)
    for file_format in formats(channels):
        low, high = (30, 50) if file_format.name == "JPEG2000" else (30, 95)
        sizes = {}
        for way in WAYS:
            points = [measure_files(shown, file_format, quality, way) for quality in (low, high)]
            assert points[0].bytes < points[1].bytes and points[0].psnr < points[1].psnr
            assert (points[0].ssim or 0) < (points[1].ssim or 0)
            sizes[way] = points[0].bytes
        assert sizes["sheet"] < sizes["file"] and sizes["less header"] < sizes["file"]


def test_a_file_is_what_is_counted():
    shown = smooth_pictures(2, size=16)
    (file_format,) = [kind for kind in formats(1) if kind.name == "WEBP"]
    contents = [file_format.encode(picture, 20) for picture in shown]
    point = measure_files(list(shown), file_format, 20, "file")
    assert point.bytes == sum(map(len, contents)) / 2
    assert Image.open(io.BytesIO(contents[0])).size == (16, 16)
    assert point == measure_files(shown, file_format, 20, "file")


def test_a_sheet_is_pictures_row_by_row():
    pictures = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 2, 2, 1)
    tiled = tile(pictures, 2)
    assert tiled[::2, ::2, 0].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert untile(tiled, 2, (2, 2)).equal(pictures)


def test_pictures_of_different_sizes_and_qualities_of_ones_own():
    shown = [smooth_pictures(1, size)[0] for size in (16, 20)]
    points = list(file_points(shown, ("file",), (30, 90)))
    assert {point.codec for point in points} >= {"jpeg file", "webp file"}
    assert len(points) == 2 * len(formats(1))
