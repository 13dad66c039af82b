"""Settings and fixtures of all tests. Nothing here touches the user's caches or the network."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

# Before anything imports datasets or transformers: both read these once. Subprocesses inherit them.
_HOME = tempfile.mkdtemp(prefix="pictogram-tests-")
_OWNER = os.getpid()
atexit.register(lambda: os.getpid() == _OWNER and shutil.rmtree(_HOME, ignore_errors=True))  # forks keep out
os.environ |= {
    "HF_HOME": _HOME,
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}
for _name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
    os.environ.pop(_name, None)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """24 pictures of 16x16 pixels: coloured discs on coloured grounds. Read only."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for index in range(24):
        ground, ink = (tuple(int(value) for value in generator.integers(0, 256, 3)) for _ in range(2))
        left, top, size = (int(value) for value in generator.integers([0, 0, 5], [7, 7, 10]))
        picture = Image.new("RGB", (16, 16), ground)
        ImageDraw.Draw(picture).ellipse((left, top, left + size, top + size), fill=ink)
        picture.save(folder / f"{index:02d}.png")
    return folder


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps its state for the life of a process; this forgets it, before and after."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    states = (AcceleratorState, GradientState, PartialState)
    for state in states:
        state._reset_state()
    yield
    for state in states:
        state._reset_state()
