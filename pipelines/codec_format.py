"""The files that `pictogram compress` writes, byte by byte; docs/codec.md has the tables.

    picture   AB 11 | model (4) | shape | checksum (4) | payload up to the end
    archive   AB 12 | model (4) | flags (1) | pictures (n) | groups | names
    group     shape | pictures (n) | checksum (4) | bytes of the payload (n) | payload
    shape     flags (1) | height and width (0, 2, 3 or 6)

Numbers of n bytes are LEB128, seven bits a byte and the lowest first; all others have their highest byte first. The
checksum is CRC-32 over everything that says what a payload means, then over its codes, so that no damage, wherever it
is, turns into another picture.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from ..hub.errors import InputError

MAGIC = 0xAB
VERSION = 1
PICTURE, ARCHIVE = 1, 2
MAX_PIXELS = 1 << 26
"""Of all pictures of one group, whole squares counted: what reading a damaged file may cost at most."""
MAX_SIDE = 1 << 24
MAX_LEVELS = 15
"""Levels that a file can count; all of them are always kept, however many they are."""

_MODEL_BYTES, _CHECKSUM_BYTES = 4, 4
_SIZE_BITS = (0, 8, 12, 24)
"""Of each side, by the two lowest bits of a shape's flags; no bits stand for the native size."""
_GREY, _UNUSED, _LEVELS = 4, 8, 4
"""Bits of the flags that say grey and nothing yet, and the place of the four that count levels."""
_HAS_NAMES = 1
_MAX_VARINT_BYTES = 5
MAX_NAME_BYTES = 4096
MAX_NAMES_BYTES = 1 << 26
"""Of one name, and of all names of a file with the line ends between them."""


@dataclass(frozen=True)
class PictureShape:
    """What all pictures of a group have in common.

    Attributes:
        height: pixels.
        width: pixels.
        is_grey: they come out in one channel.
        num_levels: levels of codes in the stream, coarse to fine; 0 for all.
    """

    height: int
    width: int
    is_grey: bool = False
    num_levels: int = 0

    def to_bytes(self, native: tuple[int, int]) -> bytes:
        """The shape's bytes, where a picture of the `native` (height, width) takes one and others at most seven."""
        sides = (self.height - 1, self.width - 1)
        kind = (
            0 if (self.height, self.width) == native else 1 + sum(max(sides) >= 1 << bits for bits in _SIZE_BITS[1:3])
        )
        flags = kind | _GREY * self.is_grey | self.num_levels << _LEVELS
        bits = _SIZE_BITS[kind]
        return bytes([flags]) + ((sides[0] << bits | sides[1]).to_bytes(bits // 4, "big") if kind else b"")


@dataclass(frozen=True)
class Group:
    """Pictures whose codes share a stream.

    Attributes:
        first: number of the first one in the file.
        count: how many there are.
        shape: of each.
        checksum: see `Context`.
        payload: the stream.
    """

    first: int
    count: int
    shape: PictureShape
    checksum: int
    payload: bytes


@dataclass(frozen=True)
class CodecFile:
    """A file that was read, or is to be written.

    Attributes:
        model: first bytes of the fingerprint of the model that its streams need.
        groups: in the pictures' order.
        names: of the pictures; empty if they have none.
        is_archive: False for the short form, which holds one picture without a name.
    """

    model: bytes
    groups: tuple[Group, ...]
    names: tuple[str, ...] = ()
    is_archive: bool = True

    @property
    def num_pictures(self) -> int:
        """In all groups."""
        return sum(group.count for group in self.groups)

    @property
    def payload_bytes(self) -> int:
        """Of all streams, without anything around them."""
        return sum(len(group.payload) for group in self.groups)


def context(model: bytes, is_archive: bool, total: int, first: int, count: int, shape: PictureShape) -> bytes:
    """What the checksum of a group covers besides its codes, in a form that no native size shortens."""
    kind = ARCHIVE if is_archive else PICTURE
    numbers = b"".join(varint(number) for number in (total, first, count))
    return bytes([MAGIC, VERSION << 4 | kind]) + model + numbers + shape.to_bytes((0, 0))


def write_file(file: CodecFile, native: tuple[int, int]) -> bytes:
    """The bytes of a file.

    Args:
        file: its content.
        native: height and width of pictures that need not say theirs.
    """
    start = bytes([MAGIC, VERSION << 4 | (ARCHIVE if file.is_archive else PICTURE)]) + file.model
    if not file.is_archive:
        (group,) = file.groups
        return start + group.shape.to_bytes(native) + _checksum_bytes(group) + group.payload
    parts = [start, bytes([_HAS_NAMES if file.names else 0]), varint(file.num_pictures)]
    for group in file.groups:
        parts += [group.shape.to_bytes(native), varint(group.count), _checksum_bytes(group)]
        parts += [varint(len(group.payload)), group.payload]
    if file.names:
        packed = zlib.compress("\n".join(file.names).encode(), 9)
        parts += [varint(len(packed)), packed]
    return b"".join(parts)


def read_model(data: bytes) -> bytes:
    """The model that a file needs: the first bytes of its fingerprint.

    Raises:
        InputError: it is no such file, or one of a later version.
    """
    reader = _Reader(data)
    reader.start()
    return reader.take(_MODEL_BYTES)


def read_file(data: bytes, native: tuple[int, int], *, with_names: bool = True) -> CodecFile:
    """Takes a file apart; nothing is decoded yet.

    Args:
        data: all of it.
        native: as for `write_file`; (0, 0) if it is not known.
        with_names: reads the names. A small file may hold millions of them: who wants to know first how many pictures
            there are leaves them out.

    Raises:
        InputError: it is no such file, one of a later version, cut off, or damaged where that can be seen.
    """
    reader = _Reader(data)
    kind, model = reader.start(), reader.take(_MODEL_BYTES)
    if kind == PICTURE:
        shape, checksum = reader.shape(native), reader.number(_CHECKSUM_BYTES)
        _check_squares(1, shape, native)
        return CodecFile(model, (Group(0, 1, shape, checksum, reader.rest()),), is_archive=False)
    flags, total = reader.number(1), reader.varint()
    if flags & ~_HAS_NAMES or not total:
        raise InputError(f"the file is damaged: archive of {total} pictures with flags {flags}")
    groups: list[Group] = []
    done = 0
    while done < total:
        groups.append(_read_group(reader, done, total, native))
        done += groups[-1].count
    packed = reader.take(reader.varint()) if flags & _HAS_NAMES else b""
    if rest := reader.rest():
        raise InputError(f"the file is damaged: {len(rest)} bytes follow its end")
    names = _unpack_names(packed, total) if flags & _HAS_NAMES and with_names else ()
    return CodecFile(model, tuple(groups), names)


def _read_group(reader: _Reader, first: int, total: int, native: tuple[int, int]) -> Group:
    shape, count, checksum = reader.shape(native), reader.varint(), reader.number(_CHECKSUM_BYTES)
    if not 1 <= count <= total - first:
        raise InputError(f"the file is damaged: a group of {count} pictures where {total - first} are left")
    _check_squares(count, shape, native)
    return Group(first, count, shape, checksum, reader.take(reader.varint()))


def _check_squares(count: int, shape: PictureShape, native: tuple[int, int]) -> None:
    """Raises InputError where the whole squares of a group's pictures have too many pixels."""
    sides = zip((shape.height, shape.width), native, strict=True)
    height, width = (-(-side // whole) * whole if whole else side for side, whole in sides)
    if count * height * width > MAX_PIXELS:
        raise InputError(f"the file is damaged: a group of more than {MAX_PIXELS} pixels")


def _unpack_names(packed: bytes, total: int) -> tuple[str, ...]:
    unpack = zlib.decompressobj()
    most = min(total * (MAX_NAME_BYTES + 1), MAX_NAMES_BYTES)
    try:
        text = unpack.decompress(packed, most)
        if text.count(b"\n") != total - 1:
            raise InputError(f"the file is damaged: other names than those of {total} pictures")
        if not text or text.startswith(b"\n") or text.endswith(b"\n") or b"\n\n" in text:
            raise InputError("the file is damaged: a name in it is empty")
        names = tuple(text.decode().split("\n"))
    except (zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"the file is damaged: its names cannot be read ({error})") from None
    if not unpack.eof or unpack.unused_data:
        raise InputError("the file is damaged: its names do not end where they should")
    return names


def varint(number: int) -> bytes:
    """LEB128 of a number of 0 or more.

    Example:
        >>> varint(300).hex()
        'ac02'
    """
    parts = bytearray()
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _checksum_bytes(group: Group) -> bytes:
    return group.checksum.to_bytes(_CHECKSUM_BYTES, "big")


class _Reader:
    """Bytes that are taken one after the other."""

    def __init__(self, data: bytes):
        self._data, self._position = data, 0

    def start(self) -> int:
        """Reads what all files begin with; returns the kind."""
        if self._data[:1] != bytes([MAGIC]):
            raise InputError("not a compressed picture of pictogram: it begins otherwise")
        kind = self.number(2) & 255
        if kind >> 4 != VERSION or kind & 15 not in (PICTURE, ARCHIVE):
            raise InputError(
                f"the file has format version {kind >> 4}, kind {kind & 15}; this version of pictogram reads "
                f"version {VERSION}, kinds {PICTURE} and {ARCHIVE}"
            )
        return kind & 15

    def take(self, count: int) -> bytes:
        """The next bytes."""
        part = self._data[self._position : self._position + count]
        if len(part) < count:
            raise InputError(f"the file is cut off after {len(self._data)} bytes")
        self._position += count
        return part

    def rest(self) -> bytes:
        """All that are left."""
        return self.take(len(self._data) - self._position)

    def number(self, count: int) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.take(count), "big")

    def varint(self) -> int:
        """A number in LEB128, in its shortest form."""
        number = shift = 0
        for _ in range(_MAX_VARINT_BYTES):
            byte = self.number(1)
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                if byte == 0 and shift > 7:
                    break
                return number
        raise InputError("the file is damaged: a number in it has no end")

    def shape(self, native: tuple[int, int]) -> PictureShape:
        """See `PictureShape.to_bytes`."""
        flags = self.number(1)
        kind, num_levels = flags & 3, flags >> _LEVELS
        if flags & _UNUSED:
            raise InputError(f"the file is damaged: a shape with flags {flags}")
        height, width = native
        if kind:
            bits = _SIZE_BITS[kind]
            joined = self.number(bits // 4)
            height, width = (joined >> bits) + 1, (joined & (1 << bits) - 1) + 1
        if height * width > MAX_PIXELS:
            raise InputError(
                f"the file is damaged: a picture of {width}x{height} pixels, at most {MAX_PIXELS} are read"
            )
        return PictureShape(height, width, bool(flags & _GREY), num_levels)
