from dataclasses import dataclass

import pytest
from tiny_adapters import LAYOUTS as TINY
from tiny_adapters import SETTINGS

from pictogram.hub.errors import InputError
from pictogram.tokenizer.layout import (
    FOREIGN_LAYOUTS,
    LAYOUTS,
    TokenizerLayout,
    as_json,
    check_multipliers,
    layout_class,
    read_settings,
)


@dataclass(frozen=True)
class Sizes:
    width: int = 8
    factors: tuple[int, ...] = (1, 2)
    flag: bool = True
    kind: str = "plain"


def test_settings_from_json_and_back():
    sizes = read_settings(Sizes, {"width": 4, "factors": [0, 3]})
    assert sizes == Sizes(width=4, factors=(0, 3))
    assert read_settings(Sizes, as_json(sizes)) == sizes
    assert as_json(sizes)["factors"] == [0, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 1}, "one of width, factors, flag, kind, got 'depth'"),
        ({"width": 0}, "width must be like 8, got 0"),
        ({"width": 2.0}, "width must be like 8, got 2.0"),
        ({"width": True}, "width must be like 8, got True"),
        ({"factors": [1, -1]}, r"factors must be like \[1, 2\], got \[1, -1\]"),
        ({"factors": 3}, r"factors must be like \[1, 2\], got 3"),
        ({"flag": 1}, "flag must be like true, got 1"),
        ({"kind": None}, 'kind must be like "plain", got None'),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        read_settings(Sizes, settings)


@pytest.mark.parametrize("multipliers", [(), (1, 0)])
def test_multipliers_are_positive(multipliers):
    with pytest.raises(InputError, match="ch_mult must be positive integers"):
        check_multipliers("ch_mult", multipliers)


def test_every_layout_completes_its_own_defaults_and_tells_its_shape():
    assert sorted(FOREIGN_LAYOUTS) == TINY
    for name in LAYOUTS:
        kind = layout_class(name)
        assert issubclass(kind, TokenizerLayout)
        settings = kind.complete({})
        assert kind.complete(settings) == settings
        assert kind.complete(SETTINGS.get(name, {})).items() >= SETTINGS.get(name, {}).items()
        assert kind.shape(settings).num_channels == 3
        assert kind.image_size % kind.shape(settings).strides[0] == 0


@pytest.mark.parametrize("name", ["vqgan", "", "../emu3"])
def test_an_unknown_layout(name):
    with pytest.raises(InputError, match="layout must be one of chameleon, emu3, janus, llamagen, patches, vqvae2"):
        layout_class(name)
