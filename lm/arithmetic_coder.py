"""An arithmetic coder of integers: symbols with known frequencies become bytes, hardly more than their information.

A stream is a number in [0, 1), written in base 256 with the zeros at its end left out; a reader that runs out of bytes
reads zeros. Every symbol narrows an interval to its share of it (Pasco 1976; Rissanen 1976; the arithmetic of bytes is
that of Martin 1979), and a stream is the shortest number inside the last one. Exactly, for the symbol whose
frequencies are [start, start + frequency) out of 2**precision, with whole numbers only:

    low, width = 0, 2**48                           at the start
    unit = width >> precision
    low, width = low + unit * start, unit * frequency
    while width < 2**40:                            the leading byte of low goes out, a carry goes into those before it
        low, width = (low % 2**40) * 256, width * 256

so that all computers agree. What the shift drops costs less than 2**-15 bits a symbol at the largest precision, 24.
More than 14 zeros are never left out, so a reader that would need more of them knows that its stream is damaged.
"""

from __future__ import annotations

from ..hub.errors import InputError

MAX_PRECISION = 24
"""Bits of the frequencies that leave 16 bits for the width of an interval."""

_STATE_BITS = 48
_TOP = 1 << _STATE_BITS
_LEAST_WIDTH = 1 << (_STATE_BITS - 8)
_MASK = _LEAST_WIDTH - 1
_MOST_ZEROS = 14
"""Bytes left out at the end; the last number alone may have six."""


class ArithmeticEncoder:
    """Symbols to bytes.

    Example:
        >>> encoder = ArithmeticEncoder()
        >>> for _ in range(8):  # eight times one of two symbols that is three times as likely as the other: 3.3 bits
        ...     encoder.encode(0, 3, precision=2)
        >>> len(encoder.finish())
        0
        >>> decoder = ArithmeticDecoder(b"")
        >>> decoder.peek(precision=2)  # lies in [0, 3)
        0
    """

    def __init__(self) -> None:
        self._low, self._width, self._bytes = 0, _TOP, bytearray()

    def encode(self, start: int, frequency: int, precision: int) -> None:
        """Writes the symbol with the frequencies [start, start + frequency) out of 2**precision.

        Args:
            start: sum of the frequencies of all symbols before it, 0 or more.
            frequency: 1 or more.
            precision: bits, 0 to `MAX_PRECISION`.
        """
        unit = self._width >> precision
        low, width = self._low + unit * start, unit * frequency
        if low >= _TOP:
            low -= _TOP
            self._carry()
        while width < _LEAST_WIDTH:
            self._bytes.append(low >> (_STATE_BITS - 8))
            low, width = (low & _MASK) << 8, width << 8
        self._low, self._width = low, width

    def finish(self) -> bytes:
        """The stream; nothing can be added afterwards."""
        number = _shortest_number(self._low, self._width)
        if number >= _TOP:
            number -= _TOP
            self._carry()
        whole = bytes(self._bytes) + number.to_bytes(_STATE_BITS // 8, "big")
        return whole[: max(len(whole.rstrip(b"\0")), len(whole) - _MOST_ZEROS)]

    def _carry(self) -> None:
        """Adds one to what went out. It was less than 1, and stays so: a byte below 255 is always found."""
        place = len(self._bytes) - 1
        while self._bytes[place] == 255:
            self._bytes[place] = 0
            place -= 1
        self._bytes[place] += 1


def _shortest_number(low: int, width: int) -> int:
    """The number in [low, low + width) with the most zeros at its end, in bytes."""
    unit = _TOP
    while (number := -(-low // unit) * unit) >= low + width:
        unit >>= 8
    return number


class ArithmeticDecoder:
    """Bytes to symbols: look with `peek`, find whose frequencies hold the number, and `take` them.

    Args:
        data: the stream, whole.
    """

    def __init__(self, data: bytes):
        self._data, self._position = data, _STATE_BITS // 8
        self._code = int.from_bytes(data[: _STATE_BITS // 8].ljust(_STATE_BITS // 8, b"\0"), "big")  # above low
        self._width = _TOP

    def peek(self, precision: int) -> int:
        """The number in 0..2**precision - 1 that lies among the next symbol's frequencies.

        Raises:
            InputError: the stream leads to where no symbol is, so it is damaged.
        """
        number = self._code // (self._width >> precision)
        if number >> precision:
            raise InputError("the stream is damaged: it leads outside every symbol")
        return number

    def take(self, start: int, frequency: int, precision: int) -> None:
        """Moves on behind the symbol that `peek` led to; arguments as for `ArithmeticEncoder.encode`.

        Raises:
            InputError: the stream ended long ago, so it is damaged.
        """
        unit = self._width >> precision
        code, width = self._code - unit * start, unit * frequency
        while width < _LEAST_WIDTH:
            following = self._data[self._position] if self._position < len(self._data) else 0
            code, width = code << 8 | following, width << 8
            self._position += 1
        if self._position > len(self._data) + _MOST_ZEROS:
            raise InputError(f"the stream is damaged: more is needed than its {len(self._data)} bytes")
        self._code, self._width = code, width

    def finish(self) -> None:
        """Checks that the stream ends where its symbols do.

        Raises:
            InputError: bytes are left over.
        """
        if self._position < len(self._data):
            raise InputError(
                f"the stream is damaged: {len(self._data)} bytes where {self._position} are needed at most"
            )
