"""A bundle at half the size: the prior's weights rounded to float16 and stored so; they load as float32.

python examples/half_size_bundle.py bundle half

The image tokenizer stays as it is, so codes and datasets of codes fit as before. The rounded prior is another one, with
a fingerprint of its own: files that the first one compressed are read by the first one alone, and figures are to be
measured again.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save

from pictogram import Bundle
from pictogram.hub.files import atomic_write_bytes


def main(source: str, output: str) -> None:
    """Rounds the prior of the bundle `source` and writes the bundle into the folder `output`."""
    bundle, folder = Bundle.from_pretrained(source), Path(output)
    provenance = bundle.checked_provenance()
    rounded = {name: weights.half() for name, weights in bundle.prior.state_dict().items()}
    if not all(weights.isfinite().all() for weights in rounded.values()):
        raise SystemExit(f"some weights of {source} are too large for float16")
    with torch.no_grad():
        bundle.prior.load_state_dict({name: weights.float() for name, weights in rounded.items()})
    bundle.save_pretrained(folder)
    content = save({name: weights.contiguous() for name, weights in rounded.items()}, metadata={"format": "pt"})
    atomic_write_bytes(folder / "model.safetensors", content)
    if provenance is not None:
        prints = provenance.fingerprints | {"bundle": Bundle.from_pretrained(folder).fingerprint}
        settings = provenance.settings | {"stored_as": "float16"}
        replace(provenance, fingerprints=prints, settings=settings).save(folder)
    size = (folder / "model.safetensors").stat().st_size
    print(f"{folder}: {size:,} bytes of weights")


if __name__ == "__main__":
    main(*sys.argv[1:3])
