"""Streams of codes: exact round trips, close to the model's bits, and nothing wrong ever comes out."""

import os
import struct
import subprocess
import sys
import zlib

import pytest
import torch
from tiny_chain import prior, shared_bundle
from tiny_codec import SIZES, chances, drawn_codes, static_chances

from pictogram.hub.errors import InputError
from pictogram.lm.code_stream import checksum, decode_codes, encode_codes
from pictogram.lm.order import ORDERS
from pictogram.lm.static_chances import StaticChances


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("count", [1, 2, 33])
@pytest.mark.parametrize("make", [chances, static_chances])
def test_codes_come_back(make, order, count):
    source = make(order)
    codes = drawn_codes(source, count)
    stream = encode_codes(source, codes)
    assert torch.equal(decode_codes(source, stream.payload, stream.checksum, count, 5), codes)
    assert stream.bits.shape == (count, 5)
    assert abs(len(stream.payload) * 8 - float(stream.bits.sum())) < 8 + 0.01 * stream.bits.numel()


def test_large_groups_go_in_parts(monkeypatch):
    source = chances()
    codes = drawn_codes(source, 7)
    monkeypatch.setattr("pictogram.lm.code_stream.PICTURES_AT_ONCE", 3)
    stream = encode_codes(source, codes)
    assert torch.equal(decode_codes(source, stream.payload, stream.checksum, 7, 5), codes)
    monkeypatch.undo()
    with pytest.raises(InputError, match="damaged"):
        decode_codes(source, stream.payload, stream.checksum, 7, 5)


@pytest.mark.parametrize("make", [chances, static_chances])
def test_a_prefix_of_codes_is_a_stream_of_its_own(make):
    source = make()
    codes = drawn_codes(source, 4)
    stream = encode_codes(source, codes[:, :3])
    assert torch.equal(decode_codes(source, stream.payload, stream.checksum, 4, 3), codes[:, :3])
    assert torch.allclose(stream.bits, encode_codes(source, codes).bits[:, :3])


def test_the_machine_makes_no_difference(tmp_path):
    """The same bytes from another process with two threads and without the processor's newer instructions."""
    source = chances()
    codes = drawn_codes(source, 20)
    weights = prior(shared_bundle("level").vocabulary).state_dict()
    torch.save((codes, weights), tmp_path / "given.pt")  # random numbers are drawn differently there
    program = (
        "import sys; sys.path.insert(0, 'tests'); import torch, tiny_chain; torch.set_num_threads(2);"
        "codes, weights = torch.load(sys.argv[1]);"
        "model = tiny_chain.prior(tiny_chain.shared_bundle('level').vocabulary);"
        "model.load_state_dict(weights); tiny_chain.prior = lambda vocabulary, seed: model;"
        "import tiny_codec as t; from pictogram.lm.code_stream import encode_codes;"
        "print(encode_codes(t.chances(), codes).payload.hex())"
    )
    plain = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "2"}
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "given.pt")],
        env=os.environ | plain,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert result.stdout.split()[-1] == encode_codes(source, codes).payload.hex()


@pytest.mark.parametrize("make", [chances, static_chances])
def test_a_damaged_stream_is_refused(make):
    source = make()
    codes = drawn_codes(source, 8)
    stream = encode_codes(source, codes)
    for place in range(len(stream.payload)):
        for bit in (0, 3, 7):
            broken = bytearray(stream.payload)
            broken[place] ^= 1 << bit
            with pytest.raises(InputError, match="damaged"):
                decode_codes(source, bytes(broken), stream.checksum, 8, 5)
    for length in range(len(stream.payload)):
        with pytest.raises(InputError, match="damaged"):
            decode_codes(source, stream.payload[:length], stream.checksum, 8, 5)


def test_a_code_that_never_comes_is_written_all_the_same():
    class Certain(StaticChances):
        def at(self, place):
            return torch.nn.functional.one_hot(torch.tensor(0), SIZES[self.levels[place]]).double()

    source = Certain(static_chances().grids, "level", static_chances().frequencies)
    codes = torch.full((2, 5), 3)
    stream = encode_codes(source, codes)
    assert torch.equal(decode_codes(source, stream.payload, stream.checksum, 2, 5), codes)
    assert float(stream.bits.max()) == 1022


def test_another_prior_does_not_read_it():
    source = chances()
    codes = drawn_codes(source, 8)
    stream = encode_codes(source, codes)
    with pytest.raises(InputError, match="damaged"):
        decode_codes(chances(seed=1), stream.payload, stream.checksum, 8, 5)


def test_known_checksum():
    """The format: no change may alter it."""
    assert checksum(torch.tensor([[1, 2], [3, 65535]])) == zlib.crc32(struct.pack("<4I", 1, 2, 3, 65535))
    assert checksum(torch.tensor([[7]]), b"abc") == zlib.crc32(b"abc" + struct.pack("<I", 7))
