import pytest
import torch
from transformers import LogitsProcessorList, Qwen3Config, Qwen3ForCausalLM

from pictogram.hub.errors import InputError
from pictogram.lm.documents import ImageSegment, parse_document, text_to_image_prompt
from pictogram.lm.grammar import Grammar
from pictogram.lm.processor import GrammarLogitsProcessor
from pictogram.lm.vocabulary import JointVocabulary

SMALL = ((1, 1), (2, 2))
WIDE = ((1, 1), (1, 2))


@pytest.fixture
def vocabulary() -> JointVocabulary:
    return JointVocabulary.from_scratch(10, [3, 4], [SMALL, WIDE])


def legal_ids(scores: torch.Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero().flatten().tolist() for row in scores]


def padded(vocabulary: JointVocabulary, rows: list[list[int]]) -> torch.Tensor:
    length = max(map(len, rows))
    return torch.tensor([[vocabulary.pad_id] * (length - len(row)) + row for row in rows])


def test_rows_at_different_places_keep_their_legal_ids(vocabulary: JointVocabulary):
    grammar, processor = Grammar(vocabulary), GrammarLogitsProcessor(vocabulary)
    bos, eos = vocabulary.bos_id, vocabulary.eos_id
    rows = [[bos, 5, vocabulary.image_start_id("2x2")], [bos], [bos, 1, 2, 3], [bos, vocabulary.null_id], [bos, eos]]
    scores = torch.randn(len(rows), vocabulary.vocab_size)
    masked = processor(padded(vocabulary, rows), scores)
    expected = [grammar.legal_ids(grammar.state_after(row)).tolist() for row in rows]
    assert legal_ids(masked) == expected
    kept = masked.isfinite()
    assert torch.equal(masked[kept], scores[kept])
    assert scores.isfinite().all()  # the input is untouched


def test_growing_rows_equal_reading_them_afresh(vocabulary: JointVocabulary):
    generator = torch.Generator().manual_seed(0)
    processor = GrammarLogitsProcessor(vocabulary)
    input_ids = padded(vocabulary, [[vocabulary.bos_id, 5], [vocabulary.bos_id]])
    for step in range(30):
        scores = torch.randn(2, vocabulary.vocab_size, generator=generator)
        masked = processor(input_ids, scores)
        assert torch.equal(masked, GrammarLogitsProcessor(vocabulary)(input_ids, scores))
        input_ids = torch.cat([input_ids, masked.argmax(dim=1, keepdim=True)], dim=1)
        if step % 7 == 6:
            input_ids = input_ids.flip(0)  # rows changed places: they are read again
    assert (input_ids == vocabulary.image_end_id).any()


def test_only_the_new_token_is_read_while_rows_grow(vocabulary: JointVocabulary, monkeypatch):
    processor = GrammarLogitsProcessor(vocabulary)
    read = []
    advance = processor.grammar.advance
    monkeypatch.setattr(processor.grammar, "advance", lambda state, id_: (read.append(id_), advance(state, id_))[1])
    ids = [vocabulary.bos_id, 1, 2, 3]
    for length in range(1, 5):
        processor(torch.tensor([ids[:length]]), torch.zeros(1, vocabulary.vocab_size))
    assert read == ids


def test_generate_writes_legal_documents(vocabulary: JointVocabulary):
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocabulary.vocab_size,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
    )
    model = Qwen3ForCausalLM(config).eval()
    prompts = [text_to_image_prompt(vocabulary, text, size) for text, size in [([5, 6, 7], "2x2"), ([], "1x2")]]
    input_ids = padded(vocabulary, prompts)
    output = model.generate(  # pyright: ignore[reportAttributeAccessIssue]
        input_ids,
        attention_mask=(input_ids != vocabulary.pad_id).long(),
        logits_processor=LogitsProcessorList([GrammarLogitsProcessor(vocabulary)]),
        do_sample=True,
        max_new_tokens=120,
        pad_token_id=vocabulary.pad_id,
        eos_token_id=vocabulary.eos_id,
    )
    grammar = Grammar(vocabulary)
    for row, size in zip(output.tolist(), ["2x2", "1x2"], strict=True):
        document = row[row.index(vocabulary.bos_id) :]
        assert vocabulary.eos_id in document
        images = [segment for segment in parse_document(grammar, document) if isinstance(segment, ImageSegment)]
        assert images[0].size == size


def test_continuous_batching_is_told_to_leave_it_out(vocabulary: JointVocabulary):
    assert GrammarLogitsProcessor(vocabulary).supports_continuous_batching is False
    with pytest.raises(InputError, match="expected"):
        GrammarLogitsProcessor(vocabulary)(torch.tensor([1, 2]), torch.zeros(2, vocabulary.vocab_size))


def test_illegal_prompts_and_foreign_models_are_refused(vocabulary: JointVocabulary):
    processor = GrammarLogitsProcessor(vocabulary)
    with pytest.raises(InputError, match="came where <bos> is expected"):
        processor(torch.tensor([[5]]), torch.zeros(1, vocabulary.vocab_size))
    with pytest.raises(InputError, match="must be the joint vocabulary"):
        processor(torch.tensor([[vocabulary.bos_id]]), torch.zeros(1, vocabulary.vocab_size + 1))
    masked = processor(torch.tensor([[vocabulary.bos_id]]), torch.zeros(1, vocabulary.vocab_size))
    after_bos = processor.grammar.state_after([vocabulary.bos_id])
    assert legal_ids(masked) == [processor.grammar.legal_ids(after_bos).tolist()]  # the errors left nothing behind
