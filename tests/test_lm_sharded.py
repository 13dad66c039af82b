"""A prior in parts on several processes (FSDP2): accelerate turns this off on CPUs, so torch's own is tried."""

import json
import os
import subprocess
import sys

import pytest
import torch

SHARDED = """
import json, os, sys
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.device_mesh import init_device_mesh
from transformers import Qwen3Config, Qwen3ForCausalLM
from pictogram.lm.costs import token_nats
from pictogram.lm.optimizers import build_optimizers
from pictogram.lm.products import quicken_linears

world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
torch.manual_seed(0)
shape = dict(vocab_size=40, hidden_size=32, num_hidden_layers=2, intermediate_size=48, num_attention_heads=2)
model = Qwen3ForCausalLM(Qwen3Config(**shape, num_key_value_heads=1, head_dim=16, tie_word_embeddings=False)).train()
quicken_linears(model)
if world > 1:
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (world,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
(optimizer,) = build_optimizers(model, "adamw", learning_rate=1e-2, weight_decay=0.1)
generator = torch.Generator().manual_seed(1)
losses = []
for step in range(6):
    ids = torch.randint(0, 40, (32, 12), generator=generator)
    mine = ids[rank * 32 // world : (rank + 1) * 32 // world]
    optimizer.zero_grad()
    nats = token_nats(model(input_ids=mine, use_cache=False).logits, mine)
    (nats.sum() * world / (32 * 11)).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    total = nats.detach().sum()
    if world > 1:
        dist.all_reduce(total)
    losses.append(float(total) / (32 * 11))
whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
if rank == 0:
    sharded = any("DTensor" in type(p).__name__ for p in model.parameters())
    torch.save(whole, sys.argv[1])
    print(json.dumps({"losses": losses, "sharded": sharded}))
if world > 1:
    dist.barrier()
"""


@pytest.mark.slow
def test_a_sharded_prior_learns_and_is_gathered_like_a_whole_one(tmp_path):
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    results = {}
    for name, command in {"one": [sys.executable], "two": launch}.items():
        ran = subprocess.run(
            [*command, str(script), str(tmp_path / name)], capture_output=True, text=True, env=environment
        )
        assert ran.returncode == 0, ran.stderr
        results[name] = json.loads(ran.stdout.splitlines()[-1])
    assert results["two"]["sharded"]
    assert not results["one"]["sharded"]
    assert results["two"]["losses"] == pytest.approx(results["one"]["losses"], abs=1e-4)
    one, two = torch.load(tmp_path / "one"), torch.load(tmp_path / "two")
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-4)
