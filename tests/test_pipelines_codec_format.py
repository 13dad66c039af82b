"""The files of `pictogram compress`, byte by byte."""

import contextlib
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictogram.hub.errors import InputError
from pictogram.pipelines.codec_format import (
    MAX_PIXELS,
    CodecFile,
    Group,
    PictureShape,
    context,
    read_file,
    read_model,
    varint,
    write_file,
)

MODEL = b"\x01\x02\x03\x04"
NATIVE = (32, 32)


NATIVE_SHAPE = PictureShape(32, 32)


def picture(shape=NATIVE_SHAPE, payload=b"payload"):
    return CodecFile(MODEL, (Group(0, 1, shape, 0xAABBCCDD, payload),), is_archive=False)


def archive():
    groups = (
        Group(0, 3, PictureShape(32, 32), 1, b"first"),
        Group(3, 1, PictureShape(28, 28, is_grey=True, num_levels=2), 2, b""),
        Group(4, 160, PictureShape(768, 512), 3, b"x" * 300),
    )
    return CodecFile(MODEL, groups, tuple(f"{number}-日本.png" for number in range(164)))


def archive_of(count, shape, names):
    return CodecFile(MODEL, (Group(0, count, shape, 1, b""),), names)


def test_known_bytes():
    """The format: no change may alter these."""
    assert write_file(picture(), NATIVE).hex() == "ab1101020304" + "00" + "aabbccdd" + b"payload".hex()
    grey = PictureShape(28, 256, is_grey=True, num_levels=2)
    assert write_file(picture(grey, b""), NATIVE).hex() == "ab1101020304" + "25" + "1bff" + "aabbccdd"
    assert (
        write_file(picture(PictureShape(768, 512), b""), NATIVE).hex() == "ab1101020304" + "02" + "2ff1ff" + "aabbccdd"
    )
    assert write_file(picture(PictureShape(1, 5000), b""), NATIVE)[6:-4].hex() == "03" + "000000" + "001387"
    short = CodecFile(MODEL, (Group(0, 2, PictureShape(32, 32), 5, b"ab"), Group(2, 1, PictureShape(9, 9), 6, b"")))
    assert write_file(short, NATIVE).hex() == (
        "ab1201020304"
        + "00"
        + "03"
        + "00"
        + "02"
        + "00000005"
        + "02"
        + b"ab".hex()
        + "010808"
        + "01"
        + "00000006"
        + "00"
    )


@pytest.mark.parametrize(("side", "most"), [(32, 11), (256, 13), (4096, 14), (4097, 17)])
def test_headers_are_small(side, most):
    assert len(write_file(picture(PictureShape(side, side), b""), NATIVE)) == most


@pytest.mark.parametrize("file", [picture(), picture(PictureShape(28, 300, True, 1)), archive()])
def test_what_is_written_is_read(file):
    data = write_file(file, NATIVE)
    assert read_file(data, NATIVE) == file
    assert read_model(data) == MODEL
    assert file.payload_bytes == sum(len(group.payload) for group in file.groups)


@given(st.integers(1, 8000), st.integers(1, 8000), st.booleans(), st.integers(0, 15))
def test_every_shape_is_read_again(height, width, is_grey, num_levels):
    file = picture(PictureShape(height, width, is_grey, num_levels))
    assert read_file(write_file(file, NATIVE), NATIVE) == file


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**32])
def test_numbers_of_any_length(number):
    assert len(varint(number)) == max(1, -(-number.bit_length() // 7))


@pytest.mark.parametrize("file", [picture(), archive()])
def test_a_file_that_is_cut_off(file):
    data = write_file(file, NATIVE)
    least = len(data) - len(file.groups[0].payload) if not file.is_archive else len(data)
    for length in range(least):
        with pytest.raises(InputError, match=r"cut off|begins otherwise"):
            read_file(data[:length], NATIVE)


def test_bytes_behind_an_archive_are_refused():
    with pytest.raises(InputError, match="2 bytes follow its end"):
        read_file(write_file(archive(), NATIVE) + b"xy", NATIVE)


def test_other_files_and_other_versions():
    with pytest.raises(InputError, match="not a compressed picture"):
        read_file(b"\x89PNG....", NATIVE)
    data = bytearray(write_file(picture(), NATIVE))
    data[1] = 0x21
    with pytest.raises(InputError, match="format version 2"):
        read_file(bytes(data), NATIVE)


def test_a_file_that_promises_too_much():
    large = picture(PictureShape(1 << 14, 1 << 14))
    with pytest.raises(InputError, match=f"at most {MAX_PIXELS}"):
        read_file(write_file(large, NATIVE), NATIVE)
    many = CodecFile(MODEL, (Group(0, 1 << 20, PictureShape(32, 32), 1, b""),))
    with pytest.raises(InputError, match=f"more than {MAX_PIXELS} pixels"):
        read_file(write_file(many, NATIVE), NATIVE)


def test_groups_that_do_not_add_up():
    data = bytearray(write_file(CodecFile(MODEL, (Group(0, 2, PictureShape(32, 32), 1, b"a"),)), NATIVE))
    data[9] = 3  # pictures of the group; the file says two
    with pytest.raises(InputError, match="3 pictures where 2 are left"):
        read_file(bytes(data), NATIVE)


def test_damaged_names():
    data = bytearray(write_file(archive(), NATIVE))
    data[-3] ^= 1
    with pytest.raises(InputError, match="names"):
        read_file(bytes(data), NATIVE)


@pytest.mark.parametrize("names", [("", "b"), ("a", ""), ("", "")])
def test_empty_names_are_damage(names):
    """None is written, and millions of them would fit into kilobytes."""
    file = CodecFile(MODEL, (Group(0, 2, PictureShape(32, 32), 1, b"a"),), names)
    with pytest.raises(InputError, match="a name in it is empty"):
        read_file(write_file(file, NATIVE), NATIVE)


@pytest.mark.parametrize("file", [picture(PictureShape(1, 1 << 22)), archive_of(1 << 17, PictureShape(1, 1), ("a",))])
def test_whole_squares_count_before_names_are_read(file):
    data = write_file(file, NATIVE)
    with pytest.raises(InputError, match=f"a group of more than {MAX_PIXELS} pixels"):
        read_file(data, NATIVE)
    assert read_file(data, (0, 0), with_names=False).num_pictures == file.num_pictures


def test_a_file_without_its_names():
    data = write_file(archive(), NATIVE)
    assert read_file(data, NATIVE, with_names=False) == dataclasses.replace(archive(), names=())
    with pytest.raises(InputError, match="1 bytes follow its end"):
        read_file(data + b"x", NATIVE, with_names=False)


def test_the_context_tells_everything_apart():
    """Whatever changes the meaning of a stream changes its checksum."""
    shape = PictureShape(28, 28)
    found = [
        context(MODEL, True, 9, 3, 2, shape),
        context(b"\x01\x02\x03\x05", True, 9, 3, 2, shape),
        context(MODEL, False, 9, 3, 2, shape),
        context(MODEL, True, 8, 3, 2, shape),
        context(MODEL, True, 9, 4, 2, shape),
        context(MODEL, True, 9, 3, 1, shape),
        *(context(MODEL, True, 9, 3, 2, PictureShape(*sides)) for sides in ((28, 29), (29, 28), (300, 28))),
        context(MODEL, True, 9, 3, 2, PictureShape(28, 28, is_grey=True)),
        context(MODEL, True, 9, 3, 2, PictureShape(28, 28, num_levels=1)),
    ]
    assert len(set(found)) == len(found)


@settings(max_examples=300)
@given(st.binary(max_size=60), st.sampled_from([b"", b"\xab\x11", b"\xab\x12", b"\xab\x12\x01\x02\x03\x04\x01"]))
def test_anything_is_read_or_refused(data, start):
    with contextlib.suppress(InputError):
        read_file(start + data, NATIVE)
