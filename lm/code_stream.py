"""Codes of pictures as bytes.

A stream holds a group of pictures, 256 at a time: of these the first code of every picture, then the second of every
picture, and so on, so that a reader computes the chances of many pictures at once.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from .arithmetic_coder import ArithmeticDecoder, ArithmeticEncoder
from .code_chances import CodeChances
from .code_frequencies import FrequencyTables

PICTURES_AT_ONCE = 256
"""Part of the format; it also bounds the memory that reading takes."""


@dataclass(frozen=True, eq=False)
class CodeStream:
    """A group of pictures as bytes.

    Attributes:
        payload: the stream.
        checksum: CRC-32 of the codes, see `checksum`.
        bits: (B, M) float64, -log2 of the chance of every code, 1022 at most: what they would take without rounding.
    """

    payload: bytes
    checksum: int
    bits: torch.Tensor


def encode_codes(chances: CodeChances, codes: torch.Tensor, context: bytes = b"") -> CodeStream:
    """Codes to bytes.

    Args:
        chances: of all places of such pictures.
        codes: (B, M) int64, the first M codes of each picture in document order.
        context: what the checksum covers besides.
    """
    encoder = ArithmeticEncoder()
    bits = [_encode_part(encoder, chances, part) for part in codes.split(PICTURES_AT_ONCE)]
    return CodeStream(encoder.finish(), checksum(codes, context), torch.cat(bits))


def decode_codes(
    chances: CodeChances, payload: bytes, expected: int, count: int, num_codes: int, context: bytes = b""
) -> torch.Tensor:
    """Bytes to codes.

    Args:
        chances: those of the encoder.
        payload: the stream.
        expected: its checksum.
        count: B pictures.
        num_codes: M, the codes of each that are in the stream.
        context: what the checksum covers besides.

    Returns:
        (B, M) int64 in document order.

    Raises:
        InputError: the stream is damaged, or was made with other chances.
    """
    decoder = ArithmeticDecoder(payload)
    parts: list[torch.Tensor] = []
    for first in range(0, count, PICTURES_AT_ONCE):
        parts.append(_decode_part(decoder, chances, min(PICTURES_AT_ONCE, count - first), num_codes))
    decoder.finish()
    codes = torch.cat(parts)
    if checksum(codes, context) != expected:
        raise InputError("the stream is damaged: its checksum is that of other codes")
    return codes


def checksum(codes: torch.Tensor, context: bytes = b"") -> int:
    """CRC-32 of the context and then of (B, M) codes, picture by picture, as 4 bytes each with the lowest first."""
    return zlib.crc32(codes.to(torch.int32).contiguous().numpy().astype("<i4").tobytes(), zlib.crc32(context))


def _encode_part(encoder: ArithmeticEncoder, chances: CodeChances, codes: torch.Tensor) -> torch.Tensor:
    """Writes (B, M) codes; returns the bits of each, (B, M)."""
    bits: list[torch.Tensor] = []
    first = 0
    for part in chances.of_codes(codes):
        symbols = codes[:, first : first + part.shape[1]]
        first += part.shape[1]
        chosen = part.gather(2, symbols[..., None]).squeeze(2)
        bits.append(-chosen.clamp(min=torch.finfo(chosen.dtype).tiny).log2())  # a chance of 0 has a frequency, too
        tables = FrequencyTables.of(part.transpose(0, 1).flatten(0, 1))  # (n * B, K), all pictures at each place
        starts, frequencies = tables.of_symbols(symbols.T.flatten())
        for start, frequency in zip(starts.tolist(), frequencies.tolist(), strict=True):
            encoder.encode(start, frequency, tables.precision)
    return torch.cat(bits, 1)


def _decode_part(decoder: ArithmeticDecoder, chances: CodeChances, count: int, num_codes: int) -> torch.Tensor:
    """(count, num_codes) codes that come next."""
    reader, codes = chances.reader(count), torch.empty(count, num_codes, dtype=torch.int64)
    for place in range(num_codes):
        codes[:, place] = _decode_place(decoder, FrequencyTables.of(reader.chances()))
        reader.append(codes[:, place])
    return codes


def _decode_place(decoder: ArithmeticDecoder, tables: FrequencyTables) -> torch.Tensor:
    """(B,) codes at one place of all pictures."""
    bits, symbols = tables.precision, []
    for row in tables.starts.numpy():
        symbol = int(row.searchsorted(decoder.peek(bits), side="right")) - 1
        start = int(row[symbol])
        decoder.take(start, int(row[symbol + 1]) - start, bits)
        symbols.append(symbol)
    return torch.tensor(symbols)
