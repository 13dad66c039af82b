import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from pictogram.hub.errors import InputError
from pictogram.pipelines.atlas_page import check_page_folder, sheets, write_page
from pictogram.pipelines.atlas_tiles import SymbolTiles


def flat(value: int, channels: int = 3, size: tuple[int, int] = (8, 16)) -> torch.Tensor:
    return torch.full((channels, *size), value, dtype=torch.uint8)


def opened(uri: str) -> Image.Image:
    header, data = uri.split(",")
    assert header == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def colour(image: Image.Image, x: int, y: int) -> list[int]:
    return np.array(image.convert("RGB"))[y, x].astype(int).tolist()


def test_tiles_lie_where_the_page_looks_for_them():
    tiles = [SymbolTiles(flat(3 * n), [flat(200)] * (n % 3), flat(100), [flat(50)], [1.0]) for n in range(70)]
    made = sheets(tiles, num_examples=2, num_swaps=3)
    assert (made["tile"], made["slots"], made["prototype_columns"], len(made["sheets"])) == ([16, 8], 6, 9, 2)
    prototypes = opened(made["prototypes"])
    assert prototypes.size == (9 * 16, 8 * 8)
    assert abs(colour(prototypes, 10 % 9 * 16 + 8, 10 // 9 * 8 + 4)[0] - 30) <= 4
    second = opened(made["sheets"][1])
    assert second.size == (6 * 16, 6 * 8)
    row = (65 - 64) * 8 + 4  # symbol 65 has two examples
    assert [abs(colour(second, slot * 16 + 8, row)[0] - value) <= 6 for slot, value in enumerate((200, 200, 100, 50))]
    assert colour(second, 5 * 16 + 8, row)[0] > 245  # no third swap


def test_large_and_grey_pictures():
    made = sheets([SymbolTiles(flat(90, 1, (256, 128)), [], None, [], [])], 1, 1)
    assert made["tile"] == [32, 64]
    pixel = colour(opened(made["prototypes"]), 16, 32)
    assert max(pixel) - min(pixel) <= 2 and abs(pixel[0] - 90) <= 4


def test_nothing_in_a_caption_leaves_the_data(tmp_path):
    atlas = {"title": "</script><script>alert(1)</script>", "about": "<!--", "levels": []}
    page = write_page(atlas, tmp_path / "deep" / "atlas").read_text()
    start = page.index('id="data">') + len('id="data">')
    data = page[start : page.index("</script>", start)]
    assert json.loads(data) == atlas
    assert "alert(1)</script>" not in page.replace("\\u003c", "")
    assert page.count("<script") == 2


def test_the_folder_is_a_static_space(tmp_path):
    write_page({"title": "Symbols of x", "about": "all", "levels": []}, tmp_path)
    assert (tmp_path / "README.md").read_text().startswith('---\ntitle: "Atlas of symbols"\nsdk: "static"\n')
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "index.html"]


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    page = write_page({"title": "t", "about": "a", "levels": []}, tmp_path).read_text()
    assert "http://" not in page and "https://" not in page and "src=" not in page


def test_a_page_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "index.html").write_text("MY SITE")
    with pytest.raises(InputError, match=r"has a index\.html that is not of an atlas"):
        check_page_folder(tmp_path)
