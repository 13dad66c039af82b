import json
import os
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo
from tiny_chain import bundle_folder, shared_bundle

from pictogram.__main__ import main
from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle
from pictogram.lm.image_sampler import ImageSampling
from pictogram.pipelines.image_completion import ImageCompletionPipeline
from pictogram.pipelines.picture_origin import PNG_KEY, check_origin, is_png, read_origin
from pictogram.pipelines.text_to_image import TextToImagePipeline
from pictogram.tokenizer.pictures import picture_grid, save_picture

WORDS = '日本の旗 "red" apple\n👩\u200d🚒'


@pytest.fixture
def draw() -> TextToImagePipeline:
    return TextToImagePipeline(shared_bundle())


def text_of(path) -> dict[str, str]:
    with Image.open(path) as image:
        image.load()
        assert isinstance(image, PngImageFile)
        return {keyword: str(words) for keyword, words in image.text.items()}


def test_a_picture_says_how_it_is_made_again(draw, tmp_path):
    drawn = draw([WORDS, "sad face"], num_images=2, seed=5, guidance_scale=1.5, temperature=(1.0, 0.5), top_k=3)
    drawn.save(tmp_path / "a.png", 3)
    origin = read_origin(tmp_path / "a.png")
    (picture,) = origin["pictures"]
    assert (picture["prompt"], picture["seed"]) == ("sad face", 8)
    assert picture["codes"] == [level[3].flatten().tolist() for level in drawn.codes]
    names = ("guidance_scale", "guidance_interval", "temperature", "top_k", "top_p", "size", "num_candidates")
    again = draw(picture["prompt"], seed=picture["seed"], **{name: origin["settings"][name] for name in names})
    assert again.images[0].tobytes() == drawn.images[3].tobytes()
    assert again.png() == drawn.png(3) == (tmp_path / "a.png").read_bytes()


def test_words_of_any_language_come_back(draw, tmp_path):
    draw(WORDS, seed=1).save(tmp_path / "a.png")
    assert read_origin(tmp_path / "a.png")["pictures"][0]["prompt"] == WORDS
    text = text_of(tmp_path / "a.png")
    assert text["Description"] == WORDS and text["Software"].startswith("pictogram ")
    draw("", seed=1).save(tmp_path / "b.png")
    assert "Description" not in text_of(tmp_path / "b.png")


def test_the_chain_of_fingerprints(draw, tmp_path):
    drawn = draw("red apple", seed=2)
    drawn.save(tmp_path / "a.png")
    origin, bundle = read_origin(tmp_path / "a.png"), draw.bundle
    assert origin["bundle_fingerprint"] == bundle.fingerprint
    assert origin["codes_fingerprint"] == bundle.vocabulary.codes_fingerprint
    assert origin["decoder_fingerprint"] == bundle.vocabulary.decoder_fingerprint
    check = check_origin(tmp_path / "a.png", bundle)
    assert check.drawn_by_this and check.pixels_are_the_codes is True


def test_one_weight_makes_another_bundle(draw, tmp_path):
    draw("red apple", seed=2).save(tmp_path / "a.png")
    other = Bundle.from_pretrained(bundle_folder())
    assert check_origin(tmp_path / "a.png", other).drawn_by_this
    changed = replace(other)
    with torch.no_grad():
        next(changed.prior.parameters()).view(-1)[0] += 1
    check = check_origin(tmp_path / "a.png", changed)
    assert not check.drawn_by_this and check.pixels_are_the_codes is True  # the tokenizer is the same


def test_changed_pixels_are_seen(draw, tmp_path):
    drawn = draw("red apple", seed=2)
    image = drawn.images[0].copy()
    red, green, blue = image.getpixel((3, 4))
    image.putpixel((3, 4), ((red + 128) % 256, green, blue))
    drawn.images[0] = image
    drawn.save(tmp_path / "a.png")
    assert check_origin(tmp_path / "a.png", draw.bundle).pixels_are_the_codes is False


def test_previews_and_grids(draw, tmp_path):
    first, *_ = draw.stream("red apple", seed=2, sampling=ImageSampling(top_k=2))
    first.save(tmp_path / "preview.png")
    assert check_origin(tmp_path / "preview.png", draw.bundle).pixels_are_the_codes is True
    assert read_origin(tmp_path / "preview.png")["settings"]["top_k"] == 2
    text = draw(["a", "b"], seed=2).png_text()
    assert [each["prompt"] for each in json.loads(text[PNG_KEY])["pictures"]] == ["a", "b"]


def test_a_grid_of_one_is_not_called_changed(draw, tmp_path):
    drawn = draw("red apple", seed=2)
    save_picture(picture_grid([drawn.images], titles=[["red apple"]], cell=64), tmp_path / "grid.png", drawn.png_text())
    check = check_origin(tmp_path / "grid.png", draw.bundle)
    assert check.drawn_by_this and check.pixels_are_the_codes is None


def test_many_pictures_leave_a_file_that_opens(draw, tmp_path):
    drawn = draw("red apple", seed=2)
    for count, left in ((15_000, {"prompt", "seed"}), (200_000, set())):
        codes = tuple(level.expand(count, -1, -1) for level in drawn.codes)
        text = drawn.origin.png_text(["red apple"] * count, [2] * count, codes)
        save_picture(drawn.images[0], tmp_path / "many.png", text)
        pictures = read_origin(tmp_path / "many.png")["pictures"]
        assert {name for each in pictures[:1] for name in each} == left


def test_symbols_and_candidates_are_told(draw):
    plain, given = draw("red apple", seed=1), draw("red apple", seed=1, symbol=1, num_candidates=2)
    assert plain.origin.settings["given_codes"] == 0
    assert given.origin.settings["given_codes"] == 1 and given.origin.settings["num_candidates"] == 2


def test_settings_of_numpy_and_torch_are_written(draw, tmp_path):
    drawn = draw(
        "x", seed=np.int64(3), temperature=np.array([1.0, 0.5]), top_k=torch.tensor([2, 3]), top_p=np.float64(0.5)
    )
    drawn.save(tmp_path / "a.png")
    settings = read_origin(tmp_path / "a.png")["settings"]
    assert (settings["temperature"], settings["top_k"], settings["top_p"]) == ([1.0, 0.5], [2, 3], 0.5)


def test_what_the_model_says_of_sampling_is_written(tmp_path):
    bundle = Bundle.from_pretrained(bundle_folder())
    bundle.prior.generation_config.update(do_sample=True, temperature=0.5, top_k=0, top_p=0.75)
    draw = TextToImagePipeline(bundle)
    first, told = draw("x", seed=3), draw("x", seed=3, temperature=0.5, top_p=0.75)
    assert first.png() == told.png() and first.origin.settings["top_p"] == 0.75
    *_, streamed = draw.stream("x", seed=3)
    assert streamed.png() != draw("x", seed=3, temperature=1).png() and streamed.origin.settings["temperature"] == 0.5


def test_completions(draw, tmp_path):
    complete = ImageCompletionPipeline(draw.bundle)
    picture = draw("red apple", seed=1).images[0]
    complete(picture, keep_rows=0.5, prompts="x", seed=3, num_images=2).save(tmp_path / "a.png", 1)
    origin = read_origin(tmp_path / "a.png")
    assert origin["task"] == "completion" and origin["settings"]["keep_rows"] == 0.5
    assert (origin["pictures"][0]["prompt"], origin["pictures"][0]["seed"]) == ("x", 4)
    assert check_origin(tmp_path / "a.png", draw.bundle).pixels_are_the_codes is None


def test_names_of_folders_stay_here(tmp_path):
    draw = TextToImagePipeline.from_pretrained(bundle_folder())
    origin = draw("x").origin
    assert origin.model == os.path.basename(bundle_folder()) and "/" not in origin.model


def refusal(path) -> str:
    with pytest.raises(InputError) as error:
        read_origin(path)
    return str(error.value)


def test_what_is_no_such_picture(draw, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    assert "is not a picture that can be read" in refusal(tmp_path / "text.png")
    assert "is not a picture that can be read" in refusal(tmp_path / "nowhere.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    assert "does not say who drew it" in refusal(tmp_path / "plain.png")
    whole = draw("x").png()
    assert is_png(whole) and not is_png(b"GIF89a")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    assert "cut.png" in refusal(tmp_path / "cut.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged where it says who drew it"),
        ("[]", "is damaged"),
        ('{"format_version": 1}', "is damaged"),
        ('{"format_version": 1, "model": "", "bundle_fingerprint": "", "pictures": [{}]}', "is damaged"),
        (
            '{"format_version": 1, "model": "", "bundle_fingerprint": "", "pictures": '
            '[{"prompt": "", "seed": 0, "codes": [["a"]]}]}',
            "codes must be whole numbers",
        ),
        (
            '{"format_version": 1, "model": "", "bundle_fingerprint": "", "pictures": '
            '[{"prompt": "", "seed": 0, "codes": 5}]}',
            "is damaged",
        ),
        (
            '{"format_version": 1, "model": "", "bundle_fingerprint": "", "pictures": '
            '[{"prompt": "", "seed": 0, "codes": [[1' + "0" * 30 + "]]}]}",
            "codes must be whole numbers, 0 to 2147483647",
        ),
        ("[" * 100_000, "is damaged"),
        ('{"format_version": 99}', "has format 99, this version of pictogram reads up to 1"),
    ],
)
def test_text_that_is_none_of_ours(tmp_path, text, message):
    chunks = PngInfo()
    chunks.add_itxt(PNG_KEY, text)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=chunks)
    assert message in refusal(tmp_path / "a.png")


def test_codes_of_no_level_are_refused(draw, tmp_path):
    drawn = draw("x", seed=1)
    text = drawn.png_text()
    content = json.loads(text[PNG_KEY])
    content["pictures"][0]["codes"] = []
    save_picture(drawn.images[0], tmp_path / "a.png", text | {PNG_KEY: json.dumps(content)})
    with pytest.raises(InputError, match="expected codes of a level at least, got none"):
        check_origin(tmp_path / "a.png", draw.bundle)


def test_the_command(tmp_path, capsys, monkeypatch):
    def command(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["pictogram", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    folder = str(bundle_folder())
    command("generate", "red apple", "--model", folder, "--seed", "4", "--out", "grid.png", "--folder", "each")
    assert read_origin("grid.png")["pictures"][0]["seed"] == 4
    told = command("info", "each/0000.png", "--model", folder)
    assert '"red apple" seed 4' in told and "drawn_by_this: True" in told and "[[" not in told
    found = json.loads(command("info", "each/0000.png", "--json"))
    assert found["pictures"][0]["codes"] and "drawn_by_this" not in found
