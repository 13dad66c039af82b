"""Pictures to files and back, with a tiny model."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_bundles import bundle_around
from tiny_chain import codes_folder, pictures, shared_bundle
from tiny_grown import grown

from pictogram import load_codes
from pictogram.hub.errors import InputError
from pictogram.lm.static_chances import count_rows
from pictogram.pipelines.image_codec import ImageCodec
from pictogram.tokenizer.image_processor import to_images


def codec(order="level", **parts):
    rows = load_codes(codes_folder())
    bundle = shared_bundle(order)
    return ImageCodec(dataclasses.replace(bundle, static_chances=count_rows(rows, order), **parts))


def noise(width, height, mode="RGB", seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def files():
    return sorted(pictures().glob("*.png"))


def same(left, right):
    return [np.array(image).tolist() for image in left] == [np.array(image).tolist() for image in right]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("order", ["level", "pyramid"])
def test_pictures_come_back_as_the_image_tokenizer_makes_them(order, static):
    tested = codec(order)
    file = tested.compress(files(), static=static, group_size=5)
    images = tested.decompress(file.data).images
    model = tested.bundle.image_tokenizer
    pixels = tested.bundle.image_processor([Image.open(path) for path in files()], return_tensors="pt")["pixel_values"]
    assert same(images, to_images(model.decode(model.encode(pixels))))
    assert file.num_images == 16
    assert file.payload_bytes * 8 == pytest.approx(file.model_bits, abs=8 * 4 + 0.01 * 16 * 5)
    assert len(file.data) - file.payload_bytes <= 8 + 4 * 8


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "I;16", "LA"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 16), (33, 9), (7, 50)])
def test_any_size_and_mode(width, height, mode):
    picture = noise(width, height, "L").convert("I;16") if mode == "I;16" else noise(width, height, mode)
    (image,) = codec().decompress(codec().compress(picture).data).images
    assert image.size == (width, height)
    assert image.mode == ("L" if mode in ("L", "1", "I;16", "LA") else "RGB")


def test_one_picture_takes_the_short_form():
    tested = codec()
    one, archive = tested.compress(files()[0]), tested.compress(files()[:1], names=["a"])
    assert not tested.inspect(one.data).is_archive and tested.inspect(archive.data).is_archive
    assert len(one.data) - one.payload_bytes == 11
    assert one.payload_bytes == archive.payload_bytes
    assert same(tested.decompress(one.data).images, tested.decompress(archive.data).images)


def test_pictures_of_several_shapes_share_an_archive():
    tested = codec()
    several = [noise(16, 16), noise(16, 16, "L"), noise(20, 40), noise(20, 40, seed=1), noise(16, 16, seed=2)]
    file = tested.compress(several)
    assert [group.count for group in tested.inspect(file.data).groups] == [1, 1, 2, 1]
    images = tested.decompress(file.data).images
    assert [(image.size, image.mode) for image in images] == [(image.size, image.mode) for image in several]
    for picture, image in zip(several, images, strict=True):
        assert same([image], tested.decompress(tested.compress(picture).data).images)


@pytest.mark.parametrize("name", ["x" * 5000, "a\udcff.png", "nul\0.png"])
def test_names_that_could_not_be_read_again_are_refused(name):
    with pytest.raises(InputError, match="a name must be text without control characters, of at most 4096 bytes"):
        codec().compress(files()[:1], names=[name])


def test_names_that_are_too_long_together_are_refused(monkeypatch):
    """A reader takes no more."""
    names = ["a" * 10, "b" * 9]
    for module in ("image_codec", "codec_format"):
        monkeypatch.setattr(f"pictogram.pipelines.{module}.MAX_NAMES_BYTES", 20)
    assert codec().decompress(codec().compress(files()[:2], names=names).data).names == tuple(names)
    with pytest.raises(InputError, match="the names of a file take at most 20 bytes, got 21; leave them out"):
        codec().compress(files()[:2], names=["a" * 10, "b" * 10])


@pytest.mark.parametrize("name", ["at 3\u202fPM.png", "\u00ad\u3000.png", "\U0001f469\u200d\U0001f467.png"])
def test_names_with_spaces_and_joiners_of_all_kinds(name):
    assert codec().decompress(codec().compress(files()[:1], names=[name]).data).names == (name,)


def test_pictures_without_pixels_or_with_endless_sides():
    with pytest.raises(InputError, match="it has 0x5 pixels"):
        codec().compress(Image.new("L", (0, 5)))
    for size in ((1, 17_000_000), (1, 5_000_000)):  # the last in squares of 16 has more than 2**26 pixels
        with pytest.raises(InputError, match="sides of up to 16777216"):
            codec().compress(Image.new("L", size))


def test_drawn_squares_have_seeds_of_their_own():
    tested, picture = codec(), noise(32, 16)
    data = tested.compress([picture] * 2, num_levels=1, group_size=1).data
    first, second = tested.decompress(data, rest="drawn").images
    assert not same([first.crop((16, 0, 32, 16))], [second.crop((0, 0, 16, 16))])


def test_some_pictures_of_an_archive():
    tested = codec()
    file = tested.compress(files(), names=[path.name for path in files()], group_size=3)
    whole, some = tested.decompress(file.data), tested.decompress(file.data, indices=[7, 0, 7])
    assert same(some.images, [whole.images[7], whole.images[0], whole.images[7]])
    assert some.names == ("07.png", "00.png", "07.png") and len(whole.names) == 16


def test_only_streams_that_are_needed_are_read():
    tested = codec()
    data = tested.compress(files(), group_size=8).data
    damaged = data[:-1] + bytes([data[-1] ^ 1])  # in the second stream
    assert len(tested.decompress(damaged, indices=[3]).images) == 1
    with pytest.raises(InputError, match="damaged"):
        tested.decompress(damaged, indices=[9])


def test_the_first_levels_alone():
    tested = codec()
    whole, coarse = tested.compress(files()), tested.compress(files(), num_levels=1)
    assert coarse.payload_bytes < whole.payload_bytes
    model = tested.bundle.image_tokenizer
    codes = load_codes(codes_folder()).codes(range(16))
    assert same(tested.decompress(coarse.data).images, to_images(model.decode(codes[:1], num_levels=1)))
    assert tested.compress(files(), num_levels=2).data == whole.data


@pytest.mark.parametrize("static", [False, True])
def test_a_rate_weight_spares_bytes(static):
    tested = codec()
    several = [noise(16, 16, seed=seed) for seed in range(12)]
    sizes = [tested.compress(several, rate_weight=weight, static=static).payload_bytes for weight in (0, 1e-6, 1e6)]
    assert sizes[0] >= sizes[1] >= sizes[2] < sizes[0]
    data = tested.compress(several, rate_weight=1e-6, static=static).data
    assert data == tested.compress(several, rate_weight=1e-6, static=static).data
    assert len(tested.decompress(data).images) == 12


@pytest.mark.parametrize("weight", [3.0, 300.0, 30000.0])
@pytest.mark.parametrize("count", [1, 5])
def test_a_rate_weight_never_makes_the_sum_worse(count, weight):
    """J = D + weight * R of the pictures, one alone or several, is at most that of the nearest codes."""
    tested = codec()
    several = [noise(16, 16, seed=seed) for seed in range(count)]

    def cost(rate_weight):
        file = tested.compress(several, rate_weight=rate_weight)
        decoded = tested.decompress(file.data).images
        pairs = zip(several, decoded, strict=True)
        errors = [np.square(np.array(before, float) - np.array(after, float)).sum() for before, after in pairs]
        return sum(errors) + weight * file.model_bits

    # Rounding to 8 bits is not known to the choice.
    assert cost(weight) <= cost(0) * 1.001


def test_some_squares_come_from_all_over():
    squares = codec().squares
    pictures = [Image.new("RGB", (32, 16), (shade, 0, 0)) for shade in (0, 60, 120, 180, 240)]
    shades = [round(float((square[0].mean() + 1) * 127.5)) for square in squares.some(pictures, 3)]
    assert shades == [0, 60, 180]
    assert squares.some(pictures, 99).shape == (10, 3, 16, 16)


def test_levels_left_out_are_drawn():
    tested = codec()
    data = tested.compress(files()[:4], num_levels=1).data
    left_out = tested.decompress(data).images
    drawn = [tested.decompress(data, rest="drawn", seed=seed).images for seed in (0, 0, 1)]
    assert same(drawn[0], drawn[1]) and not same(drawn[0], drawn[2]) and not same(drawn[0], left_out)
    whole = tested.compress(files()[:4]).data
    assert same(tested.decompress(whole, rest="drawn").images, tested.decompress(whole).images)


def test_the_order_of_pictures_in_a_batch_does_not_matter():
    """The same bytes whether the image tokenizer and the prior see many pictures or one."""
    tested = codec()
    together = tested.inspect(tested.compress(files(), group_size=1).data)
    for group, path in zip(together.groups, files(), strict=True):
        assert tested.inspect(tested.compress(path).data).groups[0].payload == group.payload


def test_a_grey_model():
    """It takes what has no colours, whatever its mode, and gives that mode back."""
    tested = ImageCodec(bundle_around(["image", 8], settings={"num_channels": 1}, num_channels=1))
    for mode in ("L", "RGB"):
        picture = noise(20, 9, "L").convert(mode)
        (image,) = tested.decompress(tested.compress(picture).data).images
        assert (image.mode, image.size) == (mode, (20, 9))
    with pytest.raises(InputError, match="has colours, but the model knows grey pictures only"):
        tested.compress(noise(16, 16))


def test_another_model_is_refused():
    data = codec().compress(files()[0]).data
    other = dataclasses.replace(codec().bundle, prior=torch_copy(codec().bundle.prior))
    with pytest.raises(InputError, match=r"written with model [0-9a-f]{8}, but .* is [0-9a-f]{8}, [0-9a-f]{8}; give"):
        ImageCodec(other).decompress(data)


def torch_copy(prior):
    import copy

    changed = copy.deepcopy(prior)
    with torch.no_grad():
        next(changed.parameters())[0, 0] += 1e-3
    return changed


def test_a_bundle_without_tables():
    tested = ImageCodec(shared_bundle("level"))
    with pytest.raises(InputError, match="has no tables of codes; `pictogram count-codes`"):
        tested.compress(files()[0], static=True)
    with pytest.raises(InputError, match="written with model"):
        tested.decompress(codec().compress(files()[0], static=True).data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_levels": 3}, "num_levels must be 1 to 2, got 3"),
        ({"num_levels": 0}, "num_levels must be 1 to 2, got 0"),
        ({"rate_weight": -1.0}, "rate_weight must be 0 or more, got -1"),
        ({"rate_weight": float("nan")}, "rate_weight must be 0 or more, got nan"),
        ({"group_size": 0}, "group_size must be at least 1"),
        ({"names": ["a"]}, "1 names for 2 pictures"),
        ({"names": ["a", "b\nc"]}, "on one line"),
    ],
)
def test_settings_outside_their_range(options, message):
    with pytest.raises(InputError, match=message):
        codec().compress(files()[:2], **options)


def test_pictures_that_are_none(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        codec().compress(tmp_path / "text.png")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        codec().compress(tmp_path / "missing.png")
    with pytest.raises(InputError, match="at least one picture"):
        codec().compress([])


def test_a_prefix_needs_level_order():
    with pytest.raises(InputError, match="in pyramid order all 2 levels are kept, got 1"):
        codec("pyramid").compress(files()[:2], num_levels=1)
    with pytest.raises(InputError, match="rate_weight needs codes in level order"):
        codec("pyramid").compress(files()[:2], rate_weight=1.0)


@pytest.mark.parametrize(("indices", "message"), [([16], "no picture 16: the file has 16"), ([-1], "no picture -1")])
def test_pictures_that_are_not_there(indices, message):
    with pytest.raises(InputError, match=message):
        codec().decompress(codec().compress(files()).data, indices=indices)


def test_a_rest_that_nobody_knows():
    with pytest.raises(InputError, match="left out, drawn, got 'blurred'"):
        codec().decompress(codec().compress(files()).data, rest="blurred")


@pytest.mark.parametrize("static", [False, True])
def test_damage_never_makes_another_picture(static):
    """Every byte changed in every bit, and every length: an error, or the very same pictures."""
    tested = codec()
    data = tested.compress(files()[:3], names=["a", "b", "c"], static=static).data
    expected = tested.decompress(data)
    broken = [data[:length] for length in range(len(data))]
    broken += [
        data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        for place in range(len(data))
        for bit in range(0, 8, 3)
    ]
    for attempt in broken:
        try:
            found = tested.decompress(attempt)
        except InputError:
            continue
        assert same(found.images, expected.images)


@pytest.mark.parametrize("order", ["level", "pyramid"])
def test_a_grown_bundle_reads_the_files_of_its_ancestor(order, tmp_path):
    """Bit for bit, whatever the new rows learned; it writes with its own new model."""
    old = codec(order)
    new = grown(old.bundle)
    with torch.no_grad():
        for layer in (new.prior.get_input_embeddings(), new.prior.get_output_embeddings()):
            layer.weight[old.bundle.vocabulary.vocab_size :].normal_(std=3)  # pyright: ignore
    new.save_pretrained(tmp_path)
    tested = ImageCodec.from_pretrained(tmp_path)
    several = [*files(), noise(20, 40)]
    for names, group_size in (((), 128), ([f"{number}.png" for number in range(17)], 128), ((), 3)):
        file = old.compress(several, names=names, group_size=group_size)
        assert tested.inspect(file.data) == old.inspect(file.data)
        assert same(tested.decompress(file.data).images, old.decompress(file.data).images)
    file = tested.compress(several)
    assert tested.inspect(file.data).model != old.inspect(old.compress(several).data).model
    assert len(tested.decompress(file.data).images) == len(several)
    with pytest.raises(InputError, match=r"but this bundle is [0-9a-f]{8}, [0-9a-f]{8}; give the bundle"):
        old.decompress(file.data)


def test_levels_that_an_ancestors_file_left_out_are_drawn_as_the_ancestor_draws_them():
    old = codec()
    data = old.compress(files()[:4], num_levels=1).data
    expected = old.decompress(data, rest="drawn", seed=3).images
    assert same(ImageCodec(grown(old.bundle)).decompress(data, rest="drawn", seed=3).images, expected)


def test_who_reads_a_file():
    old = codec()
    new = ImageCodec(grown(old.bundle))
    data = old.compress(files()[0]).data
    assert new.reader(data) == f"ancestor {old.inspect(data).model.hex()}"
    assert old.reader(data) == new.reader(new.compress(files()[0]).data) == "prior"
    assert old.reader(old.compress(files()[0], static=True).data) == "tables"


def test_ancestors_that_changed_and_strangers_are_refused():
    old = codec()
    new = grown(old.bundle)
    data = old.compress(files()[0]).data
    changed = ImageCodec(dataclasses.replace(new, prior=torch_copy(new.prior)))
    for read in (changed.decompress, changed.inspect):
        with pytest.raises(InputError, match="its weights have changed since; use the ancestor"):
            read(data)
    tables = old.compress(files()[0], static=True).data
    other = ImageCodec(dataclasses.replace(old.bundle, prior=torch_copy(old.bundle.prior))).compress(files()[0]).data
    for stranger in (tables, other):
        with pytest.raises(InputError, match=r"but this bundle is [0-9a-f]{8}, grown from [0-9a-f]{8}; give"):
            ImageCodec(new).decompress(stranger)
