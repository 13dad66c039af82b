import filecmp
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_chain import GRIDS, image_tokenizer, processor, tokenizer_folder
from tiny_language_models import (
    LINES,
    MODELS,
    STRINGS,
    TOKENIZER_OF,
    TOKENIZERS,
    extended,
    language_model,
    num_tokens,
    qwen,
)
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    BloomForCausalLM,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from pictogram import load_image_tokenizer
from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle, bundle_files
from pictogram.lm.documents import image_to_text, text_to_image, text_to_image_prompt
from pictogram.lm.extend import extend_language_model
from pictogram.lm.grammar import DOCUMENT
from pictogram.lm.processor import GrammarLogitsProcessor
from pictogram.lm.rate import measure_rate
from pictogram.lm.sampler import SamplingConfig, sample, uniforms
from pictogram.pipelines.image_to_text import ImageToTextPipeline
from pictogram.pipelines.text_to_image import TextToImagePipeline

ARCHITECTURES = list(MODELS)
TIED = ["qwen3 tied", "gpt2"]


def rows(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Everything that has one row per id: input and output embeddings and the bias of the output layer."""
    head: Any = model.get_output_embeddings()
    embeddings = model.get_input_embeddings()
    found = {"input": embeddings.weight, "output": head.weight, "bias": head.bias}
    return {name: value.detach().clone() for name, value in found.items() if value is not None}


def new_ids(bundle: Bundle) -> range:
    return range(len(bundle.vocabulary.text_range), bundle.vocabulary.vocab_size)


def documents(bundle: Bundle) -> torch.Tensor:
    """Two documents of one length, one in each direction."""
    vocabulary, codes = bundle.vocabulary, [0, 1, 2, 3, 4]
    image = [vocabulary.codes_to_ids(int(place > 0), code) for place, code in enumerate(codes)]
    words = bundle.text_tokenizer.encode("red apple")
    there, back = text_to_image(vocabulary, words, image, "2x2"), image_to_text(vocabulary, image, words, "2x2")
    return torch.tensor([there, back])


def loss(model: Any, input_ids: torch.Tensor) -> torch.Tensor:
    return model(input_ids=input_ids, labels=input_ids).loss


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_old_ids_keep_their_rows_bit_for_bit(architecture: str):
    before, bundle = rows(language_model(architecture)), extended(architecture)
    after = rows(bundle.prior)
    assert before.keys() == after.keys() and ("bias" in after) == (architecture == "phi")
    for name, old in before.items():
        assert torch.equal(after[name][: len(old)], old)
        assert len(after[name]) == bundle.vocabulary.vocab_size == bundle.prior.config.vocab_size
    head = bundle.prior.get_output_embeddings()
    assert head is not None
    assert (bundle.prior.get_input_embeddings().weight is head.weight) == (architecture in TIED)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_text_keeps_its_logits_over_the_old_ids(architecture: str):
    old = language_model(architecture).double()
    num_old = old.config.vocab_size
    ids = torch.tensor([TOKENIZERS[TOKENIZER_OF[architecture]]()("a red apple, a green pear")["input_ids"]])
    expected = old(ids).logits
    bundle = extended(architecture)
    logits = bundle.prior.double()(ids).logits
    assert logits.shape[-1] == bundle.vocabulary.vocab_size > num_old
    torch.testing.assert_close(logits[..., :num_old], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_new_rows_lie_among_the_old(architecture: str):
    bundle = extended(architecture)
    vocabulary, table = bundle.vocabulary, rows(bundle.prior)
    text = [id_ for id_ in vocabulary.text_range if vocabulary.is_text(id_)]
    old = table["input"][text]
    deviations = table["input"][list(new_ids(bundle))] - old.mean(0)
    spread = float((old - old.mean(0)).std())
    assert float(deviations.std()) == pytest.approx(spread, rel=0.1)
    assert len(deviations.unique(dim=0)) == len(deviations)  # control tokens can be told apart as well
    for level in range(vocabulary.num_levels):
        codes = table["input"][vocabulary.level_ids(level)] - old.mean(0)
        assert float(codes.std()) == pytest.approx(spread, rel=1e-3)
        assert float(codes.mean(0).abs().max()) < 1e-5 * spread + 1e-5
    for name in {"output", "bias"} & table.keys():
        if name == "bias" or architecture not in TIED:
            mean = table[name][text].mean(0).expand_as(table[name][list(new_ids(bundle))])
            torch.testing.assert_close(table[name][list(new_ids(bundle))], mean)


def test_alike_codes_start_alike():
    tokenizer, bundle = image_tokenizer(), extended("qwen3")
    vectors = tokenizer.code_vectors(1)
    placed = rows(bundle.prior)["input"][bundle.vocabulary.level_ids(1)]
    pairs = torch.triu_indices(len(vectors), len(vectors), 1).unbind()
    both = torch.stack([torch.cdist(points, points)[pairs] for points in (vectors, placed)])
    assert float(torch.corrcoef(both)[0, 1]) > 0.8


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_new_token_starts_impossible_or_certain(architecture: str):
    bundle = extended(architecture)
    ids = torch.tensor([bundle.text_tokenizer.encode("red apple")])
    chances = torch.softmax(bundle.prior(ids).logits[0, -1].detach().double(), -1)[list(new_ids(bundle))]
    assert float(chances.min()) > 1e-12 and float(chances.sum()) < 0.9


def test_the_seed_decides_the_new_rows():
    torch.manual_seed(5)
    first, other = rows(extended("gpt2").prior), rows(extended("gpt2", seed=0).prior)
    assert torch.equal(first["input"], other["input"])
    model = language_model("gpt2")
    bundle = extend_language_model(model, TOKENIZERS["gpt2"](), image_tokenizer(), processor(), seed=1)
    ids = list(new_ids(bundle))
    assert not (rows(bundle.prior)["input"][ids] == first["input"][ids]).any()


def test_half_precision_stays_and_its_new_rows_are_finite():
    model = language_model("qwen3").bfloat16()
    bundle = extend_language_model(model, qwen(), image_tokenizer(), processor())
    table = rows(bundle.prior)
    assert {value.dtype for value in table.values()} == {torch.bfloat16}
    assert all(bool(value.isfinite().all()) for value in table.values())


def test_the_model_is_extended_in_place_and_named_after_documents():
    model = language_model("qwen3").train()
    model.generation_config = GenerationConfig(eos_token_id=[292, 290, 7], bos_token_id=290, pad_token_id=290, top_k=20)
    bundle = extend_language_model(model, qwen(), image_tokenizer(), processor())
    vocabulary = bundle.vocabulary
    assert bundle.prior is model and not model.training
    names = [(settings.pad_token_id, settings.bos_token_id) for settings in (model.config, model.generation_config)]
    assert names == [(vocabulary.pad_id, vocabulary.bos_id)] * 2
    assert model.config.eos_token_id == vocabulary.eos_id
    assert model.generation_config.eos_token_id == [vocabulary.eos_id, 292, 290]  # 7 is text
    assert model.generation_config.top_k == 20


def test_documents_hold_text_and_no_reserved_id():
    bundle = extended("qwen3")
    tokenizer = TOKENIZERS["qwen"]()
    legal = set(bundle.grammar.legal_sets[DOCUMENT].tolist())
    padding = range(num_tokens("qwen"), len(bundle.vocabulary.text_range))
    assert not legal & {*tokenizer.all_special_ids, *tokenizer.convert_tokens_to_ids(["<|im_start|>"]), *padding}
    assert tokenizer.convert_tokens_to_ids("<think>") in legal
    for line in [*LINES, *STRINGS]:
        ids = bundle.text_tokenizer.encode(line)
        document = text_to_image(bundle.vocabulary, ids, documents(bundle)[0, -7:-2].tolist(), "2x2")
        assert document[1 : 1 + len(ids)] == ids
    with pytest.raises(InputError, match=r"id 292 \(reserved\) stands in a text"):
        text_to_image(bundle.vocabulary, [1, 292, 293], documents(bundle)[0, -7:-2].tolist(), "2x2")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_bundle_comes_back_as_it_was(architecture: str, tmp_path):
    bundle = extended(architecture)
    bundle.save_pretrained(tmp_path / "first")
    loaded = Bundle.from_pretrained(tmp_path / "first")
    assert loaded.vocabulary == bundle.vocabulary
    assert type(loaded.prior) is type(bundle.prior)
    ids = documents(bundle)
    assert torch.equal(loaded.prior(ids).logits, bundle.prior(ids).logits)
    loaded.save_pretrained(tmp_path / "second")
    files = {str(path.relative_to(tmp_path / "first")) for path in (tmp_path / "first").rglob("*") if path.is_file()}
    assert "tokenizer.model" not in files and ("chat_template.jinja" in files) == (architecture not in ("gpt2", "phi"))
    same, *_ = filecmp.cmpfiles(tmp_path / "first", tmp_path / "second", files, shallow=False)
    assert set(same) == files == set(bundle_files(tmp_path / "first"))


@pytest.mark.parametrize("architecture", TIED)  # elsewhere all codes are equally likely at first
def test_stock_transformers_load_it(architecture: str, tmp_path):
    bundle = extended(architecture)
    bundle.save_pretrained(tmp_path)
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path)
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    old = TOKENIZERS[TOKENIZER_OF[architecture]]()
    assert tokenizer("a red apple")["input_ids"] == old("a red apple")["input_ids"]
    assert len(tokenizer) == model.config.vocab_size == bundle.vocabulary.vocab_size
    words = tokenizer("red <bos>", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    prompt = text_to_image_prompt(bundle.vocabulary, words, "2x2")
    processors = LogitsProcessorList([GrammarLogitsProcessor(bundle.vocabulary)])
    ids = torch.tensor([prompt])
    output = model.generate(ids, logits_processor=processors, do_sample=False, max_new_tokens=8)[0, len(prompt) :]
    drawn = sample(
        bundle.prior,
        bundle.grammar,
        [prompt],
        uniforms([0], 8),
        SamplingConfig(temperature=0),
        stop=lambda id_: id_ == bundle.vocabulary.eos_id,
    )
    assert output.tolist()[: len(drawn.token_ids[0])] == drawn.token_ids[0]
    assert tokenizer.convert_ids_to_tokens(output.tolist())[0].startswith("<|0:0000")


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "qwen3 tied", "gpt2"])
@pytest.mark.parametrize("order", ["level", "pyramid"])
def test_it_draws_and_describes(architecture: str, order: str):
    bundle = extended(architecture, order=order)
    drawn = TextToImagePipeline(bundle)(["red apple", "", "a <bos> </image>"], seed=1, guidance_scale=2.0)
    assert [image.size for image in drawn.images] == [(16, 16)] * 3
    described = ImageToTextPipeline(bundle)(drawn.images, max_new_tokens=8, temperature=1.0)
    assert len(described.captions) == 3
    assert bool(drawn.bits.isfinite().all() and described.bits.isfinite().all())
    rate = measure_rate(bundle.prior, bundle.grammar, documents(extended(architecture)).tolist())
    assert min(rate.level_bits) > 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_goes_on(architecture: str):
    bundle = extended(architecture)
    model, ids = bundle.prior, documents(bundle)  # in evaluation mode: GPT-2 has dropout
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = loss(model, ids)
    before.backward()
    optimizer.step()
    assert loss(model, ids).item() < before.item()


PARTS = {"llama": ["embed_tokens", "lm_head"], "qwen3 tied": ["embed_tokens"]}


@pytest.mark.parametrize("architecture", PARTS)
def test_an_adapter_and_the_new_rows_train_alone(architecture: str, tmp_path):
    peft = pytest.importorskip("peft")
    bundle = extended(architecture)
    ids, new = documents(bundle), list(new_ids(bundle))
    before = {name: value.clone() for name, value in bundle.prior.state_dict().items()}
    lora = peft.LoraConfig(
        r=2, target_modules=["q_proj", "v_proj"], trainable_token_indices=dict.fromkeys(PARTS[architecture], new)
    )
    model = peft.get_peft_model(bundle.prior, lora)
    start = loss(model, ids)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):  # in the first step only one half of each adapter has a gradient
        optimizer.zero_grad()
        loss(model, ids).backward()
        optimizer.step()
    assert loss(model, ids).item() < start.item()
    merged = model.merge_and_unload()
    changed = {name for name, value in merged.state_dict().items() if not torch.equal(value, before[name])}
    tables = {"model.embed_tokens.weight", "lm_head.weight"}
    assert changed - tables == {name for name in before if "q_proj.weight" in name or "v_proj.weight" in name}
    assert changed >= tables
    for name in tables:
        assert torch.equal(merged.state_dict()[name][: new[0]], before[name][: new[0]])
    replace(bundle, prior=merged).save_pretrained(tmp_path)
    again = Bundle.from_pretrained(tmp_path)
    torch.testing.assert_close(again.prior(ids).logits, merged(ids).logits)


def test_the_image_tokenizer_may_come_loaded(tmp_path):
    loaded = load_image_tokenizer(tokenizer_folder())
    bundle = extend_language_model(language_model("gpt2"), TOKENIZERS["gpt2"](), loaded)
    assert bundle.vocabulary.codes_fingerprint == loaded.codes_fingerprint
    assert bundle.vocabulary.sizes == {"2x2": GRIDS}


def test_several_sizes_and_the_order_are_the_vocabulary_s():
    bundle = extended("gpt2", sizes=[GRIDS, ((1, 1), (2, 3))], order="pyramid")
    assert set(bundle.vocabulary.sizes) == {"2x2", "2x3"} and bundle.vocabulary.order == "pyramid"


def refusal(model: Any, tokenizer: Any, **settings: Any) -> str:
    """What is said, after a check that the model is as it was."""
    before = rows(model) if isinstance(model, PreTrainedModel) and model.can_generate() else {}
    with pytest.raises(InputError) as error:
        extend_language_model(model, tokenizer, image_tokenizer(), processor(), **settings)
    if before:
        after = rows(model)
        assert all(torch.equal(value, after[name]) for name, value in before.items())
    return str(error.value)


def test_a_tokenizer_of_another_model_is_refused():
    size = num_tokens("qwen") - 2
    model = MODELS["llama"](size)
    assert f"ids up to {size + 1}, but the model has {size} embeddings: they do not" in refusal(
        model, TOKENIZERS["qwen"]()
    )
    assert "expected the model's tokenizer" in refusal(language_model("gpt2"), "gpt2")


def test_models_that_are_no_causal_lm_are_refused():
    backbone = language_model("llama").base_model
    assert "LlamaModel is no causal language model" in refusal(backbone, TOKENIZERS["llama2"]())
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=300, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2))
    assert "T5ForConditionalGeneration is no causal language model" in refusal(t5, TOKENIZERS["unigram"]())
    assert "Linear is no model of transformers" in refusal(nn.Linear(2, 2), TOKENIZERS["gpt2"]())


def test_an_adapter_of_peft_is_refused():
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(language_model("llama"), peft.LoraConfig(target_modules=["q_proj"]))
    assert "of a PEFT model pass the merged one" in refusal(model, TOKENIZERS["llama2"]())


def test_an_output_layer_of_another_size_is_refused():
    model = language_model("llama")
    model.lm_head = nn.Linear(32, 7, bias=False)
    assert "LlamaForCausalLM cannot grow" in refusal(model, TOKENIZERS["llama2"]())
    model = language_model("llama")
    model.config.vocab_size -= 1
    assert "expected one number" in refusal(model, TOKENIZERS["llama2"]())


def test_a_model_without_a_context_is_refused():
    bloom = BloomForCausalLM(BloomConfig(vocab_size=300, hidden_size=16, n_layer=1, n_head=2))
    assert "BloomForCausalLM does not say how long its context is" in refusal(bloom, TOKENIZERS["unigram"]())


def test_nothing_is_extended_twice(tmp_path):
    bundle = extended("qwen3")
    bundle.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert "has image tokens, such as <|0:00000|>, already" in refusal(bundle.prior, tokenizer)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "spiral"}, "order is 'spiral', expected one of level, pyramid"),
        ({"sizes": [((1, 1), (2, 2), (4, 4))]}, "expected 2 levels"),
        ({"sizes": []}, "at least one image size"),
    ],
)
def test_orders_and_sizes_that_do_not_fit_are_refused(settings: dict[str, Any], message: str):
    assert message in refusal(language_model("gpt2"), TOKENIZERS["gpt2"](), **settings)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_missing_file_is_named(name: str, tmp_path):
    extended("gpt2").save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"lacks {name}"):
        Bundle.from_pretrained(tmp_path)


def test_the_tokenizer_of_another_bundle_is_refused(tmp_path):
    for architecture in ("gpt2", "qwen3"):
        extended(architecture).save_pretrained(tmp_path / architecture)
    (tmp_path / "gpt2" / "tokenizer.json").write_bytes((tmp_path / "qwen3" / "tokenizer.json").read_bytes())
    with pytest.raises(InputError, match=r"reserved\) is not the vocabulary's|does not belong to"):
        Bundle.from_pretrained(tmp_path / "gpt2")


def test_settings_for_text_do_not_draw_pictures():
    model = language_model("qwen3")
    model.generation_config.update(do_sample=True, temperature=0.6, top_k=20, top_p=0.95)
    bundle = extend_language_model(model, qwen(), image_tokenizer(), processor())
    assert bundle.prior.generation_config is not None and bundle.prior.generation_config.top_k == 20
    assert bundle.image_generation_config is None
