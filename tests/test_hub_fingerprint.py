import hashlib

import pytest
import torch

from pictogram.hub.fingerprint import fingerprint

TENSORS = {"b": torch.arange(6, dtype=torch.int64).view(2, 3), "a": torch.tensor([0.5, -1.0])}
SETTINGS = {"strides": ["image", 8], "size": 32}


def test_canonical_form():
    expected = hashlib.sha256()
    expected.update(b"a|torch.float32|(2,)|" + TENSORS["a"].numpy().tobytes())
    expected.update(b"b|torch.int64|(2, 3)|" + TENSORS["b"].numpy().tobytes())
    expected.update(b'{"size":32,"strides":["image",8]}')
    assert fingerprint(TENSORS, SETTINGS) == expected.hexdigest()


def test_order_strides_and_gradients_do_not_matter():
    expected = fingerprint(TENSORS, SETTINGS)
    reordered = dict(sorted(TENSORS.items()))
    assert fingerprint(reordered, dict(reversed(SETTINGS.items()))) == expected
    transposed = TENSORS["b"].T.contiguous().T
    assert not transposed.is_contiguous()
    assert fingerprint({"a": TENSORS["a"].clone().requires_grad_(), "b": transposed}, SETTINGS) == expected
    assert fingerprint(TENSORS, SETTINGS | {"strides": ("image", 8)}) == expected


@pytest.mark.parametrize(
    "other",
    [
        {"a": TENSORS["a"]},
        TENSORS | {"c": torch.zeros(0)},
        {"a": TENSORS["a"], "B": TENSORS["b"]},
        TENSORS | {"b": TENSORS["b"].view(3, 2)},
        TENSORS | {"b": TENSORS["b"].int()},
        TENSORS | {"a": torch.nextafter(TENSORS["a"], torch.tensor(9.0))},
        TENSORS | {"a": torch.tensor([0.5, -0.0])},
    ],
)
def test_any_difference_in_tensors_shows(other):
    assert fingerprint(other, SETTINGS) != fingerprint(TENSORS, SETTINGS)


def test_any_difference_in_settings_shows():
    digests = {fingerprint(TENSORS, settings) for settings in ({}, {"size": 32}, {"size": "32"}, {"size": 33})}
    assert len(digests) == 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.uint8, torch.float64])
def test_every_dtype_and_shape(dtype):
    tensors = [torch.ones((), dtype=dtype), torch.ones(1, dtype=dtype), torch.ones(0, 3, dtype=dtype)]
    digests = {fingerprint({"x": tensor}, {}) for tensor in tensors}
    assert len(digests) == 3
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in digests)
