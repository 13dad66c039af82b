"""Streams of codes: exact round trips, close to the model's bits, and nothing wrong ever comes out."""

import os
import struct
import subprocess
import sys
import zlib

import pytest
import torch
from tiny_chain import prior, shared_bundle

from pictogram.hub.errors import InputError
from pictogram.lm.code_chances import PriorChances
from pictogram.lm.code_frequencies import FrequencyTables
from pictogram.lm.code_stream import checksum, decode_codes, encode_codes
from pictogram.lm.coding_prior import coding_prior
from pictogram.lm.order import ORDERS
from pictogram.lm.static_chances import count_codes

SIZES = [6, 9]


def chances(order="level", seed=0):
    vocabulary = shared_bundle(order).vocabulary
    return PriorChances(coding_prior(prior(vocabulary, seed=seed)), vocabulary, "2x2", 64)


def drawn_codes(source, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(SIZES[level], (count,), generator=generator) for level in source.levels]
    return torch.stack(columns, 1)


def static_chances(order="level"):
    generator = torch.Generator().manual_seed(7)
    codes = [torch.randint(6, (40, 1, 1), generator=generator), torch.randint(9, (40, 2, 2), generator=generator)]
    return count_codes(iter([codes]), SIZES, ((1, 1), (2, 2)), order)


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


@pytest.mark.parametrize("order", ORDERS)
def test_tables_do_not_depend_on_how_they_are_computed(order, monkeypatch):
    """One pass or step by step, together or alone, in runs of any length."""
    source = chances(order)
    codes = drawn_codes(source, 12)
    expected = [FrequencyTables.of(row) for part in source.of_codes(codes) for row in part.unbind(1)]
    reader = source.reader(12)
    for place, tables in enumerate(expected):
        assert torch.equal(FrequencyTables.of(reader.chances()).starts, tables.starts)
        reader.append(codes[:, place])
    for row in range(12):
        alone = [part for part in source.of_codes(codes[row : row + 1])]
        for tables, one in zip(expected, [c for part in alone for c in part.unbind(1)], strict=True):
            assert torch.equal(FrequencyTables.of(one).starts, tables.starts[row : row + 1])
    monkeypatch.setattr("pictogram.lm.code_chances._NUMBERS_AT_ONCE", 1)
    assert len(list(source.of_codes(codes))) == 5
    assert encode_codes(source, codes).payload == encode_codes(chances(order), codes).payload


def test_chances_are_those_of_the_prior():
    source, model = chances(), prior(shared_bundle("level").vocabulary)
    codes = drawn_codes(source, 3)
    vocabulary = source.vocabulary
    ids = torch.stack([vocabulary.codes_to_ids(level, codes[:, place]) for place, level in enumerate(source.levels)], 1)
    with torch.no_grad():
        logits = model(torch.cat([torch.tensor([source.prompt] * 3), ids], 1)).logits.double()
    places = [row for part in source.of_codes(codes) for row in part.unbind(1)]
    for place, (level, found) in enumerate(zip(source.levels, places, strict=True)):
        legal = logits[:, len(source.prompt) - 1 + place, vocabulary.level_ids(level)]
        assert torch.allclose(found, torch.softmax(legal, 1), atol=1e-5)


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
        "import test_lm_code_stream as t; print(t.encode_codes(t.chances(), codes).payload.hex())"
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
