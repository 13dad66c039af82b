"""Tables of counted codes."""

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.lm import static_chances
from pictogram.lm.static_chances import STATIC_CHANCES_FILE, StaticChances, count_codes

GRIDS = ((1, 1), (2, 2))


def codes(count=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(3, (count, 1, 1), generator=generator)
    fine = torch.randint(4, (count, 2, 2), generator=generator)
    fine[:, 0, 1] = 5  # one place always has code 5 of 6
    return [coarse, fine]


def counted(order="level"):
    return count_codes(iter([codes(30), codes(20, seed=1)]), [3, 6], GRIDS, order)


def test_each_place_has_its_own_table():
    found = counted()
    assert [table.shape for table in found.frequencies] == [(1, 3), (4, 6)]
    assert all((table.sum(1) == 65536).all() for table in found.frequencies)
    assert found.levels == [0, 1, 1, 1, 1]
    assert float(found.at(2)[5]) > 0.7  # the second of four places in raster order
    assert max(float(found.at(place)[5]) for place in (1, 3, 4)) < 0.2
    assert min(int(table.min()) for table in found.frequencies) >= 1


def test_parts_do_not_matter():
    whole = [torch.cat(levels) for levels in zip(codes(30), codes(20, seed=1), strict=True)]
    together = count_codes(iter([whole]), [3, 6], GRIDS, "level")
    assert all(map(torch.equal, together.frequencies, counted().frequencies))


def test_chances_follow_the_order_of_documents():
    grids = ((1, 1), (2, 2), (4, 4))
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randint(5, (20, *grid), generator=generator) for grid in grids]
    level, pyramid = (count_codes(iter([parts]), [5, 5, 5], grids, order) for order in ("level", "pyramid"))
    assert pyramid.levels[:4] == [0, 1, 2, 2]
    assert torch.equal(pyramid.at(2), level.at(5))  # the first of the finest codes


def test_a_large_level_shares_one_table(monkeypatch):
    monkeypatch.setattr(static_chances, "_LARGEST_TABLE", 10)
    found = counted()
    assert [len(table) for table in found.frequencies] == [1, 1]
    assert torch.equal(found.at(1), found.at(4))


def test_saved_and_loaded(tmp_path):
    counted("pyramid").save(tmp_path)
    loaded = StaticChances.load(tmp_path)
    assert loaded.grids == GRIDS and loaded.order == "pyramid"
    assert all(map(torch.equal, loaded.frequencies, counted("pyramid").frequencies))


def test_a_missing_or_damaged_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="is missing"):
        StaticChances.load(tmp_path)
    counted().save(tmp_path)
    path = tmp_path / STATIC_CHANCES_FILE
    whole = path.read_bytes()
    for content in (b"", whole[:40], whole[:-3], b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is damaged"):
            StaticChances.load(tmp_path)
    path.write_bytes(whole[:-4] + b"\x01\0\0\0")  # a frequency of another size
    with pytest.raises(InputError, match="damaged: the table of level 1"):
        StaticChances.load(tmp_path)


def test_no_pictures_no_tables():
    with pytest.raises(InputError, match="at least one picture"):
        count_codes(iter([]), [3, 6], GRIDS, "level")


def test_the_same_tables_make_the_same_bytes(tmp_path):
    counted().save(tmp_path)
    first = (tmp_path / STATIC_CHANCES_FILE).read_bytes()
    for _ in range(8):
        counted().save(tmp_path)
        assert (tmp_path / STATIC_CHANCES_FILE).read_bytes() == first
