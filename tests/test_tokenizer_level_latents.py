import torch
from tiny_chain import NUM_PICTURES, image_tokenizer, pictures, processor

from pictogram.tokenizer.level_latents import level_latents
from pictogram.tokenizer.pixel_dataset import load_pixels


def dataset():
    return load_pixels(str(pictures()), "train", processor())[0]


def test_latents_are_those_that_encode_turns_into_codes():
    model, pixels = image_tokenizer(), dataset().pixels(range(NUM_PICTURES))
    levels = level_latents(model, dataset(), batch_size=5)
    for level, (found, codes) in enumerate(zip(levels, model.encode(pixels), strict=True)):
        assert torch.equal(found.codes, codes.flatten())
        assert found.rows.tolist() == [row for row in range(NUM_PICTURES) for _ in range(codes[0].numel())]
        nearest = torch.cdist(found.latents, model.code_vectors(level)).argmin(1)
        assert torch.equal(nearest, found.codes)


def test_some_of_them_are_the_same_for_every_tokenizer_and_batch():
    all_of_them = level_latents(image_tokenizer(), dataset())
    some = level_latents(image_tokenizer(), dataset(), most=20, seed=3)
    others = level_latents(image_tokenizer(seed=1), dataset(), most=20, seed=3, batch_size=3)
    assert [len(level.latents) for level in some] == [16, 20]
    assert torch.equal(some[1].rows, others[1].rows)
    assert not torch.equal(some[1].rows, level_latents(image_tokenizer(), dataset(), most=20, seed=4)[1].rows)
    distances = torch.cdist(some[1].latents, all_of_them[1].latents).amin(1)
    torch.testing.assert_close(distances, torch.zeros(20), atol=1e-3, rtol=0)


def test_progress_counts_pictures():
    counted: list[int] = []
    level_latents(image_tokenizer(), dataset(), batch_size=7, progress=counted.append)
    assert counted == [7, 7, 2]
