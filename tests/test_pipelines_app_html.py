import base64
import re

import pytest
from PIL import Image
from tiny_apps import model
from tiny_pictures import picture

from pictogram.pipelines import app_html
from pictogram.pipelines.app_actions import Described, DrawnPicture, Sampling, complete, draw
from pictogram.pipelines.app_files import compress_picture
from pictogram.pipelines.app_symbols import Place, Symbol, swap
from pictogram.pipelines.picture_origin import read_origin

HOSTILE = "<script>alert(1)</script> \"'{{this}} ${1+1}"
COUNTS = [1, 4, 16]


def checked(text: str) -> str:
    """HTML whose elements are all closed, without anything that runs or comes from elsewhere."""
    found = re.findall(r"<(/?)([a-z0-9]+)", text)
    opened = [name for end, name in found if not end and name != "img"]
    assert sorted(opened) == sorted(name for end, name in found if end), text[:2000]
    assert "<script" not in text and "{{" not in text and "${" not in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    return text


@pytest.mark.parametrize("value", [HOSTILE, "", 3, None])
def test_text_is_only_text(value):
    text = app_html.escape(value)
    assert not set("<>\"'{$") & set(text)


def test_pictures_lie_in_the_text():
    text = checked(app_html.figure(picture(), HOSTILE, [HOSTILE, "b"]))
    data = re.findall(r"data:image/png;base64,([^\"]+)", text)
    assert len(data) == 1 and base64.b64decode(data[0]).startswith(b"\x89PNG")


def test_growing_pictures_have_a_place_for_what_is_to_come(tmp_path):
    stages = list(draw(model(), HOSTILE[:20], Sampling(2)))
    texts = [checked(app_html.growth(stage, model().level_names, COUNTS)) for stage in stages]
    assert [text.count("pg-waiting") for text in texts] == [4, 2, 0]
    assert [text.count("<img") for text in texts] == [4, 6, 8]
    assert "pg-growing" in texts[0] and "pg-done" in texts[2] and "save" not in texts[1]
    bits = stages[-1].latest.level_bits
    for row in range(2):
        assert f"{float(bits[row].sum()):.1f} bits" in texts[2]
        assert all(f"<b>{value:.1f} bits</b>" in texts[2] for value in bits[row].tolist())
    saved = re.findall(r"download=\"[^\"]+\" href=\"data:image/png;base64,([^\"]+)", texts[2])
    (tmp_path / "a.png").write_bytes(base64.b64decode(saved[1]))
    assert read_origin(tmp_path / "a.png")["pictures"][0]["seed"] == 1
    assert texts[2].count("data-pick") == 2 and "16 codes" in texts[2]


def test_a_model_without_stages_shows_the_end():
    (only,) = draw(model("pyramid"), "", Sampling(1))
    text = checked(app_html.growth(only, model().level_names, COUNTS))
    assert "pg-waiting" not in text and "anything" in text


@pytest.mark.parametrize("count", [1, 2, 7, 25])
def test_a_sheet_holds_every_symbol(count):
    symbols = [Symbol(3 * code, Image.new("RGB", (4, 2), (code, 0, 0)), code / 100) for code in range(count)]
    text = checked(app_html.sheet(symbols, chosen=0, tile=8))
    assert re.findall(r"data-pick=\"(\d+)\"", text) == [str(symbol.code) for symbol in symbols]
    assert text.count("pg-chosen") == 1
    places = re.findall(r"background-position:(-?\d+)px (-?\d+)px", text)
    data = base64.b64decode(re.findall(r"base64,([^)]+)\)", text)[0])
    sheet = Image.open(__import__("io").BytesIO(data))
    for symbol, (x, y) in zip(symbols, places, strict=True):  # the sheet is shown at twice its size
        assert sheet.getpixel((-int(x) // 2, -int(y) // 2)) == symbol.image.getpixel((0, 0))
    assert "There is no other" in app_html.sheet([])


def test_places_of_a_grid():
    text = checked(app_html.places(picture(), (2, 3), Place(1, 1, 2)))
    assert re.findall(r"data-pick=\"([\d,]+)\"", text) == ["0,0", "0,1", "0,2", "1,0", "1,1", "1,2"]
    assert text.count("pg-chosen") == 1 and "row 2, column 3" in text


def test_swaps():
    drawn = list(draw(model(), "", Sampling()))[-1].pictures()[0]
    for place, where in [(Place(0, 0, 0), "Whole image: code"), (Place(2, 1, 3), "Row 2, column 4 of 4x4: code")]:
        done = swap(model(), drawn, place, 1)
        text = checked(app_html.swapped(done, model().level_names))
        assert where in text and f"code 1 in the place of {done.codes[0]}" in text
        assert ("own cell" in text) == (place.level > 0)


def test_completions_captions_and_files():
    text = checked(app_html.completions(complete(model(), picture(), Sampling(3), keep_rows=0.5), model().level_names))
    assert text.count("<figure") == 5 and "2 codes of 2x2" in text and "8 codes of 4x4" in text
    text = checked(app_html.described(Described(picture(), picture(), [(HOSTILE, 1.0), ("", 20.0)])))
    assert "50 %" in text and "no words" in text and "under 0.1 %" in text
    found = compress_picture(model(), picture())
    text = checked(app_html.ladder(found, "picture"))
    for point in found.ours:
        assert (
            f'download="picture-{point.num_codes}.picto"' in text
            and f"{len(point.data)} bytes" in text
            and f"{point.payload_bytes} of them codes" in text
        )
        assert base64.b64encode(point.data).decode() in text
    assert "nothing lost" in text and "768 bytes of pixels" in text
    assert checked(app_html.gallery([picture(), picture().convert("L")])).count("<figure") == 2


def test_the_rest_of_the_page():
    assert checked(app_html.chips([HOSTILE, "b"])).count("data-pick") == 2 and app_html.chips([]) == ""
    assert "<h1>pictogram</h1>" in checked(app_html.header(HOSTILE))
    assert checked(app_html.footer([("model", HOSTILE)], HOSTILE)).count("<dt>") == 1
    assert DrawnPicture(picture(), ()).words == ""
