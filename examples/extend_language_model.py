"""Give a language model the image vocabulary, train it on for a few steps, and draw with it.

The model here is a tiny random one, made on the spot. In earnest it comes from a folder or the Hub:
AutoModelForCausalLM.from_pretrained("Qwen/Qwen3-0.6B-Base") and AutoTokenizer.from_pretrained of the same name.

python examples/extend_language_model.py pictogram-demo/codes pictogram-demo/image-tokenizer extended-bundle
"""

import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pictogram import Bundle, TextToImagePipeline, extend_language_model, load_codes, load_image_tokenizer
from pictogram.lm.documents import images_to_ids, text_to_image

NUM_STEPS, BATCH_SIZE = 20, 8


def tiny_tokenizer(captions: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with one special token, as GPT-2 has it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore - tokenizers' types
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def tiny_model(vocab_size: int) -> LlamaForCausalLM:
    """A Llama of two layers."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
    )
    return LlamaForCausalLM(config)


def train(bundle: Bundle, documents: list[list[int]]) -> None:
    """A few steps of any trainer: documents are lists of ids, padded here with `<pad>`, which costs nothing."""
    optimizer = torch.optim.AdamW(bundle.prior.parameters(), lr=3e-3)
    for step in range(NUM_STEPS):
        chosen = [torch.tensor(documents[(step * BATCH_SIZE + row) % len(documents)]) for row in range(BATCH_SIZE)]
        input_ids = pad_sequence(chosen, batch_first=True, padding_value=bundle.vocabulary.pad_id)
        labels = input_ids.masked_fill(input_ids == bundle.vocabulary.pad_id, -100)
        loss = bundle.prior(input_ids=input_ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in (0, NUM_STEPS - 1):
            print(f"step {step + 1}: {loss.item():.2f} nats per token")


def main(codes_folder: str, image_tokenizer: str, output: str) -> None:
    """Extends, trains, saves and draws."""
    images = load_image_tokenizer(image_tokenizer)
    codes = load_codes(codes_folder, "train", tokenizer=images)
    captions = [codes.captions(row)[0] for row in range(len(codes))]
    tokenizer = tiny_tokenizer(captions)
    model = tiny_model(len(tokenizer))

    bundle = extend_language_model(model, tokenizer, images, sizes=[codes.shared_grids])
    vocabulary, encode = bundle.vocabulary, bundle.text_tokenizer.encode
    print(f"{len(tokenizer)} old ids, {vocabulary.vocab_size - len(tokenizer)} new ones")

    image_ids = images_to_ids(vocabulary, codes.codes(range(len(codes))))
    size = vocabulary.size_of(codes.shared_grids)
    texts = map(encode, captions)
    train(bundle, [text_to_image(vocabulary, text, ids, size) for text, ids in zip(texts, image_ids, strict=True)])

    bundle.save_pretrained(output)  # a bundle like any other
    draw = TextToImagePipeline.from_pretrained(output)
    draw("red apple", seed=0).images[0].save(f"{output}/samples.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
