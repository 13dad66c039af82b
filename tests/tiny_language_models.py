"""Other people's language models at tiny sizes: tokenizers of every kind, and models that fit them."""

import functools
import json
from collections.abc import Callable
from typing import Any

import torch
from tiny_chain import image_tokenizer, processor
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pictogram.lm.bundle import Bundle
from pictogram.lm.extend import extend_language_model

LINES = ["red apple", "green pear", "blue plum, ripe", "grinning face", "a café at 10:30", "日本の旗 <image 4x4>"] * 4
STRINGS = ["<bos>", "</image>", "<image 2x2>", "<|0:00001|>", "<|1:00003|>", "<pad>", "<s>", "</s>", "<|endoftext|>"]
STRINGS += ["<unk>", "[UNK]", "[CLS]", "<0x41>", "<|reserved:301|>", "<think>", "<joint:bos>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}[{{ message.role }}] {{ message.content }}{% endfor %}"
)


def _trained(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def _byte_pairs(**settings: Any) -> Tokenizer:
    """As in GPT-2: bytes as characters, no unknown token."""
    tokenizer = Tokenizer(models.BPE(**settings))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(tokenizer, trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False))


def gpt2() -> GPT2Tokenizer:
    """Of 291 tokens, "<|endoftext|>" the last; a class that builds its tokenizer from a vocabulary and merges."""
    model = json.loads(_byte_pairs().to_str())["model"]
    vocab = model["vocab"] | {"<|endoftext|>": len(model["vocab"])}
    merges: Any = [tuple(pair) for pair in model["merges"]]
    return GPT2Tokenizer(vocab=vocab, merges=merges)


def qwen() -> PreTrainedTokenizerFast:
    """Composes characters (NFC); its added tokens lie behind the vocabulary, some of them plain text; chats."""
    tokenizer = _byte_pairs()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=64,
    )


def llama3() -> PreTrainedTokenizerFast:
    """Looks whole words up before it merges, and puts its own token in front of every text."""
    tokenizer = _byte_pairs(ignore_merges=True)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|eot_id|>"])
    start = ("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start[0]} $A", special_tokens=[start])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=start[0], eos_token="<|eot_id|>", chat_template=CHAT_TEMPLATE
    )


def _metaspace() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Metaspace(prepend_scheme="first", split=True)


def llama2() -> LlamaTokenizer:
    """Sentencepiece's way: "<unk>", "<s>" and "</s>" first, then bytes; a space before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _metaspace()
    model = json.loads(_trained(tokenizer, trainers.BpeTrainer(vocab_size=80, show_progress=False)).to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    vocab = {piece: id_ for id_, piece in enumerate(dict.fromkeys(pieces))}
    merges: Any = [tuple(pair) for pair in model["merges"]]
    return LlamaTokenizer(vocab=vocab, merges=merges, add_bos_token=True, chat_template=CHAT_TEMPLATE)


def gemma() -> PreTrainedTokenizerFast:
    """Has tokens that are spelled as ours: "<pad>", "<eos>" and "<bos>"."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "</image>"]
    trained = _trained(tokenizer, trainers.BpeTrainer(vocab_size=90, special_tokens=special, show_progress=False))
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


def unigram() -> PreTrainedTokenizerFast:
    """As in XGLM: pieces with scores, one special token behind them."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False)
    trained = _trained(tokenizer, trainer)
    trained.add_special_tokens(["<madeupword0>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def bert() -> PreTrainedTokenizerFast:
    """Word pieces in lower case."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trained = _trained(
        tokenizer, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    )


def words() -> PreTrainedTokenizerFast:
    """Whole words between spaces, with a gap in its ids."""
    known = ["[UNK]", "<s>", "red", "green", "apple", "pear", "<image", "4x4>"]
    vocab = {word: id_ + (id_ > 3) for id_, word in enumerate(known)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="[UNK]")


TOKENIZERS: dict[str, Callable[[], Any]] = {
    make.__name__: functools.cache(make) for make in (gpt2, qwen, llama3, llama2, gemma, unigram, bert, words)
}
"""Each is made once; tests leave them as they are."""

_SHAPE = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def _shape(vocab_size: int, **settings: Any) -> dict[str, Any]:
    return {**_SHAPE, "vocab_size": vocab_size, "max_position_embeddings": 64, "initializer_range": 0.3, **settings}


def _qwen3(vocab_size: int, *, tied: bool) -> Qwen3ForCausalLM:
    heads = {"num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": tied}
    return Qwen3ForCausalLM(Qwen3Config(**_shape(vocab_size, **heads)))


def _gpt2(vocab_size: int) -> GPT2LMHeadModel:
    config = GPT2Config(vocab_size=vocab_size, n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3)
    return GPT2LMHeadModel(config)


MODELS = {
    "llama": lambda size: LlamaForCausalLM(LlamaConfig(**_shape(size))),
    "qwen3": lambda size: _qwen3(size, tied=False),
    "qwen3 tied": lambda size: _qwen3(size, tied=True),
    "gpt2": _gpt2,
    "phi": lambda size: PhiForCausalLM(PhiConfig(**_shape(size))),
}
"""By architecture: from the number of embeddings to a model. Phi has a bias in its output layer."""

TOKENIZER_OF = {"llama": "llama2", "qwen3": "qwen", "qwen3 tied": "llama3", "gpt2": "gpt2", "phi": "gemma"}


def language_model(architecture: str, *, padding: int = 10, seed: int = 0) -> PreTrainedModel:
    """Random, in evaluation mode, with `padding` rows more than its tokenizer has tokens."""
    torch.manual_seed(seed)
    model = MODELS[architecture](num_tokens(TOKENIZER_OF[architecture]) + padding).eval()
    head = model.get_output_embeddings()
    if head.bias is not None:
        torch.nn.init.normal_(head.bias)
    return model


def num_tokens(tokenizer: str) -> int:
    return 1 + max(TOKENIZERS[tokenizer]().get_vocab().values())


def extended(architecture: str, *, seed: int = 0, **settings: Any) -> Bundle:
    """A bundle around a fresh model."""
    tokenizer = TOKENIZERS[TOKENIZER_OF[architecture]]()
    model = language_model(architecture, seed=seed)
    return extend_language_model(model, tokenizer, image_tokenizer(), processor(), **settings)
