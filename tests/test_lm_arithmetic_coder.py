"""The arithmetic coder: exact, short, and never lost on what is no stream of its own."""

import math

import numpy as np
import pytest
from constriction import stream  # pyright: ignore[reportAttributeAccessIssue]
from hypothesis import given, settings
from hypothesis import strategies as st

from pictogram.hub.errors import InputError
from pictogram.lm.arithmetic_coder import ArithmeticDecoder, ArithmeticEncoder

SYMBOLS = st.lists(
    st.integers(0, 24).flatmap(
        lambda bits: st.tuples(st.integers(0, 2**bits - 1), st.just(bits)).flatmap(
            lambda drawn: st.tuples(st.just(drawn[0]), st.integers(1, 2 ** drawn[1] - drawn[0]), st.just(drawn[1]))
        )
    ),
    max_size=60,
)
"""(start, frequency, precision)."""


def encode(symbols):
    encoder = ArithmeticEncoder()
    for symbol in symbols:
        encoder.encode(*symbol)
    return encoder.finish()


def decode(data, symbols):
    """Takes the symbols that are expected; True if the stream leads to each of them."""
    decoder = ArithmeticDecoder(data)
    for start, frequency, precision in symbols:
        if not start <= decoder.peek(precision) < start + frequency:
            return False
        decoder.take(start, frequency, precision)
    decoder.finish()
    return True


def information(symbols):
    """Bits."""
    return sum(precision - math.log2(frequency) for _, frequency, precision in symbols)


@settings(max_examples=200, deadline=None)
@given(SYMBOLS)
def test_what_is_written_is_read(symbols):
    data = encode(symbols)
    assert decode(data, symbols)
    assert len(data) * 8 <= information(symbols) + 8 + 2**-15 * len(symbols)


def test_known_bytes():
    """The format: no change may alter these."""
    symbols = []
    for number in range(100):
        precision = number % 25
        start = number * 2654435761 % 2**precision
        symbols.append((start, 1 + number * 40503 % (2**precision - start), precision))
    assert encode([]) == b""
    assert encode([(1, 1, 1)]) == b"\x80"
    assert encode([(255, 1, 8), (255, 1, 8), (0, 1, 8)]) == b"\xff\xff"
    assert encode(symbols).hex() == GOLDEN


def test_a_carry_runs_through_bytes_of_255():
    ones = [(0xFFFF, 1, 16)] * 9
    spill = [(1, 1, 1)] * 3
    first = [(0, 3, 2), *ones, *spill, (2**24 - 1, 1, 24)]
    assert decode(encode(first), first)
    # An interval that straddles a border of many bytes: the lower half of the number space ends in 0x7fffff...
    straddling = [(2**23 - 1, 2, 24), *[(2**23 - 1, 2, 24)] * 6, (3, 1, 2)]
    assert decode(encode(straddling), straddling)


def test_likely_symbols_take_next_to_nothing():
    assert encode([(0, 2**24 - 1, 24)] * 10_000) == b""
    certain = [(0, 1, 0)] * 1000
    assert encode(certain) == b"" and decode(b"", certain)


def test_zeros_at_the_end_are_left_out_within_bounds():
    symbols = [(0, 1, 8)] * 40  # forty zeros
    data = encode(symbols)
    assert data == b"\0" * 31  # 39 bytes went out, six are of the last number, and 14 are left out
    assert decode(data, symbols)
    with pytest.raises(InputError, match="more is needed than its 30 bytes"):
        decode(data[:-1], symbols)


@pytest.mark.parametrize("size", [2, 3, 512, 4096])
def test_as_short_as_constriction(size):
    """Beside a known coder with the same chances: never longer, short streams several bytes shorter."""
    numbers = np.random.default_rng(size)
    bits = 20
    for count in (1, 4, 16, 49, 196, 1000):
        weights = numbers.exponential(size=size)
        frequencies = np.floor(weights / weights.sum() * (2**bits - size)).astype(np.int64) + 1
        frequencies[0] += 2**bits - frequencies.sum()
        starts = np.concatenate([[0], frequencies.cumsum()])
        drawn = numbers.choice(size, count, p=frequencies / 2**bits)
        ours = encode([(int(starts[k]), int(frequencies[k]), bits) for k in drawn])
        coder = stream.queue.RangeEncoder()
        model = stream.model.Categorical(frequencies / 2**bits, perfect=False)
        coder.encode(drawn.astype(np.int32), model)
        assert len(ours) <= 4 * len(coder.get_compressed())
        ideal = -np.log2(frequencies[drawn] / 2**bits).sum() / 8
        assert ideal - 1e-6 <= len(ours) + 1 and len(ours) <= ideal + 1.01


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), SYMBOLS)
def test_other_bytes_lead_to_symbols_or_to_an_error(data, symbols):
    decoder = ArithmeticDecoder(data)
    try:
        for _, _, precision in symbols:
            number = decoder.peek(precision)
            assert 0 <= number < 2**precision
            decoder.take(number, 1, precision)
        decoder.finish()
    except InputError as error:
        assert "damaged" in str(error)


def test_a_long_document_from_few_bytes_is_refused_soon():
    """Whoever claims a million symbols for three bytes is found out by the bytes."""
    decoder, taken = ArithmeticDecoder(b"abc"), 0
    with pytest.raises(InputError, match="more is needed than its 3 bytes"):
        while True:
            decoder.take(decoder.peek(16), 1, 16)
            taken += 1
    assert taken < 10


def test_bytes_left_over_are_refused():
    symbols = [(3, 5, 8)] * 6
    data = encode(symbols)
    assert decode(data, symbols)
    with pytest.raises(InputError, match="25 bytes where 10 are needed at most"):
        decode(data + b"\x01" * 20, symbols)


GOLDEN = "d204feb01b6119944fa3a0504f3f6f7b044a63009868a9b013cd89d4ae6bd11f0212"
