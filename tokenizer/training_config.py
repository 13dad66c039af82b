"""What a tokenizer's training can be told: one typed configuration, its presets, and the model it describes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..hub.command_line import check_options, entries, numbers, option, seed_option
from ..hub.errors import InputError
from .accelerators import PRECISIONS, tracker_names
from .config import QUANTIZERS, WHOLE_IMAGE, ImageTokenizerConfig
from .gradients import ESTIMATORS
from .image_processor import ImageTokenizerImageProcessorPil
from .optimizers import OPTIMIZERS

FROZEN_PARTS = ("encoder", "codebook", "decoder", "symbols")
"""Parts of a tokenizer that a training can leave as they are."""


@dataclass(kw_only=True)
class TokenizerTrainingConfig:
    """Everything the numbers of a tokenizer training depend on, and where it writes.

    The description of each field is its command-line help.
    """

    output: str = option("image-tokenizer", "Folder for the trained tokenizer; training again into it goes on.")
    data: str = option("embedded", 'Pictures: "embedded", a folder of images, parquet, or any `datasets` name.')
    split: str = option("train", "Split of the data to train on.")
    start_from: str = option("", "Folder of a tokenizer to go on from; its shapes and pixels stay.", flag="--from")
    freeze: str = option("", "Parts that stay as they are: encoder, codebook, decoder, symbols; needs --from.")
    image_size: int = option(32, "Side of the training pictures, pixels.", at_least=1)
    num_channels: int = option(3, "3 for colour, 1 for grey.", one_of=(1, 3))
    pad: bool = option(False, "Pad smaller pictures to the size instead of enlarging them.")
    background: str = option(
        "white", 'Behind transparent pixels and around padded ones: "white" or "black".', one_of=("white", "black")
    )
    strides: str = option("image,8,4", 'Levels, coarse to fine: pixels per code, or "image" for one code per image.')
    codebook_sizes: str = option("64,256,256", "Codes per level.")
    codebook_dim: int = option(16, "Length of a code vector.", at_least=1)
    patch_size: int = option(4, "Pixels per cell of the finest feature grid; divides the finest stride.", at_least=1)
    hidden_size: int = option(96, "Feature channels.", at_least=1)
    num_blocks: int = option(2, "Residual blocks per grid.", at_least=0)
    expansion: int = option(2, "Channel expansion inside a block.", at_least=1)
    quantizer: str = option("ema", "What turns latents into codes: ema, l2, fsq or lfq.", one_of=QUANTIZERS)
    gradient_estimator: str = option(
        "straight_through", "How gradients pass the quantizer: straight_through or rotation.", one_of=ESTIMATORS
    )
    commitment_weight: float = option(0.25, "Weight of the latents' distance to their codes.", at_least=0)
    codebook_decay: float = option(0.99, "Decay per step of the codebooks' running means; less at first.", at_least=0)
    rate_weight: float = option(
        0.0,
        "Squared error of a picture, of pixels of 0 to 255, that a bit is worth; 0: none, or that of --from.",
        at_least=0,
    )
    rate_warmup: float = option(
        0.5, "Share of the steps over which the rate weight grows; then no code is revived.", at_least=0, at_most=1
    )
    num_steps: int = option(3000, "Training steps.", at_least=1)
    batch_size: int = option(64, "Pictures per step, over all processes.", at_least=1)
    optimizer: str = option("adamw", "muon or adamw.", one_of=OPTIMIZERS)
    learning_rate: float = option(2e-3, "Peak learning rate.", above=0)
    warmup_steps: int = option(50, "Steps of linear warm-up; a cosine follows.", at_least=0)
    weight_decay: float = option(0.01, "Decoupled weight decay.", at_least=0)
    max_grad_norm: float = option(1.0, "Gradient norm above which gradients are scaled down.", above=0)
    prefix_weights: str = option(
        "0.1", "Weight of the error of each proper prefix of the levels: one for all, or one each, with commas."
    )
    prefix_share: float = option(
        0.25,
        "Share of pictures that each proper prefix is decoded for; more is slower and less noisy.",
        above=0,
        at_most=1,
    )
    revival_threshold: float = option(
        0.05, "A code used less than this fraction of the average is replaced.", at_least=0
    )
    symbol_steps: int = option(
        0,
        "Steps in which whole-image codes learn kinds of pictures, before all else; then they stay. 0: no.",
        at_least=0,
    )
    symbol_neighbours: int = option(15, "Pictures nearest to each that kinds are made from.", at_least=1)
    symbol_shift: int = option(2, "Pixels by which a picture may be shifted and stay of its kind.", at_least=0)
    symbol_flip: bool = option(True, "A mirrored picture is of the same kind.")
    perceptual: str = option("", "Network of a perceptual loss: a TorchScript file or a folder of transformers.")
    perceptual_weight: float = option(0.0, "Weight of the perceptual loss; 0 leaves it out.", at_least=0)
    adversarial_weight: float = option(0.0, "Weight of the adversarial loss; 0 leaves it out.", at_least=0)
    adversarial_start: int = option(1000, "Steps before the discriminator starts to learn and to count.", at_least=0)
    adversarial_ramp: int = option(500, "Steps over which the adversarial weight then grows.", at_least=0)
    seed: int = seed_option()
    checkpoint_every: int = option(500, "Steps between checkpoints.", at_least=1)
    log_every: int = option(50, "Steps between lines of metrics.jsonl.", at_least=1)
    picture_every: int = option(
        0, "Steps between pictures of reconstructions; 0 makes one at the end only.", at_least=0
    )
    mixed_precision: str = option(
        "no", '"no", "fp16" or "bf16"; on a CPU "bf16" is faster with avx512_bf16 or amx_bf16 only.', one_of=PRECISIONS
    )
    trackers: str = option("", "accelerate trackers to report to, such as tensorboard or wandb, comma-separated.")

    def __post_init__(self) -> None:
        check_options(self)
        tracker_names(self.trackers)
        unknown = [part for part in self.frozen_parts if part not in FROZEN_PARTS]
        if unknown:
            raise InputError(f"freeze must be among {', '.join(FROZEN_PARTS)}, got {unknown[0]!r}")
        if self.frozen_parts and not self.start_from:
            raise InputError("freeze needs --from: an untrained part is not worth keeping")
        if set(self.frozen_parts) >= {"encoder", "decoder"}:
            raise InputError("encoder and decoder are both frozen: nothing is left to train")
        if self.symbol_steps and self.start_from:
            raise InputError("symbol_steps come before all else, but --from goes on from a trained tokenizer")
        if self.symbol_steps and self.rate_weight:
            raise InputError(f"symbol_steps {_SYMBOLS_BY_RATE}, got rate_weight {self.rate_weight}")
        if self.adversarial_weight:
            self._check_adversary()
        if self.mixed_precision == "fp16" and (self.optimizer == "muon" or self.adversarial_weight):
            # Its gradient scaler is updated by the first optimizer's step, and would unscale the second one wrongly.
            raise InputError('mixed_precision "fp16" works with one optimizer: adamw and no discriminator; take "bf16"')

    def _check_adversary(self) -> None:
        if self.adversarial_start >= self.num_steps:
            raise InputError(f"adversarial_start {self.adversarial_start} must be below num_steps {self.num_steps}")
        if "decoder" in self.frozen_parts:
            raise InputError("adversarial_weight needs a decoder that learns, but freeze names it")

    @property
    def frozen_parts(self) -> list[str]:
        """The entries of `freeze`."""
        return entries(self.freeze)

    @property
    def keeps_symbols(self) -> bool:
        """Whether the whole-image codes are decided before the training proper, and stay as they are."""
        return self.symbol_steps > 0 or "symbols" in self.frozen_parts

    def model_config(self) -> ImageTokenizerConfig:
        """The configuration of the model to train.

        Raises:
            InputError: strides or sizes that are no numbers, or do not fit together.
        """
        if self.symbol_steps and self.quantizer != "ema":
            raise InputError(f'symbol_steps need the quantizer "ema", got {self.quantizer!r}')
        strides = [
            WHOLE_IMAGE if stride == WHOLE_IMAGE else _integer("strides", stride) for stride in entries(self.strides)
        ]
        return ImageTokenizerConfig(
            strides=strides,
            codebook_sizes=[_integer("codebook_sizes", size) for size in entries(self.codebook_sizes)],
            prefix_weights=self._prefix_weights(len(strides)),
            own_image_features=self.symbol_steps > 0,
            **{name: getattr(self, name) for name in (*_SHAPES, *_TRAINING_CONSTANTS)},
        )

    def _prefix_weights(self, num_levels: int) -> list[float]:
        weights = numbers("prefix_weights", self.prefix_weights)
        return weights * (num_levels - 1) if len(weights) == 1 else weights

    def continued_config(self, found: ImageTokenizerConfig) -> ImageTokenizerConfig:
        """The configuration of a model that is trained on: its own shapes, our training constants.

        Raises:
            InputError: an option asks for another shape than `found` has.
        """
        default = type(self)()
        asked, defaults = replace(self, prefix_weights=default.prefix_weights).model_config(), default.model_config()
        for name in ("strides", "codebook_sizes", *_SHAPES):
            value = getattr(asked, name)
            if value not in (getattr(found, name), getattr(defaults, name)):
                raise InputError(f"{name} is {getattr(found, name)} in {self.start_from} and stays so, got {value}")
        settings = found.to_dict() | {name: getattr(self, name) for name in _TRAINING_CONSTANTS}
        settings["prefix_weights"] = self._prefix_weights(found.num_levels)
        settings["rate_weight"] = self.rate_weight or found.rate_weight
        self._check_frozen_rate(settings["rate_weight"], found.rate_weight)
        return ImageTokenizerConfig.from_dict(settings)

    def _check_frozen_rate(self, rate_weight: float, found: float) -> None:
        """A rate decides codes, so that it must not change those that are to stay."""
        if "encoder" in self.frozen_parts and rate_weight and not found:
            raise InputError("rate_weight needs a rate model that learns, but freeze names the encoder, of which it is")
        if {"encoder", "codebook"} <= {*self.frozen_parts} and rate_weight != found:
            raise InputError("another rate_weight changes codes, but freeze names encoder and codebook")
        if "symbols" in self.frozen_parts and rate_weight:
            raise InputError(f"freeze symbols {_SYMBOLS_BY_RATE}, got rate_weight {rate_weight}")

    def continued_processor(self, found: ImageTokenizerImageProcessorPil) -> ImageTokenizerImageProcessorPil:
        """`found`, which goes on making the pixels of a model that is trained on.

        Raises:
            InputError: an option asks for other padding or another background than `found` has.
        """
        asked, default = self.image_processor(), type(self)().image_processor()
        for name in ("do_pad", "background_colour"):
            value = getattr(asked, name)
            if value not in (getattr(found, name), getattr(default, name)):
                raise InputError(f"{name} is {getattr(found, name)} in {self.start_from} and stays so, got {value}")
        return found

    def image_processor(self) -> ImageTokenizerImageProcessorPil:
        """What makes pixels of the training pictures."""
        return ImageTokenizerImageProcessorPil(
            size={"height": self.image_size, "width": self.image_size},
            num_channels=self.num_channels,
            do_pad=self.pad,
            background=(255, 255, 255) if self.background == "white" else (0, 0, 0),
        )

    def settings(self) -> dict[str, Any]:
        """What a resumed run must agree on: everything but where and how often it reports."""
        reporting = {"output", "checkpoint_every", "log_every", "picture_every", "trackers"}
        return {"stage": "tokenizer"} | {key: value for key, value in asdict(self).items() if key not in reporting}


_SHAPES = (
    "image_size", "num_channels", "codebook_dim", "patch_size", "hidden_size", "num_blocks", "expansion", "quantizer",
)  # fmt: skip
_TRAINING_CONSTANTS = (
    "gradient_estimator", "commitment_weight", "codebook_decay", "revival_threshold", "rate_weight",
)  # fmt: skip


_SYMBOLS_BY_RATE = "keeps whole-image codes as they are, where a rate chooses other ones as it learns"


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{name} must be whole numbers, got {text!r}") from None
