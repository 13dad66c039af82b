"""Shards handed out by a Ray cluster: each task is one shard, tried again when its node is lost.

Ray only says who works on what. Shards are made by the same code and renamed into place as without it, in a folder that
all nodes share, so whatever Ray loses or does twice, the result is the same.
"""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

from ..hub.errors import InputError
from ..tokenizer.codes_job import CodesJob
from ..tokenizer.codes_writer import decoding_threads
from ..tokenizer.images import Progress
from .tokenize_job import TokenizeConfig, open_job

_RETRIES = 5


def make_shards_with_ray(job: CodesJob, config: TokenizeConfig, progress: Progress | None = None) -> None:
    """Makes what is left of a job on the cluster at RAY_ADDRESS, or on one of this machine's cores.

    Args:
        job: what to do.
        config: from which every worker opens the same job.
        progress: called with the number of source rows done since the last call.

    Raises:
        InputError: Ray is not installed.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError('the scheduler "ray" needs Ray: pip install ray') from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    options = asdict(config)
    # A worker that dies is a retry of Ray's own; an error of the file system, one of ours.
    task = ray.remote(_encode_shard).options(num_cpus=1, max_retries=_RETRIES, retry_exceptions=[OSError])
    pending = {task.remote(options, index): index for index in range(len(job.shards)) if not job.is_done(index)}
    while pending:
        (done,), _ = ray.wait(list(pending), num_returns=1)
        ray.get(done)
        index = pending.pop(done)
        if progress is not None and job.is_done(index):
            progress(job.num_rows(index))


def _encode_shard(options: dict[str, Any], index: int) -> None:
    """Runs in a worker of Ray."""
    job = _opened(tuple(sorted(options.items())))
    if not job.is_done(index):
        with decoding_threads(TokenizeConfig(**options).decoding_threads) as executor:
            job.encode_shard(index, executor)


@functools.lru_cache(maxsize=1)
def _opened(options: tuple[tuple[str, Any], ...]) -> CodesJob:
    """A worker keeps its tokenizer from task to task."""
    return open_job(TokenizeConfig(**dict(options)))
