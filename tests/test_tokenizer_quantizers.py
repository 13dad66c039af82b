from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pictogram.hub.errors import InputError
from pictogram.tokenizer import quantizer as search
from pictogram.tokenizer.config import QUANTIZERS, ImageTokenizerConfig
from pictogram.tokenizer.ema_codebook import EMACodebook
from pictogram.tokenizer.fsq import FSQ
from pictogram.tokenizer.l2_codebook import L2Codebook
from pictogram.tokenizer.lfq import LFQ
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.quantizer import Quantizer, channels_last
from pictogram.tokenizer.quantizers import build_quantizer

CLASSES = {"ema": EMACodebook, "l2": L2Codebook, "fsq": FSQ, "lfq": LFQ}


def config(quantizer: str, **settings: Any) -> ImageTokenizerConfig:
    """Three levels whose sizes suit every quantizer."""
    sizes = [5 if quantizer == "fsq" else 4, 64, 16]
    shapes: dict[str, Any] = {"strides": ["image", 8, 4], "codebook_sizes": sizes, "image_size": 16}
    widths: dict[str, Any] = {"codebook_dim": 4, "hidden_size": 8, "num_blocks": 1}
    return ImageTokenizerConfig(quantizer=quantizer, **shapes | widths | settings)


def make(quantizer: str, **settings: Any) -> ImageTokenizer:
    torch.manual_seed(0)
    model = ImageTokenizer(config(quantizer, **settings)).eval()
    model.start_codebooks(pictures(8, seed=1), seed=0)
    return model


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    """Smooth pictures in [-1, 1]: noise of 2x2 pixels made large."""
    noise = torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(noise, (16, 16), mode="bilinear")


def train(model: ImageTokenizer, pixel_values: torch.Tensor, num_steps: int, dtype: torch.dtype | None = None) -> None:
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(num_steps):
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            output = model(pixel_values)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        model.update_codebooks(output)
    model.eval()


def is_finite(model: ImageTokenizer) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())


# From a configuration to a quantizer


def test_every_name_has_its_class():
    assert tuple(CLASSES) == QUANTIZERS


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_sizes_and_estimators_reach_each_level(quantizer):
    estimator = "straight_through" if quantizer == "fsq" else "rotation"
    settings = config(quantizer, gradient_estimator=estimator, entropy_weight=0.3, codebook_decay=0.7)
    for level, size in enumerate(settings.codebook_sizes):
        built = build_quantizer(settings, level)
        assert type(built) is CLASSES[quantizer]
        assert (built.codebook_size, built.gradient) == (size, estimator)
        assert built.table().shape == (size, built.dim)
        if isinstance(built, EMACodebook | L2Codebook):
            assert (built.dim, built.decay, built.revival_threshold) == (4, 0.7, settings.revival_threshold)
        if isinstance(built, LFQ):
            assert built.entropy_weight == 0.3


@pytest.mark.parametrize(
    ("quantizer", "size", "message"),
    [
        ("fsq", 17, "product of numbers 3 to 16"),
        ("fsq", 2, "product"),
        ("fsq", 1, "product"),
        ("lfq", 48, "power of 2"),
    ],
)
def test_sizes_a_grid_cannot_have(quantizer, size, message):
    with pytest.raises(InputError, match=f"{message}.* got {size}"):
        ImageTokenizer(config(quantizer, codebook_sizes=[4 if quantizer == "lfq" else 5, 64, size]))


# Memory: never a matrix of all points by all codes


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation gives."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        sizes = [leaf.untyped_storage().nbytes() // 4 for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        return out


def test_the_largest_tensor_is_noted():
    with LargestTensor() as noted:
        torch.mm(torch.zeros(100, 1), torch.zeros(1, 50))
    assert noted.largest == 5000


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_points_by_codes_never_exists(quantizer, monkeypatch):
    monkeypatch.setattr(search, "_BLOCK", 1 << 16)
    size, latents = 1024, None
    built = build_quantizer(config(quantizer, strides=[4], codebook_sizes=[size], codebook_dim=8), 0)
    latents = torch.randn(16, built.dim, 16, 16, requires_grad=True)  # 4096 points
    with LargestTensor() as noted:
        built.start(latents.detach()[:8], seed=0)
        quantized = built.quantize(latents)
        loss = quantized.quantized.sum() + quantized.commitment_loss
        if quantized.codebook_loss is not None:
            loss = loss + quantized.codebook_loss
        loss.backward()
        built.update(quantized.latents, quantized.indices)
        built.vectors(quantized.indices)
    # 4096 x 1024 would be 4,194,304; what is allowed is a block, or the square roots of K per point in LFQ.
    assert noted.largest <= 4096 * 64


# In the model


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_codes_and_pictures(quantizer):
    model, pixel_values = make(quantizer), pictures(5)
    codes = model.encode(pixel_values)
    output = model(pixel_values)
    assert all(torch.equal(a, b) for a, b in zip(output.codes, codes, strict=True))
    for level, (codebook, grid) in enumerate(zip(model._codebooks(), codes, strict=True)):
        assert 0 <= int(grid.min()) <= int(grid.max()) < model.config.codebook_sizes[level]
        assert torch.equal(model.code_vectors(level)[grid].permute(0, 3, 1, 2), codebook.vectors(grid))
    # Training sees what decoding gives, bit for bit.
    assert torch.equal(output.reconstruction.clamp(-1, 1), model.decode(codes))
    for num_levels in (1, 2):
        others = [torch.zeros_like(grid) for grid in codes[num_levels:]]
        expected = model.decode(codes, num_levels)
        assert torch.equal(model.decode([*codes[:num_levels], *others], num_levels), expected)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_codes_of_a_level_hang_on_pixels_and_coarser_codes_only(quantizer):
    model, pixel_values = make(quantizer), pictures(16)
    codes = model.encode(pixel_values)
    with torch.no_grad():  # another last level, another decoder
        for part in (model.encoder.to_latents[2], model.decoder):
            for parameter in part.parameters():
                parameter.neg_()
    changed = model.encode(pixel_values)
    assert [torch.equal(a, b) for a, b in zip(codes, changed, strict=True)] == [True, True, False]
    # With the coarser codes given, the pixels decide: another level 0 speaks to the levels after it.
    model = make(quantizer)
    with torch.no_grad():
        for parameter in model.encoder.to_latents[0].parameters():
            parameter.neg_()
    changed = model.encode(pixel_values)
    assert not torch.equal(codes[0], changed[0])
    assert not torch.equal(codes[1], changed[1])


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_saved_and_loaded_bit_for_bit(quantizer, tmp_path):
    model, pixel_values = make(quantizer), pictures(4)
    train(model, pixel_values, 3)
    model.save_pretrained(tmp_path)
    loaded = ImageTokenizer.from_pretrained(tmp_path)
    assert loaded.config.quantizer == quantizer
    codes = model.encode(pixel_values)
    assert all(torch.equal(a, b) for a, b in zip(loaded.encode(pixel_values), codes, strict=True))
    assert torch.equal(loaded.decode(codes), model.decode(codes))
    assert torch.equal(loaded(pixel_values).loss, model(pixel_values).loss)
    for own, other in ((model.codes_tensors(), loaded.codes_tensors()), (model.state_dict(), loaded.state_dict())):
        assert own.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_training_lowers_the_distortion(quantizer, estimator):
    if (quantizer, estimator) == ("fsq", "rotation"):
        with pytest.raises(InputError, match="FSQ rounds each channel by itself"):
            config(quantizer, gradient_estimator=estimator)
        return
    model, pixel_values = make(quantizer, gradient_estimator=estimator), pictures(8)
    before = model(pixel_values).distortion.item()
    train(model, pixel_values, 30)
    assert model(pixel_values).distortion.item() < 0.7 * before
    assert is_finite(model)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("level", [0.0, 0.5])
def test_pictures_of_one_colour_train_without_harm(quantizer, level):
    model, pixel_values = make(quantizer), torch.full((4, 3, 16, 16), level)
    model.start_codebooks(pixel_values, seed=0)
    before = model(pixel_values).distortion.item()
    train(model, pixel_values, 8)
    assert is_finite(model)
    assert model(pixel_values).distortion.item() < before + 1e-6


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_a_batch_of_one_starts_and_trains(quantizer):
    model, pixel_values = make(quantizer), pictures(1)
    model.start_codebooks(pixel_values, seed=0)  # fewer latents than codes
    train(model, pixel_values, 5)
    assert is_finite(model)
    assert [len(grid) for grid in model.encode(pixel_values)] == [1, 1, 1]


@pytest.mark.parametrize("quantizer", ["ema", "l2"])
def test_codebooks_of_one_code(quantizer):
    model, pixel_values = make(quantizer, codebook_sizes=[1, 1, 1]), pictures(4)
    train(model, pixel_values, 10)
    assert is_finite(model)
    assert not any(grid.any() for grid in model.encode(pixel_values))


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_codes_legal_and_vectors_exact(quantizer, dtype):
    model, pixel_values = make(quantizer), pictures(8)
    with torch.autocast("cpu", dtype):
        output = model(pixel_values)
        levels = model._quantize(pixel_values)
    for codebook, level in zip(model._codebooks(), levels, strict=True):
        assert 0 <= int(level.indices.min()) <= int(level.indices.max()) < codebook.codebook_size
        # The search and the vectors are those of float32, on the latents that half precision gave.
        again = codebook.quantize(level.latents.float())
        assert torch.equal(level.indices, again.indices)
        assert level.quantized.dtype == torch.float32
        assert torch.equal(level.quantized, codebook.vectors(level.indices))
    assert output.loss.dtype == torch.float32
    train(model, pixel_values, 2, dtype)
    assert is_finite(model)


# Where the losses' gradients go


def gradients(quantizer: str, weight: float) -> tuple[float, float]:
    """Norms of what the losses of the codes, without the distortions, send to the encoder and to the codebooks."""
    model, pixel_values = make(quantizer, commitment_weight=weight), pictures(4)
    output = model(pixel_values)
    (output.loss - output.distortion - output.prefix_loss).backward()
    norms = []
    for part in (model.encoder, model.codebooks):
        found = [parameter.grad for parameter in part.parameters() if parameter.grad is not None]
        norms.append(float(torch.cat([g.flatten() for g in found]).norm()) if found else 0.0)
    assert not any(parameter.grad is not None and parameter.grad.any() for parameter in model.decoder.parameters())
    return norms[0], norms[1]


@pytest.mark.parametrize("quantizer", ["ema", "l2"])
def test_beta_weighs_the_gradient_of_the_encoder_only(quantizer):
    encoder, codebooks = gradients(quantizer, 0.25)
    for weight in (0.0, 1.0, 2.5):
        other_encoder, other_codebooks = gradients(quantizer, weight)
        assert other_encoder == pytest.approx(encoder * weight / 0.25, rel=1e-4)
        assert other_codebooks == pytest.approx(codebooks, rel=1e-6)
    assert encoder > 0
    assert (codebooks > 0) == (quantizer == "l2")


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_the_loss_is_the_sum_of_its_parts(quantizer):
    output = make(quantizer, commitment_weight=0.7)(pictures(4))
    expected = output.distortion + output.prefix_loss + 0.7 * output.commitment_loss + output.codebook_loss
    torch.testing.assert_close(output.loss, expected)
    assert bool(output.codebook_loss) == (quantizer in ("l2", "lfq"))
    assert bool(output.commitment_loss) == (quantizer != "fsq")


def test_every_quantizer_is_one():
    for quantizer in QUANTIZERS:
        for built in make(quantizer)._codebooks():
            assert isinstance(built, Quantizer)
            assert channels_last(built.vectors(torch.zeros(1, 1, 1, dtype=torch.int64))).shape == (1, built.dim)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_half_precision_weights(quantizer):
    model = make(quantizer).bfloat16()
    codes = model.encode(pictures(2).bfloat16())
    assert model.decode(codes).isfinite().all()
