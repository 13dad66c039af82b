import json
import shutil

import pytest
from tiny_adapters import adapted
from tiny_browser import open_browser
from tiny_chain import bundle_folder, pictures, processor, tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.pipelines.symbol_atlas import AtlasSettings, symbol_atlas


def shown(page: str) -> dict:
    start = page.index('id="data">') + len('id="data">')
    return json.loads(page[start : page.index("</script>", start)])


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """The sixteen pictures in two folders."""
    folder = tmp_path_factory.mktemp("classes")
    for index, path in enumerate(sorted(pictures().glob("*.png"))):
        target = folder / "train" / ("low" if index < 8 else "high")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def test_a_bundle_and_captions(tmp_path):
    done = symbol_atlas(AtlasSettings(str(bundle_folder()), str(pictures())), tmp_path)
    assert done["page"] == str(tmp_path / "index.html")
    assert done["num_images"] == 16 and [level["codes"] for level in done["levels"]] == [6, 9]
    atlas = shown((tmp_path / "index.html").read_text())
    first, second = atlas["levels"]
    assert (first["name"], second["name"]) == ("level 0: whole image", "level 1: 2x2")
    assert [symbol["number"] for symbol in first["symbols"]] == list(range(6))
    assert sum(symbol["uses"] for symbol in first["symbols"]) == first["uses"] == 16
    assert sum(symbol["share"] for symbol in second["symbols"]) == pytest.approx(1)
    assert any(symbol["said"] for symbol in first["symbols"]) and not any(s["said"] for s in second["symbols"])
    assert any(symbol["words"] for symbol in first["symbols"])
    for symbol in first["symbols"]:
        assert len(symbol["neighbours"]) <= 5 and symbol["number"] not in dict(symbol["neighbours"])
        assert len(symbol["swaps"]) == (3 if symbol["uses"] else 0)
        assert len(symbol["keys"]) == min(8, symbol["uses"])
        assert symbol["class_bits"] is None and symbol["classes"] == []


def test_a_tokenizer_and_classes(classes, tmp_path):
    symbol_atlas(AtlasSettings(str(tokenizer_folder()), str(classes), max_symbols=4, num_examples=2), tmp_path)
    atlas = shown((tmp_path / "index.html").read_text())
    assert atlas["class_column"] == "label"
    for level in atlas["levels"]:
        assert len(level["symbols"]) == 4
        numbers = [symbol["number"] for symbol in level["symbols"]]
        assert numbers == sorted(numbers)
        for symbol in level["symbols"]:
            assert not symbol["said"] and len(symbol["keys"]) <= 2
            assert sum(share for _, share in symbol["classes"]) == pytest.approx(1 if symbol["uses"] else 0, abs=1e-3)
            assert all(other in numbers for other, _ in symbol["neighbours"])


def test_the_same_page_again(tmp_path):
    settings = AtlasSettings(str(bundle_folder()), str(pictures()), max_images=9, seed=1)
    pages = [tmp_path / name for name in ("one", "two")]
    for page in pages:
        symbol_atlas(settings, page)
    assert (pages[0] / "index.html").read_bytes() == (pages[1] / "index.html").read_bytes()


def test_wrong_tokenizers_and_settings(tmp_path):
    adapted("llamagen").save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="another system's tokenizer"):
        symbol_atlas(AtlasSettings(str(tmp_path), str(pictures())), tmp_path / "atlas")
    with pytest.raises(InputError, match="num_swaps must be at least 1, got 0"):
        AtlasSettings("m", "d", num_swaps=0)
    with pytest.raises(InputError, match="num_examples must be at most 128, got 300"):
        AtlasSettings("m", "d", num_examples=300)
    assert not (tmp_path / "atlas").exists()


def test_a_readme_of_something_else_stays(tmp_path):
    (tmp_path / "README.md").write_text("# My thesis\n")
    with pytest.raises(InputError, match=r"has a README.md that is not of an atlas; give another folder"):
        symbol_atlas(AtlasSettings(str(bundle_folder()), str(pictures()), max_images=4), tmp_path)
    assert (tmp_path / "README.md").read_text() == "# My thesis\n"


@pytest.mark.slow
def test_a_browser_clicks_through_it(tmp_path):
    """Headless Chromium: loaded within a second, tabs, search, sort, links; a screenshot to look at."""
    browser = open_browser()
    from selenium.webdriver.common.by import By

    try:
        symbol_atlas(AtlasSettings(str(bundle_folder()), str(pictures())), tmp_path)
        browser.get(f"file://{tmp_path}/index.html")
        script = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
        assert 0 < browser.execute_script(script) < 1000

        def texts(selector: str) -> list[str]:
            return [element.text for element in browser.find_elements(By.CSS_SELECTOR, selector)]

        assert texts("[role=tab]") == ["level 0: whole image", "level 1: 2x2"]
        assert len(texts(".symbol")) == 6
        browser.find_elements(By.CSS_SELECTOR, "[role=tab]")[1].click()
        assert len(texts(".symbol")) == 9 and browser.current_url.endswith("#1/0")
        browser.find_element(By.ID, "search").send_keys("7")
        assert [text.split()[0] for text in texts(".symbol")] == ["7"]
        browser.find_element(By.CSS_SELECTOR, ".symbol").click()
        assert texts("#detail h2") == ["level 1: 2x2, symbol 7"]
        browser.find_elements(By.CSS_SELECTOR, "#detail figure button")[0].click()
        assert texts("#detail h2") != ["level 1: 2x2, symbol 7"]
        assert browser.save_screenshot(str(tmp_path / "atlas.png"))
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    finally:
        browser.quit()
