from dataclasses import replace

import pytest

from pictogram.hub.errors import InputError
from pictogram.lm.segments import CONTROL_TOKENS, Segment, check_segments, id_runs, image_start_token, image_token

TEXT = Segment("text", 0, 300)
CONTROL = Segment("control", 300, 5, tokens=CONTROL_TOKENS)
LEVELS = [Segment("image", 305, 6, level=0, first_code=0), Segment("image", 311, 9, level=1, first_code=0)]
HOLES = Segment("text", 0, 300, reserved=((0, 3), (7, 1), (290, 10)))
GROWN = Segment("image", 320, 2, level=0, first_code=6)
SIZE = Segment("control", 322, 1, tokens=("<image 2x2>",))


def test_token_strings():
    assert image_start_token("4x8") == "<image 4x8>"
    assert image_token(0, 12) == "<|0:00012|>"
    assert image_token(3, 123456) == "<|3:123456|>"


@pytest.mark.parametrize("segment", [TEXT, HOLES, CONTROL, *LEVELS, GROWN, SIZE], ids=lambda segment: segment.kind)
def test_segments_return_from_json(segment: Segment):
    assert Segment.from_json(segment.to_json()) == segment
    assert segment.stop == segment.start + segment.count


def test_json_holds_only_what_its_kind_has():
    assert TEXT.to_json() == {"kind": "text", "start": 0, "count": 300}
    assert HOLES.to_json() == TEXT.to_json() | {"reserved": [[0, 3], [7, 1], [290, 10]]}
    assert GROWN.to_json() == {"kind": "image", "start": 320, "count": 2, "level": 0, "first_code": 6}
    assert SIZE.to_json() == {"kind": "control", "start": 322, "count": 1, "ids": {"<image 2x2>": 322}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "text", "start": 0, "count": "9"}, "must hold whole numbers"),
        ({"kind": "text", "start": 0, "count": True}, "must hold whole numbers"),
        ({"kind": "text", "start": 0, "count": 9, "reserved": [[0, 1.0]]}, "must hold whole numbers"),
        ({"kind": "image", "start": 0, "count": 9, "level": 0.0, "first_code": 0}, "must hold whole numbers"),
        ({"kind": "control", "start": 7, "count": 2, "ids": {"<a>": 7, "<b>": 9}}, "do not count up from 7"),
    ],
)
def test_malformed_json_is_refused(content, message: str):
    with pytest.raises(InputError, match=message):
        Segment.from_json(content)


def test_whole_layouts_pass():
    check_segments([TEXT, CONTROL, *LEVELS])
    check_segments([TEXT, CONTROL, *LEVELS, GROWN, SIZE])


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([], "begins with a text segment and a control segment"),
        ([CONTROL, TEXT], "begins with a text segment and a control segment"),
        ([TEXT, CONTROL], "image levels are"),
        ([TEXT, CONTROL, LEVELS[1]], "must start at id 305"),
        ([TEXT, CONTROL, LEVELS[0], GROWN], "must start at id 311"),
        ([TEXT, CONTROL, LEVELS[0], Segment("image", 311, 0, level=1, first_code=0)], "at least one id"),
        ([TEXT, CONTROL, LEVELS[0], Segment("image", 311, 2, level=2, first_code=0)], "without a gap"),
        ([TEXT, CONTROL, *LEVELS, Segment("image", 320, 2, level=0, first_code=5)], "must go on with code 6"),
        ([TEXT, CONTROL, *LEVELS, Segment("control", 320, 2, tokens=("<a>",))], "must name each of its 2 ids"),
        ([TEXT, CONTROL, *LEVELS, Segment("text", 320, 2)], "expected a control or image segment after the text"),
        ([TEXT, CONTROL, *LEVELS, Segment("sound", 320, 2)], "expected a control or image segment after the text"),
    ],
    ids=str,
)
def test_layouts_with_gaps_or_strangers_are_refused(segments: list[Segment], message: str):
    with pytest.raises(InputError, match=message):
        check_segments(segments)


def test_runs_of_ids():
    assert id_runs([]) == ()
    assert id_runs({299, 0, 2, 1, 7}) == ((0, 3), (7, 1), (299, 1))


def test_reserved_ids_of_the_text():
    check_segments([HOLES, CONTROL, *LEVELS])


@pytest.mark.parametrize("runs", [[(5, 0)], [(-1, 2)], [(298, 3)], [(7, 1), (0, 3)], [(0, 3), (2, 2)], [(0, 300)]])
def test_reserved_ids_that_cannot_be_are_refused(runs: list[tuple[int, int]]):
    segment = Segment("text", 0, 300, reserved=tuple(runs))
    with pytest.raises(InputError, match="expected ascending runs"):
        check_segments([segment, CONTROL, *LEVELS])


def test_only_text_has_reserved_ids():
    with pytest.raises(InputError, match="only the text segment has reserved ids"):
        check_segments([TEXT, replace(CONTROL, reserved=((300, 1),)), *LEVELS])
