"""Regions of pictures to codes."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_bundles import DEEP, bundle_around
from tiny_pictures import picture

from pictogram.hub.errors import InputError
from pictogram.lm.image_sampler import DRAWN
from pictogram.lm.order import ORDERS, document_order, flatten
from pictogram.pipelines.kept_codes import KeptCodes, count_leading, kept_cells, kept_codes, kept_pixels
from pictogram.pipelines.picture_input import encode_pictures
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil

GRIDS = [(1, 1), (2, 2), (4, 4)]


def processor(**settings: Any) -> ImageTokenizerImageProcessorPil:
    defaults: dict[str, Any] = {"size": {"height": 16, "width": 16}}
    return ImageTokenizerImageProcessorPil(**(defaults | settings))


def region(size: tuple[int, int] = (16, 16), settings: dict[str, Any] | None = None, **options: Any) -> torch.Tensor:
    """What is kept of one picture of this width and height."""
    (kept,) = kept_pixels(processor(**settings or {}), [picture(0, size)], **options)
    return kept


def below(row: int, height: int = 16, width: int = 16) -> np.ndarray:
    """A mask: everything from this row on is drawn anew."""
    mask = np.zeros((height, width), bool)
    mask[row:] = True
    return mask


@pytest.mark.parametrize(("share", "rows"), [(0.5, 8), (0.25, 4), (0.29, 5), (0.05, 1)])
def test_top_rows(share: float, rows: int):
    kept = region(keep_rows=share)
    assert kept.shape == (16, 16) and kept.dtype == torch.bool
    assert kept[:rows].all() and not kept[rows:].any()


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (90, 90), (30, 18), (4, 4)])
def test_rows_and_masks_say_the_same(size: tuple[int, int]):
    assert torch.equal(region(size, keep_rows=0.5), region(size, mask=below(size[1] // 2, *size[::-1])))


def test_white_is_drawn_anew_in_every_kind_of_mask(tmp_path):
    mask = np.zeros((16, 16), bool)
    mask[3:9, 5:16] = True
    grey = np.where(mask, np.uint8(200), np.uint8(100))
    image = Image.fromarray(grey)
    image.save(tmp_path / "mask.png")
    arrays = [mask, grey, torch.from_numpy(mask), torch.from_numpy(grey)]
    pictures = [image, Image.fromarray(mask), image.convert("RGB"), tmp_path / "mask.png", str(tmp_path / "mask.png")]
    for kind in [*arrays, *pictures]:
        assert torch.equal(region(mask=kind), torch.from_numpy(~mask))


def test_a_mask_moves_with_its_picture():
    """White where the picture is white, so the processed picture tells what must be drawn anew."""
    mask = np.zeros((20, 30), bool)
    mask[5:15, 9:16] = True
    shown = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
    for settings in ({}, {"do_center_crop": False}, {"do_pad": True}, {"num_channels": 1}):
        kept = region((30, 20), settings, mask=mask)
        processed = processor(**{**settings, "background": (0, 0, 0), "resample": Image.Resampling.BOX})(
            shown, return_tensors="pt"
        )
        assert torch.equal(kept, processed["pixel_values"][0, 0] == -1)
        assert 0 < int((~kept).sum()) < 256


def test_a_pixel_with_any_white_in_it_is_drawn_anew():
    mask = np.zeros((160, 160), bool)
    mask[57, 101] = True  # one of the 100 pixels that become one
    kept = region((160, 160), mask=mask)
    assert (~kept).nonzero().tolist() == [[5, 10]]


def test_padding_is_kept_and_rows_are_those_of_the_picture():
    padded = {"do_pad": True}  # 8 rows of a picture in the middle of 16
    kept = region((16, 8), padded, keep_rows=0.5)
    assert (~kept).any(1).nonzero().flatten().tolist() == [8, 9, 10, 11]
    assert torch.equal(region((16, 8), padded, mask=below(4, 8)), kept)
    narrow = region((6, 12), padded, keep_rows=0.5)
    assert not narrow[8:14, 5:11].any() and int((~narrow).sum()) == 36


def test_native_sizes_are_left_alone():
    native = {"do_resize": False}
    kept = region((24, 8), native, keep_rows=0.5)
    assert kept.shape == (8, 24) and kept[:4].all() and not kept[4:].any()
    assert torch.equal(region((24, 8), native, mask=below(4, 8, 24)), kept)


def test_one_mask_for_all_or_one_for_each():
    pictures = [picture(seed, (16, 16)) for seed in range(3)]
    masks = [below(row) for row in (4, 8, 12)]
    for given in (masks, np.stack(masks), torch.from_numpy(np.stack(masks))):
        kept = kept_pixels(processor(), pictures, mask=given)
        assert [int(each.sum()) for each in kept] == [4 * 16, 8 * 16, 12 * 16]
    assert len({int(each.sum()) for each in kept_pixels(processor(), pictures, mask=masks[0])}) == 1
    with pytest.raises(InputError, match="one mask for all pictures or one for each of 3 is expected, got 2"):
        kept_pixels(processor(), pictures, mask=masks[:2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either keep_rows or a mask is expected, got neither"),
        ({"keep_rows": 0.5, "mask": below(8)}, "either keep_rows or a mask is expected, got both"),
        ({"keep_rows": 0.0}, "keep_rows must be above 0 and below 1, got 0.0"),
        ({"keep_rows": 1}, "keep_rows must be above 0 and below 1, got 1"),
        ({"keep_rows": -0.5}, "keep_rows must be above 0"),
        ({"keep_rows": float("nan")}, "keep_rows must be above 0 and below 1, got nan"),
        ({"keep_rows": 0.01}, "nothing of picture 0 is kept, so there is nothing to go by"),
        ({"keep_rows": 0.99}, "all of picture 0 is kept, so there is nothing to draw anew"),
        ({"mask": below(0)}, "nothing of picture 0 is kept"),
        ({"mask": below(16)}, "all of picture 0 is kept, so there is nothing to draw anew"),
        ({"mask": below(8).astype(np.uint8)}, "all of picture 0 is kept"),  # ones are nearly black
        ({"mask": below(8, 16, 17)}, r"the mask of picture 0 has 17x16 pixels, but the picture 16x16 \(width x height"),
        ({"mask": Image.new("L", (8, 8))}, "the mask of picture 0 has 8x8 pixels, but the picture 16x16"),
        ({"mask": below(8).astype(np.float32)}, r"bool or uint8 array \(height, width\), got float32 \(16, 16\)"),
        ({"mask": [np.zeros((16, 16, 3), np.uint8)]}, r"got uint8 \(16, 16, 3\)"),
        ({"mask": "nowhere.png"}, "nowhere.png cannot be read as a picture"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        region(**options)


def test_a_picture_of_which_only_padding_is_kept_is_refused():
    with pytest.raises(InputError, match="nothing of picture 0 is kept"):
        region((16, 8), {"do_pad": True}, mask=below(0, 8))


def test_cells_are_kept_whole():
    pixels = torch.rand(50, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.97
    for (rows, columns), found in zip(GRIDS, kept_cells(pixels, GRIDS), strict=True):
        assert found.shape == (50, rows, columns)
        high, wide = 16 // rows, 16 // columns
        for row in range(rows):
            for column in range(columns):
                cell = pixels[:, row * high : (row + 1) * high, column * wide : (column + 1) * wide]
                assert torch.equal(found[:, row, column], cell.flatten(1).all(1))
        assert rows == 1 or 0 < int(found.sum()) < found.numel()


def test_leading():
    rows = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]]).bool()
    assert count_leading(rows).tolist() == [2, 0, 4]
    assert count_leading(torch.zeros(2, 0).bool()).tolist() == [0, 0]


def known(order: str, strides: list[int | str] = DEEP, **options: Any) -> KeptCodes:
    bundle = bundle_around(strides, order)
    pictures = [picture(seed, (16, 16)) for seed in range(2)]
    pixels = torch.stack(kept_pixels(bundle.image_processor, pictures, **options))
    return kept_codes(bundle.vocabulary, encode_pictures(bundle, pictures), pixels)


@pytest.mark.parametrize("order", ORDERS)
def test_top_rows_of_whole_cells(order: str):
    """In order "pyramid" all kept codes are one beginning of the document, in order "level" those of one level are."""
    kept = known(order, keep_rows=0.5)
    assert kept.num_kept.tolist() == [[0, 2, 8]] * 2
    assert kept.num_exact.tolist() == [10 if order == "pyramid" else 2] * 2
    assert kept.is_forced.sum(1).tolist() == [0 if order == "pyramid" else 8] * 2
    first = slice(1, 1 + int(kept.num_exact[0]))
    assert kept.is_kept[:, first].all() and not kept.is_kept[:, 0].any()
    assert torch.equal(kept.exact_ids(1), kept.ids[1, first])


@pytest.mark.parametrize("order", ORDERS)
def test_in_a_pyramid_the_beginning_is_a_document_s_beginning_for_any_number_of_rows(order: str):
    """Codes that are kept below a coarse cell that is not are forced: 12 rows keep 12 fine codes, 2 coarse ones."""
    kept = known(order, keep_rows=0.75)
    assert kept.num_kept.tolist() == [[0, 2, 12]] * 2
    assert kept.num_exact.tolist() == [10 if order == "pyramid" else 2] * 2
    assert kept.is_forced.sum(1).tolist() == [4 if order == "pyramid" else 12] * 2
    layout = document_order(GRIDS, order)
    forced = {(int(layout.levels[place]), int(layout.rows[place])) for place in kept.is_forced[0].nonzero().flatten()}
    assert forced == ({(2, 2)} if order == "pyramid" else {(2, 0), (2, 1), (2, 2)})


def test_a_region_that_is_no_beginning_is_forced():
    right = np.zeros((16, 16), bool)
    right[:, :8] = True
    kept = known("pyramid", mask=right)
    assert kept.num_exact.tolist() == [0, 0]
    assert torch.equal(kept.is_forced, kept.is_kept) and kept.num_kept.tolist() == [[0, 2, 8]] * 2


def test_without_a_whole_image_level_the_beginning_is_the_document_s():
    kept = known("level", [8, 4], keep_rows=0.5)
    assert not kept.has_image_code
    assert kept.num_exact.tolist() == [2, 2] and torch.equal(kept.exact_ids(0), kept.ids[0, :2])
    assert not kept.is_forced[:, :2].any()


@pytest.mark.parametrize("order", ORDERS)
def test_given_are_the_kept_codes_of_the_original(order: str):
    bundle = bundle_around(DEEP, order)
    kept = known(order, keep_rows=0.5)
    codes = encode_pictures(bundle, [picture(seed, (16, 16)) for seed in range(2)]).codes
    top = [grid.clone() for grid in codes]
    for level, grid in enumerate(top):
        grid[:, len(grid[0]) // 2 :] = DRAWN
        grid[grid != DRAWN] = bundle.vocabulary.codes_to_ids(level, grid[grid != DRAWN])
    assert torch.equal(kept.given, flatten(tuple(top), order))


def test_a_region_without_a_whole_cell_is_refused():
    with pytest.raises(InputError, match="picture 0 keeps no whole cell of 4x4 pixels, so there is no code to go by"):
        known("level", keep_rows=0.2)
