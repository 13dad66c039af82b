"""Training an image tokenizer: one accelerate loop, the same on one process and on many.

Example:
    python -m pictogram.tokenizer.train --data photos/ --output image-tokenizer
    torchrun --nproc_per_node 2 -m pictogram.tokenizer.train --output image-tokenizer
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from accelerate.utils import set_seed

from ..hub.errors import InputError
from ..hub.files import atomic_files, read_json
from ..hub.fingerprint import fingerprint
from .accelerators import PRECISIONS, finish, start_accelerator, tracker_names
from .batches import derived_generator, global_batch, process_slice
from .checkpoints import MetricsLog, TrainingFolder
from .command_line import check_options, command, option, run_command, seed_option
from .config import WHOLE_IMAGE, ImageTokenizerConfig
from .evaluation import evaluate_tokenizer
from .image_processor import ImageTokenizerImageProcessorPil
from .images import Failure, PixelDataset, load_pixels
from .model import ImageTokenizer
from .pictures import reconstruction_grid, save_picture
from .progress import progress_bar
from .schedule import cosine, set_learning_rate

_NUM_START_IMAGES = 1024
_NUM_START_PIXELS = 1 << 24
"""The k-means start looks at so many pictures, or at fewer large ones, which go through the encoder at once."""


@dataclass(kw_only=True)
class TokenizerTrainingConfig:
    """Everything the numbers of a tokenizer training depend on, and where it writes.

    The description of each field is its command-line help.
    """

    output: str = option("image-tokenizer", "Folder for the trained tokenizer; training again into it goes on.")
    data: str = option("embedded", 'Pictures: "embedded", a folder of images, parquet, or any `datasets` name.')
    split: str = option("train", "Split of the data to train on.")
    image_size: int = option(32, "Side of the training pictures, pixels.", at_least=1)
    strides: str = option("image,8,4", 'Levels, coarse to fine: pixels per code, or "image" for one code per image.')
    codebook_sizes: str = option("64,256,256", "Codes per level.")
    codebook_dim: int = option(16, "Length of a code vector.", at_least=1)
    patch_size: int = option(4, "Pixels per cell of the finest feature grid; divides the finest stride.", at_least=1)
    hidden_size: int = option(96, "Feature channels.", at_least=1)
    num_blocks: int = option(2, "Residual blocks per grid.", at_least=0)
    num_steps: int = option(3000, "Training steps.", at_least=1)
    batch_size: int = option(64, "Pictures per step, over all processes.", at_least=1)
    learning_rate: float = option(2e-3, "Peak learning rate.", above=0)
    warmup_steps: int = option(50, "Steps of linear warm-up; a cosine follows.", at_least=0)
    weight_decay: float = option(0.01, "AdamW weight decay.", at_least=0)
    max_grad_norm: float = option(1.0, "Gradient norm above which gradients are scaled down.", above=0)
    prefix_dropout: float = option(0.08, "Share of pictures decoded from each proper prefix of the levels.")
    revival_threshold: float = option(
        0.05, "A code used less than this fraction of the average is replaced.", at_least=0
    )
    seed: int = seed_option()
    checkpoint_every: int = option(500, "Steps between checkpoints.", at_least=1)
    log_every: int = option(50, "Steps between lines of metrics.jsonl.", at_least=1)
    picture_every: int = option(
        0, "Steps between pictures of reconstructions; 0 makes one at the end only.", at_least=0
    )
    mixed_precision: str = option("no", '"no", "fp16" or "bf16"; on a CPU "no" is the fast one.', one_of=PRECISIONS)
    trackers: str = option("", "accelerate trackers to report to, such as tensorboard or wandb, comma-separated.")

    def __post_init__(self) -> None:
        check_options(self)
        tracker_names(self.trackers)

    def model_config(self) -> ImageTokenizerConfig:
        """The configuration of the model to train.

        Raises:
            InputError: strides or sizes that are no numbers, or do not fit together.
        """
        strides = [
            WHOLE_IMAGE if stride.strip() == WHOLE_IMAGE else integer("strides", stride)
            for stride in self.strides.split(",")
        ]
        return ImageTokenizerConfig(
            image_size=self.image_size,
            strides=strides,
            codebook_sizes=[integer("codebook_sizes", size) for size in self.codebook_sizes.split(",")],
            codebook_dim=self.codebook_dim,
            patch_size=self.patch_size,
            hidden_size=self.hidden_size,
            num_blocks=self.num_blocks,
            prefix_dropout=[self.prefix_dropout] * (len(strides) - 1),
            revival_threshold=self.revival_threshold,
        )

    def settings(self) -> dict[str, Any]:
        """What a resumed run must agree on: everything but where and how often it reports."""
        reporting = {"output", "checkpoint_every", "log_every", "picture_every", "trackers"}
        return {"stage": "tokenizer"} | {key: value for key, value in asdict(self).items() if key not in reporting}


def integer(name: str, text: str) -> int:
    """Parses one entry of a comma-separated option."""
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{name} must be whole numbers, got {text.strip()!r}") from None


@dataclass(frozen=True)
class TokenizerTrainingResult:
    """What a training leaves.

    Attributes:
        output: folder with the tokenizer and its image processor.
        num_images: pictures trained on.
        failures: pictures that could not be read and were left out.
    """

    output: str
    num_images: int
    failures: list[Failure]


def train_tokenizer(config: TokenizerTrainingConfig) -> TokenizerTrainingResult:
    """Trains an image tokenizer and saves it in `config.output`; goes on from the last checkpoint if there is one.

    Raises:
        InputError: unusable data or settings, or an output folder of another run.
    """
    processor = ImageTokenizerImageProcessorPil(size={"height": config.image_size, "width": config.image_size})
    model_config = config.model_config()
    model_config.grids(config.image_size, config.image_size)
    dataset, failures = load_pixels(config.data, config.split, processor)
    pictures = {"num_images": len(dataset), "pictures": fingerprint({}, {"keys": dataset.source.keys})[:16]}
    folder = TrainingFolder(config.output, config.settings() | pictures)
    result = TokenizerTrainingResult(config.output, len(dataset), failures)
    if not folder.is_complete:
        _Trainer(config, model_config, folder, dataset, processor).run(failures)
    return result


class _Trainer:
    """The state of one training run on one process."""

    def __init__(
        self,
        config: TokenizerTrainingConfig,
        model_config: ImageTokenizerConfig,
        folder: TrainingFolder,
        dataset: PixelDataset,
        processor: ImageTokenizerImageProcessorPil,
    ):
        self.config, self.folder, self.dataset, self.processor = config, folder, dataset, processor
        self.accelerator = start_accelerator(config.mixed_precision, config.trackers, config.output)
        set_seed(config.seed)
        model = ImageTokenizer(model_config).to(self.accelerator.device).train()
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            trainable, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay
        )
        self.share = process_slice(config.batch_size, self.accelerator.process_index, self.accelerator.num_processes)
        if folder.latest() is None:
            self._start_codebooks(model)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        if self.accelerator.is_main_process:
            folder.open()
        self.accelerator.init_trackers("pictogram-tokenizer", config=config.settings())

    def run(self, failures: list[Failure]) -> None:
        """Trains from the last checkpoint to the end, and saves the result."""
        first_step = self.folder.load(self.accelerator)
        is_main = self.accelerator.is_main_process
        log = MetricsLog(self.folder.path / "metrics.jsonl" if is_main else None, first_step)
        with progress_bar("tokenizer", self.config.num_steps, first_step, enabled=is_main) as advance:
            for step in range(first_step, self.config.num_steps):
                metrics = self._step(step)
                done = step + 1
                if done % self.config.log_every == 0 or done == self.config.num_steps:
                    values = {name: self._mean(value) for name, value in metrics.items()}
                    log.write(done, **values)
                    self.accelerator.log(values, step=done)
                if self.config.picture_every and done % self.config.picture_every == 0:
                    self._draw(done)
                if done % self.config.checkpoint_every == 0 and done < self.config.num_steps:
                    self.folder.save(self.accelerator, done)
                advance(1)
        self._finish(failures)

    def _start_codebooks(self, model: ImageTokenizer) -> None:
        """Every process runs k-means on the same pictures, so that all start with the same vectors."""
        most = max(1, min(_NUM_START_IMAGES, _NUM_START_PIXELS // self.config.image_size**2))
        rows = global_batch(len(self.dataset), min(most, len(self.dataset)), self.config.seed, 0)
        model.start_codebooks(self.dataset.pixels(rows).to(self.accelerator.device), seed=self.config.seed)

    def _step(self, step: int) -> dict[str, torch.Tensor]:
        """One optimizer step on global batch `step`; returns this process's share of the logged values."""
        config = self.config
        rows = global_batch(len(self.dataset), config.batch_size, config.seed, step)[self.share]
        pixel_values = self.dataset.pixels(rows).to(self.accelerator.device)
        num_levels = self._draw_num_levels(step)[self.share].to(self.accelerator.device)
        output = self.model(pixel_values, num_levels)
        self.optimizer.zero_grad()
        self.accelerator.backward(output.loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        set_learning_rate(self.optimizer, config.learning_rate * cosine(step, config.num_steps, config.warmup_steps))
        self.optimizer.step()
        self.accelerator.unwrap_model(self.model).update_codebooks(output)
        return {name: output[name].detach() for name in ("loss", "distortion", "commitment_loss")}

    def _mean(self, value: torch.Tensor) -> float:
        """The mean over all processes, whose shares of the batch are equal."""
        return float(cast(torch.Tensor, self.accelerator.reduce(value, "mean")))

    def _draw_num_levels(self, step: int) -> torch.Tensor:
        """(batch_size,) how many coarse levels each picture of the global batch is decoded from: nested dropout."""
        shares = self.accelerator.unwrap_model(self.model).config.prefix_dropout
        draws = torch.rand(self.config.batch_size, generator=derived_generator(self.config.seed, "prefix", step))
        bounds = torch.tensor([0.0, *shares]).cumsum(0)  # (L,)
        prefix = torch.searchsorted(bounds, draws, right=True)  # 1..L: 1..L-1 are the prefixes, L is everything
        return prefix

    def _draw(self, step: int) -> None:
        if not self.accelerator.is_main_process:
            return
        model = self.accelerator.unwrap_model(self.model).eval()
        pixel_values = self.dataset.pixels(range(min(8, len(self.dataset)))).to(self.accelerator.device)
        save_picture(reconstruction_grid(model, pixel_values), self.folder.path / f"reconstructions-{step:08d}.png")
        model.train()

    def _finish(self, failures: list[Failure]) -> None:
        """Saves model, processor, a picture and the figures on the training pictures."""
        self._draw(self.config.num_steps)
        if self.accelerator.is_main_process:
            model = self.accelerator.unwrap_model(self.model).eval()
            evaluation = evaluate_tokenizer(model, self.dataset)
            with atomic_files(self.folder.path) as folder:
                model.save_pretrained(folder)
                self.processor.save_pretrained(folder)
            listed = [asdict(failure) for failure in failures]
            self.folder.complete({"steps": self.config.num_steps, "train": evaluation.to_dict(), "failures": listed})
        finish(self.accelerator)


def run_training(config: TokenizerTrainingConfig) -> dict[str, Any]:
    """Trains, and returns what the command prints."""
    result = train_tokenizer(config)
    summary = read_json(f"{config.output}/complete.json")
    return {
        "tokenizer": config.output,
        "num_images": result.num_images,
        "train": summary["train"],
        "failures": summary["failures"],
    }


main = command(
    TokenizerTrainingConfig,
    run_training,
    "train-tokenizer",
    """Train an image tokenizer: pictures -> codes -> pictures.

    Example: pictogram train-tokenizer --data photos/ --image-size 64 --output image-tokenizer
    """,
)

if __name__ == "__main__":
    run_command(main)
