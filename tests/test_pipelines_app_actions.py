import pytest
import torch
from PIL import Image
from tiny_apps import broken_files, model, odd_pictures
from tiny_bundles import bundle_around
from tiny_pictures import picture

from pictogram.hub.errors import InputError
from pictogram.pipelines.app_actions import Sampling, caption, complete, draw, look, painted_mask
from pictogram.pipelines.app_model import AppModel


def test_pictures_grow_to_those_of_the_pipeline():
    stages = list(draw(model(), "red apple", Sampling(2, 3, 1.5, 0.9)))
    assert [stage.is_done for stage in stages] == [False, False, True]
    assert [len(stage.stages) for stage in stages] == [1, 2, 3]
    assert [stage.latest.level_bits.shape[1] for stage in stages] == [1, 2, 3]
    called = model().draw("red apple", num_images=2, seed=3, guidance_scale=1.5, temperature=0.9)
    assert [image.tobytes() for image in stages[-1].latest.images] == [image.tobytes() for image in called.images]
    assert torch.equal(stages[-1].latest.level_bits, called.level_bits)
    first, second = stages[-1].pictures()
    assert (first.words, first.seed, second.seed) == ("red apple", 3, 4)
    assert [level.shape for level in second.codes] == [(1, 1, 1), (1, 2, 2), (1, 4, 4)]
    assert torch.equal(second.codes[2], called.codes[2][1:])


def test_a_bundle_in_pyramid_order_has_one_stage():
    (only,) = draw(model("pyramid"), "", Sampling(2))
    assert only.is_done and only.latest.level_bits.shape == (2, 3)


@pytest.mark.parametrize("symbol", [2, "2", 2.0])
def test_a_symbol(symbol):
    last = list(draw(model(), "", Sampling(3), symbol))[-1]
    assert last.latest.codes[0].flatten().tolist() == [2, 2, 2]


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_symbol(nothing):
    assert list(draw(model(), "", Sampling(), nothing))[-1].is_done


@pytest.mark.parametrize(
    ("words", "sampling", "symbol", "message"),
    [
        ("", Sampling(0), None, "the number of pictures must be a whole number from 1 to 9, got 0"),
        ("", Sampling(None), None, "the number of pictures .* got nothing"),
        ("", Sampling(1, -1), None, "the seed must be"),
        ("", Sampling(1, 2**32), None, "the seed must be"),
        ("", Sampling(1, 0, None), None, "guidance must be"),
        ("", Sampling(1, 0, 1, float("nan")), None, "temperature must be"),
        ("", Sampling(), 5, "the symbol must be a whole number from 0 to 4, got 5"),
        ("", Sampling(), "red", "the symbol must be"),
        ("word " * 200, Sampling(), None, "at most 500 characters"),
        ("日本の旗" * 20, Sampling(), None, "room for 39 pieces of text"),
    ],
)
def test_what_cannot_be_drawn(words, sampling, symbol, message):
    with pytest.raises(InputError, match=message):
        next(draw(model(), words, sampling, symbol))


def test_a_symbol_where_there_is_none():
    with pytest.raises(InputError, match="no code for the whole image"):
        next(draw(AppModel(bundle_around([8, 4])), "", Sampling(), 0))


def test_completions_keep_what_they_should():
    output = complete(model(), picture(), Sampling(2, 5), words="red", keep_rows=0.5)
    assert output.seeds == [5, 6] and output.prompts == ["red", "red"]
    assert output.kept_pixels[0, :8].all() and not output.kept_pixels[0, 8:].any()
    masked = complete(
        model(), picture(), Sampling(), keep_rows=None, mask=Image.new("L", (4, 8), 255).crop((0, 0, 8, 8))
    )
    assert masked.kept_pixels.any() and not masked.kept_pixels.all()


@pytest.mark.parametrize("share", [None, 0, 1, "x", float("nan")])
def test_shares_that_keep_nothing_or_everything(share):
    with pytest.raises(InputError, match="the share that is kept must be a number from"):
        complete(model(), picture(), Sampling(), keep_rows=share)


def test_paint_becomes_a_mask():
    layer = Image.new("RGBA", (64, 64))
    layer.paste((200, 0, 0, 90), (0, 0, 17, 8))
    mask = painted_mask({"background": None, "layers": [None, layer], "composite": None}, (8, 8))
    assert mask.size == (8, 8) and mask.mode == "L"
    white = [index for index, value in enumerate(mask.tobytes()) if value]
    assert white == [0, 1, 2]  # any paint in a pixel counts
    assert painted_mask({"layers": [layer]}, (256, 128)).getpixel((60, 10)) == 255


@pytest.mark.parametrize("painting", [None, {}, {"layers": []}, {"layers": [Image.new("RGBA", (9, 9))]}])
def test_nothing_painted(painting):
    with pytest.raises(InputError, match="nothing is painted yet"):
        painted_mask(painting, (8, 8))


def test_everything_painted():
    mask = painted_mask({"layers": [Image.new("RGBA", (9, 9), (1, 1, 1, 255))]}, (8, 8))
    with pytest.raises(InputError, match="nothing of picture 0 is kept"):
        complete(model(), picture(), Sampling(), mask=mask)


def test_captions():
    found = caption(model(), picture(), seed=1)
    likely = model().describe(picture())
    assert (likely.captions[0], float(likely.bits[0])) in found.captions
    bits = [each for _, each in found.captions]
    assert bits == sorted(bits)
    assert len({words for words, _ in found.captions}) == len(found.captions)
    assert found.picture.size == found.decoded.size == (16, 16)
    with pytest.raises(InputError, match="the seed must be"):
        caption(model(), picture(), seed=None)


def test_a_look_at_a_picture():
    read, decoded, codes = look(model(), model().open(picture(1, (16, 16))))
    assert read.tobytes() == picture(1, (16, 16)).tobytes() and decoded.size == (16, 16)
    assert [level.shape[1:] for level in codes] == [(1, 1), (2, 2), (4, 4)]


def test_uploads_of_every_kind(tmp_path):
    for path in odd_pictures(tmp_path):
        assert complete(model(), str(path), Sampling(), keep_rows=0.5).images[0].size == (16, 16)
        assert caption(model(), str(path)).captions
    for path in [None, *map(str, broken_files(tmp_path))]:
        with pytest.raises(InputError, match=r"cannot be read|no picture yet"):
            caption(model(), path)
        with pytest.raises(InputError, match=r"cannot be read|no picture yet"):
            complete(model(), path, Sampling(), keep_rows=0.5)
