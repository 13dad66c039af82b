import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pictogram.hub.errors import InputError
from pictogram.lm.documents import (
    ImageSegment,
    NullSegment,
    TextSegment,
    build_document,
    ids_to_images,
    image_to_text,
    image_to_text_prompt,
    images_to_ids,
    parse_document,
    text_to_image,
    text_to_image_prompt,
    unconditional,
)
from pictogram.lm.grammar import Grammar
from pictogram.lm.order import ORDERS, ImageCodes
from pictogram.lm.text_tokenizer import TextTokenizer, train_text_tokenizer
from pictogram.lm.vocabulary import JointVocabulary

SMALL = ((1, 1), (2, 2), (4, 4))
WIDE = ((1, 1), (1, 2), (2, 4))
TRICKY = ["<bos>", "</image>", "<|0:00012|>", "<null>", "<image 2x2>", "a <eos> b", "<unk><pad><0x41>"]
TEXT = TextTokenizer(train_text_tokenizer(["grinning face", "sad face", *TRICKY * 20], 600))
GRAMMARS = {
    order: Grammar(JointVocabulary.from_scratch(TEXT.vocab_size, [40, 6, 8], [SMALL, WIDE], order).add_codes(2, 3))
    for order in ORDERS
}


@pytest.fixture(params=ORDERS)
def grammar(request) -> Grammar:
    return GRAMMARS[request.param]


def some_codes(vocabulary: JointVocabulary, size: str, count: int = 1, seed: int = 0) -> ImageCodes:
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randint(codebook_size, (count, *grid), generator=generator)
        for codebook_size, grid in zip(vocabulary.codebook_sizes, vocabulary.grids(size), strict=True)
    )


def some_image(vocabulary: JointVocabulary, size: str, seed: int = 0) -> ImageSegment:
    ids = images_to_ids(vocabulary, some_codes(vocabulary, size, seed=seed))
    return ImageSegment(tuple(ids[0].tolist()), size)


@pytest.mark.parametrize("size", ["2x2", "1x2"])
@pytest.mark.parametrize("dtype", [torch.long, torch.int32])
def test_codes_return_exactly(grammar: Grammar, size: str, dtype: torch.dtype):
    codes = some_codes(grammar.vocabulary, size, count=5)
    ids = images_to_ids(grammar.vocabulary, tuple(level.to(dtype) for level in codes))
    assert ids.shape == (5, sum(rows * cols for rows, cols in grammar.vocabulary.grids(size)))
    for before, after in zip(codes, ids_to_images(grammar.vocabulary, ids, size), strict=True):
        assert torch.equal(before, after)


def test_the_three_presets(grammar: Grammar):
    vocabulary = grammar.vocabulary
    image = some_image(vocabulary, "2x2")
    caption = TEXT.encode("sad face")
    bos, eos, end, start = (
        vocabulary.bos_id,
        vocabulary.eos_id,
        vocabulary.image_end_id,
        vocabulary.image_start_id("2x2"),
    )
    span = [start, *image.ids, end]
    assert text_to_image(vocabulary, caption, image.ids, "2x2") == [bos, *caption, *span, eos]
    assert image_to_text(vocabulary, torch.tensor(image.ids), caption, "2x2") == [bos, *span, *caption, eos]
    assert unconditional(vocabulary, image.ids, "2x2") == [bos, vocabulary.null_id, *span, eos]
    assert text_to_image(vocabulary, [], image.ids, "2x2") == unconditional(vocabulary, image.ids, "2x2")
    assert text_to_image_prompt(vocabulary, caption, "2x2") == [bos, *caption, start]
    assert text_to_image_prompt(vocabulary, [], "2x2") == [bos, vocabulary.null_id, start]
    assert image_to_text_prompt(vocabulary, image.ids, "2x2") == [bos, *span]


segments = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.text(min_size=1)),
        st.tuples(st.just("image"), st.sampled_from(["2x2", "1x2"]), st.integers(0, 99)),
        st.tuples(st.just("null"), st.sampled_from(["2x2", "1x2"]), st.integers(0, 99)),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(segments, st.sampled_from(ORDERS))
def test_any_document_returns_exactly(recipe, order):
    vocabulary = GRAMMARS[order].vocabulary
    built = []
    for kind, *rest in recipe:
        if kind == "text":
            ids = tuple(TEXT.encode(rest[0]))
            if built and isinstance(built[-1], TextSegment):  # neighbouring texts join
                ids = built.pop().ids + ids
            built.append(TextSegment(ids))
        else:
            built += [*([NullSegment()] if kind == "null" else []), some_image(vocabulary, *rest)]
    document = build_document(vocabulary, built)
    assert parse_document(GRAMMARS[order], document) == built
    assert parse_document(GRAMMARS[order], [*document, vocabulary.pad_id, vocabulary.pad_id]) == built


def test_two_images_of_two_sizes_with_text_around_them(grammar: Grammar):
    vocabulary = grammar.vocabulary
    first, second = some_image(vocabulary, "2x2", seed=1), some_image(vocabulary, "1x2", seed=2)
    words = [TextSegment(tuple(TEXT.encode(text))) for text in ("from ", " to ", ".")]
    interleaved = [words[0], first, words[1], second, words[2]]
    parsed = parse_document(grammar, build_document(vocabulary, interleaved))
    assert parsed == interleaved
    assert isinstance(parsed[3], ImageSegment)
    codes = ids_to_images(vocabulary, torch.tensor([parsed[3].ids]), parsed[3].size)
    for before, after in zip(some_codes(vocabulary, "1x2", seed=2), codes, strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("caption", TRICKY)
def test_token_strings_in_a_caption_stay_text(grammar: Grammar, caption: str):
    vocabulary = grammar.vocabulary
    ids = TEXT.encode(caption)
    assert all(vocabulary.is_text(id_) for id_ in ids)
    image = some_image(vocabulary, "2x2")
    text, *_ = parse_document(grammar, text_to_image(vocabulary, ids, image.ids, "2x2"))
    assert isinstance(text, TextSegment)
    assert TEXT.decode(text.ids) == caption


def test_empty_text_leaves_no_trace(grammar: Grammar):
    image = some_image(grammar.vocabulary, "2x2")
    assert parse_document(grammar, image_to_text(grammar.vocabulary, image.ids, [], "2x2")) == [image]


def test_what_does_not_fit_is_refused(grammar: Grammar):
    vocabulary = grammar.vocabulary
    image = some_image(vocabulary, "2x2")
    foreign = tuple(torch.zeros(1, *grid, dtype=torch.long) for grid in [(1, 1), (3, 3), (6, 6)])
    with pytest.raises(InputError, match=r"grids 1x1\+3x3\+6x6 are not in the vocabulary"):
        images_to_ids(vocabulary, foreign)
    with pytest.raises(InputError, match="codes of level 0 are 40 to 40"):
        images_to_ids(vocabulary, (torch.tensor([[[40]]]), *some_codes(vocabulary, "2x2")[1:]))
    with pytest.raises(InputError, match="'3x3' is not in the vocabulary"):
        text_to_image(vocabulary, [], image.ids, "3x3")
    with pytest.raises(InputError, match=r"expected \(images, 21\)"):
        text_to_image(vocabulary, [], image.ids[:-1], "2x2")
    with pytest.raises(InputError, match="is not a code of level 0"):
        text_to_image(vocabulary, [], (image.ids[1], *image.ids[1:]), "2x2")
    with pytest.raises(InputError, match=r"<eos>\) stands in a text"):
        text_to_image(vocabulary, [vocabulary.eos_id], image.ids, "2x2")
    for layout in ([NullSegment()], [NullSegment(), TextSegment((1,))]):
        with pytest.raises(InputError, match="missing words"):
            build_document(vocabulary, layout)


def test_documents_that_break_off_are_refused(grammar: Grammar):
    document = unconditional(grammar.vocabulary, some_image(grammar.vocabulary, "2x2").ids, "2x2")
    for length in range(len(document)):
        with pytest.raises(InputError, match=f"breaks off after {length} ids, without <eos>"):
            parse_document(grammar, document[:length])
