import importlib.util
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from tiny_chain import tokenizer_folder
from tiny_pictures import png, write_files

from pictogram.hub.errors import InputError
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig

HAS_RAY = importlib.util.find_spec("ray") is not None


def config(data: Path, output: Path, **options) -> TokenizeConfig:
    return TokenizeConfig(
        data=str(data), model=str(tokenizer_folder()), output=str(output), rows_per_shard=4, num_threads=0, **options
    )


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed")
def test_a_node_that_is_lost_in_mid_run_changes_no_byte(tmp_path):
    import ray  # pyright: ignore[reportMissingImports]
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    data = write_files(tmp_path / "in", {f"{index:03d}.png": png(index, (16, 16)) for index in range(800)})
    tokenize(config(data, tmp_path / "alone"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)

    def lose() -> None:
        while len(list((tmp_path / "ray" / "data").glob("*.parquet"))) < 20:
            time.sleep(0.02)
        cluster.remove_node(second, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    try:
        tokenize(config(data, tmp_path / "ray", scheduler="ray"))
    finally:
        thread.join()
        ray.shutdown()
        cluster.shutdown()
    files = sorted(path.name for path in (tmp_path / "alone" / "data").iterdir())
    assert len(files) == 200
    assert sorted(path.name for path in (tmp_path / "ray" / "data").iterdir()) == files
    for name in ["pictogram.json", *(f"data/{name}" for name in files)]:
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_without_ray_the_scheduler_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    data = write_files(tmp_path / "in", {"a.png": png()})
    with pytest.raises(InputError, match=r"pip install ray"):
        tokenize(config(data, tmp_path / "out", scheduler="ray"))
    assert not os.path.exists(tmp_path / "out" / "pictogram.json")
