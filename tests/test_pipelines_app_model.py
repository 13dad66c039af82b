import dataclasses
import math

import pytest
from tiny_apps import broken_files, model, odd_pictures
from tiny_bundles import bundle_around
from tiny_chain import shared_bundle
from tiny_pictures import picture
from transformers import GenerationConfig

from pictogram.hub.errors import InputError
from pictogram.pipelines.app_model import MAX_PROMPT, AppModel, number, whole_number


def test_what_it_says_of_its_bundle():
    facts = dict(model().facts())
    assert facts["codes of a picture"] == "1 + 4 + 16, out of 5 / 6 / 7"
    assert facts["pictures"] == "16x16, colour" and facts["revision"] == "none, a folder"
    vocabulary = model().bundle.vocabulary
    assert facts["fingerprint of codes"] == vocabulary.codes_fingerprint[:12]
    assert facts["fingerprint of decoder"] == vocabulary.decoder_fingerprint[:12]
    assert facts["fingerprint"] == model().bundle.fingerprint[:12]
    assert facts["model"] == "a new bundle" and "Qwen3ForCausalLM" in facts["prior"]
    assert "21 codes" in model().limits() and "at most 39 pieces" in model().limits()


def test_names_and_revisions(tmp_path, monkeypatch):
    bundle = model().bundle
    monkeypatch.chdir(tmp_path)
    for name, revision, shown in [
        ("noto", None, ("noto", "comes with pictogram")),
        ("owner/name", "1" * 40, ("owner/name", "1" * 12)),
        (str(tmp_path / "mine"), None, ("mine", "none, a folder")),
        (str(tmp_path / "mine" / "bundle"), None, ("mine/bundle", "none, a folder")),
    ]:
        other = AppModel(dataclasses.replace(bundle, name=name, revision=revision))
        assert (other.name, other.revision) == shown
    (tmp_path / "mine" / "bundle").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine")
    assert AppModel(dataclasses.replace(bundle, name="bundle")).name == "mine/bundle"


def test_its_own_temperature(monkeypatch):
    assert model().temperature == 1.0
    config = GenerationConfig(do_sample=True, temperature=0.7)
    monkeypatch.setattr(model().bundle.prior, "generation_config", config)
    assert model().temperature == 0.7


def test_levels():
    assert model().level_names == ["whole image", "2x2", "4x4"]
    assert [model().codes_up_to(count) for count in (1, 2, 3)] == [1, 5, 21]
    assert model().has_symbols and model().shows_levels
    assert not model("pyramid").shows_levels
    assert not AppModel(bundle_around([8, 4])).has_symbols


@pytest.mark.parametrize("number", range(8))
def test_pictures_of_every_kind_are_opened(number, tmp_path):
    path = odd_pictures(tmp_path)[number]
    opened = model().open(str(path))
    assert opened.mode == "RGB"
    assert model().encode(opened).pixel_values.shape == (1, 3, 16, 16)


def test_opened_pictures_are_taken_too():
    assert model().open(picture().convert("LA")).mode == "RGB"


def test_what_is_no_picture_is_one_line_without_the_servers_paths(tmp_path):
    for path in broken_files(tmp_path):
        with pytest.raises(InputError, match=r"cannot be read") as error:
            model().open(str(path))
        assert str(tmp_path) not in str(error.value) and "\n" not in str(error.value)
    for nothing in (None, ""):
        with pytest.raises(InputError, match="there is no picture yet"):
            model().open(nothing)


def test_numbers_that_visitors_type():
    assert whole_number("seed", 3.0, 0, 9) == 3 and whole_number("seed", "4", 0, 9) == 4
    assert number("guidance", "1.5", 0, 9) == 1.5
    for wrong in (None, "", "x", -1, 10, 2.5, math.nan, math.inf, 1e300, [], {}):
        with pytest.raises(InputError, match=r"seed must be a whole number from 0 to 9, got"):
            whole_number("seed", wrong, 0, 9)
    for wrong in (None, "", "x", -1, 9.5, math.nan, math.inf, []):
        with pytest.raises(InputError, match=r"guidance must be a number from 0 to 9, got"):
            number("guidance", wrong, 0, 9)


def test_prompts():
    words = model().words
    assert words(None) == words("  \n ") == "" and words(" red\napple ") == "red apple"
    with pytest.raises(InputError, match=f"at most {MAX_PROMPT} characters"):
        words("x" * (MAX_PROMPT + 1))
    with pytest.raises(InputError, match=r"the model has room for 39 pieces of text, these words have \d+"):
        words("日本の旗" * 20)


def test_words_that_the_prior_writes():
    found = AppModel(shared_bundle()).known_words(5, seed=1)
    assert found == AppModel(shared_bundle()).known_words(5, seed=1)
    assert len(found) <= 5 and len({*found}) == len(found)
    assert all(words and words.isprintable() for words in found)
