import json
from dataclasses import replace

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.lm.documents import ImageSegment, NullSegment, TextSegment, build_document, images_to_ids
from pictogram.lm.grammar import (
    AFTER_NULL,
    CLOSE_IMAGE,
    DOCUMENT,
    END,
    KIND_CONTROL,
    KIND_LEVEL,
    KIND_TEXT,
    LEVEL,
    START,
    Grammar,
    GrammarState,
)
from pictogram.lm.segments import Segment
from pictogram.lm.vocabulary import JointVocabulary

SMALL = ((1, 1), (2, 2), (4, 4))
WIDE = ((1, 1), (1, 2), (2, 4))


@pytest.fixture(params=["level", "pyramid"])
def grammar(request) -> Grammar:
    vocabulary = JointVocabulary.from_scratch(20, [4, 6, 8], [SMALL, WIDE], request.param)
    return Grammar(vocabulary.add_codes(1, 3))


def image(vocabulary: JointVocabulary, size: str, seed: int) -> ImageSegment:
    generator = torch.Generator().manual_seed(seed)
    codes = tuple(
        torch.randint(count, (1, *grid), generator=generator)
        for count, grid in zip(vocabulary.codebook_sizes, vocabulary.grids(size), strict=True)
    )
    return ImageSegment(tuple(images_to_ids(vocabulary, codes)[0].tolist()), size)


def documents(vocabulary: JointVocabulary) -> list[list[int]]:
    small, wide = image(vocabulary, "2x2", 1), image(vocabulary, "1x2", 2)
    text = TextSegment((3, 1, 4))
    layouts = [[text, small], [small, text], [NullSegment(), wide], [text, small, wide, text, NullSegment(), small], []]
    return [build_document(vocabulary, layout) for layout in layouts]


def test_every_token_of_a_document_is_legal_where_it_stands(grammar: Grammar):
    for document in documents(grammar.vocabulary):
        state = grammar.start
        for id_ in document:
            assert id_ in grammar.legal_ids(state).tolist()
            state = grammar.advance(state, id_)
        assert state == GrammarState("end")
        assert grammar.state_after([*document, grammar.vocabulary.pad_id]) == GrammarState("end")


def test_slots_agree_with_the_walk(grammar: Grammar):
    vocabulary = grammar.vocabulary
    rows = documents(vocabulary)
    length = max(map(len, rows))
    input_ids = torch.tensor([row + [vocabulary.pad_id] * (length - len(row)) for row in rows])
    slots = grammar.slots(input_ids)
    for row, legal_sets, kinds in zip(input_ids.tolist(), slots.legal_set.tolist(), slots.kind.tolist(), strict=True):
        state = grammar.start
        for id_, legal_set, kind in zip(row, legal_sets, kinds, strict=True):
            assert legal_set == grammar.set_index(state)
            assert id_ in grammar.legal_sets[legal_set].tolist()
            is_code = legal_set >= LEVEL
            expected = KIND_LEVEL + legal_set - LEVEL if is_code else KIND_TEXT if id_ < 20 else KIND_CONTROL
            assert kind == expected
            state = grammar.advance(state, id_)


def test_the_legal_sets(grammar: Grammar):
    vocabulary = grammar.vocabulary
    starts = [vocabulary.image_start_id("2x2"), vocabulary.image_start_id("1x2")]
    assert grammar.legal_sets[START].tolist() == [vocabulary.bos_id]
    between = [*range(20), vocabulary.eos_id, vocabulary.null_id, *starts]
    assert grammar.legal_sets[DOCUMENT].tolist() == sorted(between)
    assert grammar.legal_sets[AFTER_NULL].tolist() == sorted(starts)
    assert grammar.legal_sets[CLOSE_IMAGE].tolist() == [vocabulary.image_end_id]
    assert grammar.legal_sets[END].tolist() == [vocabulary.pad_id]
    for level in range(3):
        assert torch.equal(grammar.legal_sets[LEVEL + level], vocabulary.level_ids(level))
    for row, legal in zip(grammar.legal_table, grammar.legal_sets, strict=True):
        assert torch.equal(row.nonzero().flatten(), legal)


def test_one_object_per_set(grammar: Grammar):
    for size in ("2x2", "1x2"):
        assert grammar.legal_ids(GrammarState("image", size, 0)) is grammar.legal_sets[LEVEL]
    assert grammar.legal_ids(GrammarState("document")) is grammar.legal_ids(GrammarState("document"))


def test_is_legal_agrees_with_the_sets(grammar: Grammar):
    images = [GrammarState("image", "1x2", offset) for offset in range(12)]
    for state in [*map(GrammarState, ("start", "document", "null", "end")), *images]:
        legal = set(grammar.legal_ids(state).tolist())
        for id_ in range(-2, grammar.vocabulary.vocab_size + 2):
            assert grammar.is_legal(state, id_) == (id_ in legal)


def test_errors_name_what_came_and_what_was_legal(grammar: Grammar):
    vocabulary = grammar.vocabulary
    bos, eos, null, end = vocabulary.bos_id, vocabulary.eos_id, vocabulary.null_id, vocabulary.image_end_id
    start = vocabulary.image_start_id("2x2")
    cases = [
        ([5], r"position 0: id 5 \(text\) came where <bos> is expected"),
        ([bos, null, 5], r"position 2: id 5 \(text\) came where an image start is expected"),
        ([bos, null, eos], r"<eos>\) came where an image start is expected"),
        ([bos, start, end], r"</image>\) came where code 1 of 21 of the image, one of level 0, is expected"),
        ([bos, end], r"</image>\) came where text, an image start, <null> or <eos> is expected"),
        ([bos, eos, bos], r"<bos>\) came where nothing but <pad> is expected"),
        ([bos, 10_000], "outside the vocabulary"),
    ]
    for ids, message in cases:
        with pytest.raises(InputError, match=message):
            grammar.state_after(ids)


def test_states_can_be_keys(grammar: Grammar):
    bos, start = grammar.vocabulary.bos_id, grammar.vocabulary.image_start_id("1x2")
    assert {grammar.state_after([bos, start]): 1}[GrammarState("image", "1x2", 0)] == 1


def legal_by_the_file(content: dict, ids: list[int]) -> list[int]:
    """What a stranger would write, knowing nothing but vocabulary.json."""
    controls = {token: id_ for segment in content["segments"] for token, id_ in segment.get("ids", {}).items()}
    codes: dict[int, list[int]] = {}
    for segment in content["segments"]:
        if segment["kind"] == "image":
            codes.setdefault(segment["level"], []).extend(range(segment["start"], segment["start"] + segment["count"]))
    starts = {controls[f"<image {size}>"]: size for size in content["sizes"]}
    opened = max((index for index, id_ in enumerate(ids) if id_ in starts), default=None)
    if opened is not None and controls["</image>"] not in ids[opened:]:
        levels = levels_by_the_file(content["order"], content["sizes"][starts[ids[opened]]])
        offset = len(ids) - opened - 1
        return codes[levels[offset]] if offset < len(levels) else [controls["</image>"]]
    if not ids:
        return [controls["<bos>"]]
    if controls["<eos>"] in ids:
        return [controls["<pad>"]]
    if ids[-1] == controls["<null>"]:
        return sorted(starts)
    return sorted([*range(content["segments"][0]["count"]), controls["<eos>"], controls["<null>"], *starts])


def levels_by_the_file(order: str, grids: list[list[int]]) -> list[int]:
    if order == "level":
        return [level for level, (rows, cols) in enumerate(grids) for _ in range(rows * cols)]

    def subtree(level: int) -> list[int]:
        if level + 1 == len(grids):
            return [level]
        (rows, cols), (fine_rows, fine_cols) = grids[level], grids[level + 1]
        return [level, *subtree(level + 1) * (fine_rows // rows * fine_cols // cols)]

    return subtree(0) * (grids[0][0] * grids[0][1])


def test_the_file_alone_is_enough_to_write_the_grammar(grammar: Grammar):
    content = json.loads(json.dumps(grammar.vocabulary.to_json()))
    for document in documents(grammar.vocabulary):
        for length in range(len(document) + 1):
            state = grammar.state_after(document[:length])
            assert legal_by_the_file(content, document[:length]) == grammar.legal_ids(state).tolist()


def test_unknown_control_tokens_are_legal_nowhere(grammar: Grammar):
    vocabulary = grammar.vocabulary
    segment = Segment("control", vocabulary.vocab_size, 1, tokens=("<later>",))
    longer = Grammar(replace(vocabulary, segments=(*vocabulary.segments, segment)))
    assert not longer.legal_table[:, -1].any()
    assert torch.equal(longer.legal_table[:, :-1], grammar.legal_table)
