import pytest
import torch
from tiny_chain import output_weights
from transformers import Qwen3ForCausalLM

from pictogram.hub.errors import InputError
from pictogram.lm.model import PRIOR_SIZES, PriorSize, build_prior, prior_config
from pictogram.lm.vocabulary import JointVocabulary
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.model import ImageTokenizer

VOCABULARY = JointVocabulary.from_scratch(300, [6, 40], [((1, 1), (2, 2))])


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(PRIOR_SIZES, "tiny", PriorSize(64, 1, 64))


def image_tokenizer() -> ImageTokenizer:
    torch.manual_seed(0)
    config = ImageTokenizerConfig(
        image_size=16, strides=["image", 8], codebook_sizes=[6, 40], codebook_dim=4, patch_size=8, hidden_size=8
    )
    model = ImageTokenizer(config).eval()
    model.start_codebooks(torch.rand(64, 3, 16, 16) * 2 - 1, seed=0)
    return model


def build(seed: int = 0, tokenizer: ImageTokenizer | None = None) -> Qwen3ForCausalLM:
    return build_prior(VOCABULARY, tokenizer or image_tokenizer(), size="tiny", max_length=32, seed=seed)


def ranks(values: torch.Tensor) -> torch.Tensor:
    return values.argsort().argsort().double()


def embeddings(model: Qwen3ForCausalLM) -> torch.Tensor:
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach()


@pytest.mark.parametrize(("level", "least"), [(0, 0.7), (1, 0.9)])
def test_alike_codes_start_with_alike_embeddings(level: int, least: float):
    tokenizer = image_tokenizer()
    codes = tokenizer.codebooks[level].embedding.weight.detach()  # pyright: ignore
    rows = embeddings(build(tokenizer=tokenizer))[VOCABULARY.level_ids(level)]
    pairs = torch.triu_indices(len(codes), len(codes), 1).unbind()
    both = torch.stack([ranks(torch.cdist(vectors, vectors)[pairs]) for vectors in (codes, rows)])
    assert torch.corrcoef(both)[0, 1] > least


def test_image_rows_are_as_wide_as_the_others():
    model = build()
    table = embeddings(model)
    text, image = table[: len(VOCABULARY.text_range)].std(), table[VOCABULARY.level_ids(1)].std()
    assert float(image) == pytest.approx(float(text), rel=0.1)


def test_a_codebook_of_equal_codes_keeps_random_rows():
    tokenizer = image_tokenizer()
    with torch.no_grad():
        tokenizer.codebooks[1].embedding.weight.fill_(0.5)  # pyright: ignore
    rows = embeddings(build(tokenizer=tokenizer))[VOCABULARY.level_ids(1)]
    assert rows.isfinite().all()
    assert float(rows.std(0).mean()) > 0.01


def test_it_is_a_stock_model_with_untied_embeddings():
    model = build()
    assert type(model) is Qwen3ForCausalLM
    assert type(model).__module__.startswith("transformers.")
    assert model.config.tie_word_embeddings is False
    head = output_weights(model)
    assert head is not model.get_input_embeddings().weight
    assert head.shape == embeddings(model).shape == (VOCABULARY.vocab_size, 64)
    assert (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id) == (
        VOCABULARY.pad_id,
        VOCABULARY.bos_id,
        VOCABULARY.eos_id,
    )
    assert model.config.max_position_embeddings == 32


def test_the_seed_decides_all_weights():
    first, second, other = build(0).state_dict(), build(0).state_dict(), build(1).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    matrices = [name for name in first if first[name].dim() == 2]
    assert not any(torch.equal(first[name], other[name]) for name in matrices)


@pytest.mark.parametrize("size", ["nano", "small", "base", "large"])
def test_sizes_fit_their_heads(size: str):
    config = prior_config(VOCABULARY, size, 128)
    assert config.num_attention_heads * config.head_dim == config.hidden_size
    assert config.num_key_value_heads == 1


def test_an_unknown_size_is_refused():
    with pytest.raises(InputError, match=r"size must be one of .*, nano, small, base, large, tiny, got 'giant'"):
        prior_config(VOCABULARY, "giant", 32)
