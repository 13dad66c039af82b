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
from torch import nn

from ..hub.command_line import command, run_command
from ..hub.files import atomic_files, read_json
from ..hub.provenance import Provenance
from .accelerators import finish, start_accelerator
from .batches import global_batch, permutation, prefix_counts, process_slice
from .checkpoints import MetricsLog, TrainingFolder, check_finite
from .evaluation import evaluate_tokenizer
from .images import Failure
from .model import ImageTokenizer
from .objective import new_objective, new_perceptual
from .optimizers import build_optimizers
from .perceptual import PerceptualLoss
from .pictures import reconstruction_grid, save_picture
from .pixel_dataset import PixelDataset, load_pixels
from .presets import PRESETS
from .progress import progress_bar
from .rate_warmup import NUM_WEIGHED, weigh_rate
from .schedule import cosine, set_learning_rate
from .start import TrainingStart, new_start
from .symbol_stage import learn_symbols
from .training_config import TokenizerTrainingConfig
from .training_provenance import learned_from, tokenizer_provenance

_NUM_START_IMAGES = 1024
_NUM_START_PIXELS = 1 << 24
"""The k-means start looks at so many pictures, or at fewer large ones, which go through the encoder at once."""

_LOGGED = ("loss", "distortion", "prefix_loss", "commitment_loss", "codebook_loss")
"""What of the model's output goes into the log."""

_NUM_EVALUATED = 10_000
"""Most training pictures that the figures at the end are taken from."""


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


def train_tokenizer(config: TokenizerTrainingConfig, *, perceptual: nn.Module | None = None) -> TokenizerTrainingResult:
    """Trains an image tokenizer and saves it in `config.output`; goes on from the last checkpoint if there is one.

    Args:
        config: of the training.
        perceptual: network of a perceptual loss, in place of `config.perceptual`; see `PerceptualLoss`.

    Raises:
        InputError: unusable data or settings, or an output folder of another run.
    """
    start = new_start(config)
    size = start.config.image_size
    start.config.grids(size, size)
    perceptual_loss = new_perceptual(config, start.config, perceptual)
    dataset, failures = load_pixels(config.data, config.split, start.processor)
    pictures = {"num_images": len(dataset), "pictures": dataset.fingerprint}
    network = {"perceptual_network": perceptual_loss.fingerprint()} if perceptual_loss else {}
    folder = TrainingFolder(config.output, config.settings() | start.settings() | pictures | network)
    result = TokenizerTrainingResult(config.output, len(dataset), failures)
    if not folder.is_complete:
        _Trainer(config, start, folder, dataset, perceptual_loss).run(failures)
    return result


class _Trainer:
    """The state of one training run on one process."""

    def __init__(
        self,
        config: TokenizerTrainingConfig,
        start: TrainingStart,
        folder: TrainingFolder,
        dataset: PixelDataset,
        perceptual_loss: PerceptualLoss | None = None,
    ):
        self.config, self.folder, self.dataset, self.processor = config, folder, dataset, start.processor
        self.data, self.earlier = learned_from(config.data, config.split, dataset), start.earlier
        self.accelerator = start_accelerator(config.mixed_precision, config.trackers, config.output)
        set_seed(config.seed)
        model = start.model().to(self.accelerator.device).train()
        optimizers = build_optimizers(
            model, config.optimizer, learning_rate=config.learning_rate, weight_decay=config.weight_decay
        )
        self.share = process_slice(config.batch_size, self.accelerator.process_index, self.accelerator.num_processes)
        if folder.latest() is None and not start.is_trained:
            self._start_codebooks(model)
        self.model, *self.optimizers = self.accelerator.prepare(model, *optimizers)
        self.objective = new_objective(config, start.config, self.accelerator, perceptual_loss)
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
        most = max(1, min(_NUM_START_IMAGES, _NUM_START_PIXELS // model.config.image_size**2))
        rows = global_batch(len(self.dataset), min(most, len(self.dataset)), self.config.seed, 0)
        if self.config.symbol_steps:
            learn_symbols(model, self.dataset, self.config)
        pictures = self.dataset.pixels(rows).to(self.accelerator.device)
        model.start_codebooks(pictures, seed=self.config.seed, first_level=int(self.config.keeps_symbols))

    def _step(self, step: int) -> dict[str, torch.Tensor]:
        """One optimizer step on global batch `step`; returns this process's share of the logged values."""
        config = self.config
        rows = global_batch(len(self.dataset), config.batch_size, config.seed, step)[self.share]
        pixel_values = self.dataset.pixels(rows).to(self.accelerator.device)
        model = self.accelerator.unwrap_model(self.model)
        weigh_rate(model, step, config, lambda: self._weighed(step))
        counts = prefix_counts(step, config.batch_size, model.config.num_levels - 1, config.prefix_share)
        output = self.model(pixel_values, counts[self.share].to(self.accelerator.device))
        terms = self.objective.terms(step, model, output, pixel_values)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.accelerator.backward(terms.loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        rate = config.learning_rate * cosine(step, config.num_steps, config.warmup_steps)
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, rate)
            optimizer.step()
        if "codebook" not in config.frozen_parts:
            model.update_codebooks(output, first_level=int(config.keeps_symbols))
        self.objective.learn(step, terms, output, pixel_values, rate)
        rate = {} if output.rate is None else {"rate": output.rate}
        return {name: output[name].detach() for name in _LOGGED} | rate | terms.metrics()

    def _weighed(self, step: int) -> torch.Tensor:
        """(B, C, H, W) pictures of a step, the same on every process."""
        rows = global_batch(len(self.dataset), self.config.batch_size, self.config.seed, step)[:NUM_WEIGHED]
        return self.dataset.pixels(rows).to(self.accelerator.device)

    def _mean(self, value: torch.Tensor) -> float:
        """The mean over all processes, whose shares of the batch are equal."""
        return float(cast(torch.Tensor, self.accelerator.reduce(value, "mean")))

    def _draw(self, step: int) -> None:
        if not self.accelerator.is_main_process:
            return
        model = self.accelerator.unwrap_model(self.model).eval()
        pixel_values = self.dataset.pixels(range(min(8, len(self.dataset)))).to(self.accelerator.device)
        save_picture(reconstruction_grid(model, pixel_values), self.folder.path / f"reconstructions-{step:08d}.png")
        model.train()

    def _evaluated(self) -> PixelDataset:
        """The training pictures, or as many as say how good the tokenizer is."""
        if len(self.dataset) <= _NUM_EVALUATED:
            return self.dataset
        rows = permutation(len(self.dataset), self.config.seed, 0)[:_NUM_EVALUATED].tolist()
        return PixelDataset(self.dataset.source.select(rows), self.processor)

    def _finish(self, failures: list[Failure]) -> None:
        """Saves model, processor, a picture and the figures on the training pictures."""
        self._draw(self.config.num_steps)
        if self.accelerator.is_main_process:
            model = self.accelerator.unwrap_model(self.model).eval()
            check_finite(model.state_dict())
            with atomic_files(self.folder.path) as folder:
                model.save_pretrained(folder)
                self.processor.save_pretrained(folder)
                self._provenance(model).save(folder)
            evaluation = evaluate_tokenizer(model, self._evaluated())
            listed = [asdict(failure) for failure in failures]
            self.folder.complete({"steps": self.config.num_steps, "train": evaluation.to_dict(), "failures": listed})
        finish(self.accelerator)

    def _provenance(self, model: ImageTokenizer) -> Provenance:
        settings = self.folder.settings
        return tokenizer_provenance(model, self.processor, data=self.data, settings=settings, earlier=self.earlier)


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

    Example: pictogram train-tokenizer --preset photo64 --data photos/ --output image-tokenizer
    """,
    presets=PRESETS,
)

if __name__ == "__main__":
    run_command(main)
