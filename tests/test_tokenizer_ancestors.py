"""What a tokenizer says of those it was grown from."""

import pytest

from pictogram.hub.errors import InputError
from pictogram.tokenizer.ancestors import Ancestor, read_ancestors
from pictogram.tokenizer.config import ImageTokenizerConfig


def test_written_and_read():
    ancestor = Ancestor("a", "b", (5, 6, 7))
    assert read_ancestors([ancestor.to_json()], [5, 6, 8]) == [ancestor]
    assert ImageTokenizerConfig(ancestors=[ancestor.to_json()]).ancestors == [ancestor.to_json()]


def test_codebooks_never_shrink():
    older, younger = Ancestor("a", "b", (5, 7)), Ancestor("c", "d", (6, 6))
    with pytest.raises(InputError, match=r"\(5, 7\) codes before \(6, 6\)"):
        read_ancestors([older.to_json(), younger.to_json()], [9, 9])


@pytest.mark.parametrize(
    "content",
    [
        {"codes_fingerprint": "a", "decoder_fingerprint": "b"},
        {"codes_fingerprint": "a", "decoder_fingerprint": 3, "codebook_sizes": [5, 6, 7]},
        {"codes_fingerprint": "a", "decoder_fingerprint": "b", "codebook_sizes": [5, 6, 0]},
        {"codes_fingerprint": "a", "decoder_fingerprint": "b", "codebook_sizes": [5, 6]},
        {"codes_fingerprint": "a", "decoder_fingerprint": "b", "codebook_sizes": [64, 256, 257]},
    ],
)
def test_ancestors_that_cannot_be_are_refused(content):
    with pytest.raises(InputError):
        ImageTokenizerConfig(ancestors=[content])
