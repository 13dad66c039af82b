"""Codes of pictures as bytes: a stream holds a group of pictures, place after place, all pictures at each place."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from .arithmetic_coder import ArithmeticDecoder, ArithmeticEncoder
from .code_chances import CodeChances
from .code_frequencies import FrequencyTables


@dataclass(frozen=True, eq=False)
class CodeStream:
    """A group of pictures as bytes.

    Attributes:
        payload: the stream.
        checksum: CRC-32 of the codes, see `checksum`.
        bits: (B, M) float64, -log2 of the chance of every code: what they would take without rounding.
    """

    payload: bytes
    checksum: int
    bits: torch.Tensor


def encode_codes(chances: CodeChances, codes: torch.Tensor) -> CodeStream:
    """Codes to bytes.

    Args:
        chances: of all places of such pictures.
        codes: (B, M) int64, the first M codes of each picture in document order.
    """
    encoder, bits, first = ArithmeticEncoder(), [], 0
    for part in chances.of_codes(codes):
        symbols = codes[:, first : first + part.shape[1]]
        first += part.shape[1]
        bits.append(-part.gather(2, symbols[..., None]).squeeze(2).log2())
        tables = FrequencyTables.of(part.transpose(0, 1).flatten(0, 1))  # (n * B, K), all pictures at each place
        starts, frequencies = tables.of_symbols(symbols.T.flatten())
        for start, frequency in zip(starts.tolist(), frequencies.tolist(), strict=True):
            encoder.encode(start, frequency, tables.precision)
    return CodeStream(encoder.finish(), checksum(codes), torch.cat(bits, 1))


def decode_codes(chances: CodeChances, payload: bytes, expected: int, count: int, num_codes: int) -> torch.Tensor:
    """Bytes to codes.

    Args:
        chances: those of the encoder.
        payload: the stream.
        expected: its checksum.
        count: B pictures.
        num_codes: M, the codes of each that are in the stream.

    Returns:
        (B, M) int64 in document order.

    Raises:
        InputError: the stream is damaged, or was made with other chances.
    """
    decoder, reader = ArithmeticDecoder(payload), chances.reader(count)
    codes = torch.empty(count, num_codes, dtype=torch.int64)
    for place in range(num_codes):
        codes[:, place] = _decode_place(decoder, FrequencyTables.of(reader.chances()))
        reader.append(codes[:, place])
    decoder.finish()
    if checksum(codes) != expected:
        raise InputError("the stream is damaged: the codes in it have another checksum")
    return codes


def checksum(codes: torch.Tensor) -> int:
    """CRC-32 of (B, M) codes, as 4 bytes each with the lowest first, in the order of a stream."""
    return zlib.crc32(codes.T.to(torch.int32).contiguous().numpy().astype("<i4").tobytes())


def _decode_place(decoder: ArithmeticDecoder, tables: FrequencyTables) -> torch.Tensor:
    """(B,) codes at one place of all pictures."""
    bits, symbols = tables.precision, []
    for row in tables.starts.numpy():
        symbol = int(row.searchsorted(decoder.peek(bits), side="right")) - 1
        start = int(row[symbol])
        decoder.take(start, int(row[symbol + 1]) - start, bits)
        symbols.append(symbol)
    return torch.tensor(symbols)


def ideal_bytes(bits: torch.Tensor) -> int:
    """Bytes of a stream whose codes take so many bits and which loses nothing but the rest of its last byte."""
    return math.ceil(float(bits.sum()) / 8)
