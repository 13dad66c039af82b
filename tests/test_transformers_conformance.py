"""The tests that transformers runs on its own models, run on ours.

They are in the source distribution of the installed version, not in the wheel: it is downloaded, and nothing of it is
kept. What that distribution lacks (exporters, generation) is replaced by empty classes.
"""

import importlib.metadata
import os
import subprocess
import sys
import tarfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.slow

VERSION = importlib.metadata.version("transformers")

STUBS = {
    "__init__.py": "",
    "exporters/__init__.py": "",
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/__init__.py": "",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/__init__.py": "",
    "utils/test_configuration_utils.py": """
config_common_kwargs = {
    "return_dict": False,
    "output_hidden_states": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 5,
    "architectures": ["SomeModel"],
    "id2label": {0: "first"},
    "label2id": {"first": 0},
    "problem_type": "regression",
}
""",
}
"""What the distribution leaves out, as far as importing the common tests needs it."""

CONFTEST = """
def pytest_configure(config):
    for marker in ["all_kernels_test", "flash_attn_kernels_test", "kernels_test", "flash_attn_test", "generate"]:
        config.addinivalue_line("markers", marker)
    for marker in ["flash_attn_3_test", "flash_attn_4_test", "torch_compile_test", "torch_export_test"]:
        config.addinivalue_line("markers", marker)
"""

TESTS = """
import unittest
from unittest.mock import patch

from hf_tests.test_configuration_common import ConfigTester
from hf_tests.test_modeling_common import ModelTesterMixin, floats_tensor
from transformers.models.auto import modeling_auto

from pictogram.tokenizer import ImageTokenizer, ImageTokenizerConfig

# Static tables know no model registered from outside; without this, tests pass by leaving the model out.
NAMES = modeling_auto.MODEL_MAPPING_NAMES
NAMES[ImageTokenizerConfig.model_type] = "ImageTokenizer"

SETTINGS = {
    "image_size": 16,
    "strides": ["image", 8, 4],
    "codebook_sizes": [8, 16, 64],
    "codebook_dim": 4,
    "hidden_size": 8,
    "num_blocks": 1,
}


class Inputs:
    batch_size = 3
    is_training = True

    def __init__(self, quantizer):
        self.quantizer = quantizer

    def get_config(self):
        return ImageTokenizerConfig(quantizer=self.quantizer, **SETTINGS)

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), {"pixel_values": floats_tensor([self.batch_size, 3, 16, 16])}


class Common(ModelTesterMixin):
    all_model_classes = (ImageTokenizer,)
    test_can_init_all_missing_weights_before_2023 = True  # the year of a model's copyright line: none counts as before
    test_resize_embeddings = False
    has_attentions = False

    def setUp(self):
        self.model_tester = Inputs(self.quantizer)
        names = ["image_size", "num_channels", "hidden_size"]
        settings = SETTINGS | {"quantizer": self.quantizer}
        self.config_tester = ConfigTester(
            self, config_class=ImageTokenizerConfig, has_text_modality=False, common_properties=names, **settings
        )

    def test_config(self):
        self.config_tester.run_common_tests()

    def test_training(self):
        # Models in this table count as headless, and are left out. Ours has a loss.
        with patch.dict(NAMES):
            del NAMES[ImageTokenizerConfig.model_type]
            super().test_training()

    def test_model_outputs_equivalence(self):
        # It also asks for hidden states, which the model has no option for.
        forward = ImageTokenizer.forward

        def without_hidden_states(self, *args, output_hidden_states=None, **kwargs):
            return forward(self, *args, **kwargs)

        with patch.object(ImageTokenizer, "forward", without_hidden_states):
            super().test_model_outputs_equivalence()

    @unittest.skip("pictures have no embeddings of input ids")
    def test_model_get_set_embeddings(self):
        pass

    @unittest.skip("no one stack of layers")
    def test_hidden_states_output(self):
        pass

    @unittest.skip("no one stack of layers")
    def test_retain_grad_hidden_states_attentions(self):
        pass


class TestEMA(Common, unittest.TestCase):
    quantizer = "ema"


class TestL2(Common, unittest.TestCase):
    quantizer = "l2"


class TestFSQ(Common, unittest.TestCase):
    quantizer = "fsq"


class TestLFQ(Common, unittest.TestCase):
    quantizer = "lfq"
"""

SKIPPED = {
    "the model has no attention": [
        "test_attention_outputs",
        "test_attn_implementation_composite_models",
        "test_can_set_attention_dynamically",
        "test_eager_matches_sdpa_inference*",
        "test_sdpa_can_dispatch_composite_models",
        "test_sdpa_can_dispatch_non_composite_models",
        "test_sliding_window_mask",
    ],
    "no rotary positions either": ["test_model_rope_*", "test_vision_axial_rope"],
    "pictures come in, not ids: there are no embeddings, tied heads or language modelling losses": [
        "test_causal_lm_loss_honors_shift_labels",
        "test_enable_input_require_grads_with_gradient_checkpointing",
        "test_encoder_decoder_loss_no_double_shift",
        "test_inputs_embeds*",
        "test_model_get_set_embeddings",
        "test_resize_*",
        "test_tied_head_has_a_tp_plan_entry",
    ],
    "no one stack of layers whose hidden states could be listed": [
        "test_can_capture_specific_layers_hidden_states",
        "test_capture_outputs_decorator",
        "test_hidden_states_output",
        "test_retain_grad_hidden_states_attentions",
    ],
    "no experts": [
        "test_eager_matches_batched_and_grouped_inference*",
        "test_moe_models_record_router_logits",
        "test_output_router_logits_from_config",
    ],
    "one model, not one made of others": [
        "test_can_set_attention_dynamically_composite_model",
        "test_internal_model_config_and_subconfig_are_same",
    ],
    "no module asks for float32; searches run in float32 by themselves": ["test_keep_in_fp32_modules*"],
    "checkpoints are saved as the model is laid out": [
        "test_can_load_from_already_mapped_keys",
        "test_reverse_loading_mapping",
    ],
    "no plan for tensor parallelism: the model is small": ["test_tp_plan_matches_params"],
}
"""Why each test that is skipped everywhere does not apply: patterns of their names by the reason."""

NEEDS = {
    "an accelerator, or several": [
        "test_can_load_with_*",
        "test_cpu_offload",
        "test_disk_offload_*",
        "test_flex_attention_with_grads",
        "test_model_parallelism",
        "test_sdpa_can_compile_dynamic",
        "test_sdpa_can_dispatch_on_flash",
    ],
    "flash attention, other kernels or DeepSpeed": [
        "test_flash_attn_*",
        "test_kernels_can_load_without_crashing",
        "test_resize_*_with_deepspeed*",
    ],
    "RUN_SLOW": ["test_torch_compile_for_training"],
}
"""Tests that run where there is what they need: patterns of their names by the need."""


def patterns(table: dict[str, list[str]]) -> list[str]:
    return [pattern for entries in table.values() for pattern in entries]


def run(*command: str, **settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=1800, **settings)


def download(folder: Path) -> Path:
    """The source distribution, and beside it what its tests import; skips where there is no network."""
    for command in (
        ("pip", "download", "--no-deps", "--no-binary", "transformers", f"transformers=={VERSION}", "-d", str(folder)),
        ("pip", "install", "--no-deps", "--target", str(folder / "site"), "parameterized"),
    ):
        done = run(*command)
        if done.returncode:
            pytest.skip(f"needs PyPI: {(done.stderr.strip() or 'pip failed').splitlines()[-1]}")
    return next(folder.glob("transformers-*.tar.gz"))


def unpack_tests(archive: Path, folder: Path) -> None:
    """The common tests as a package `hf_tests`, with stubs for what they import and the archive lacks."""
    for name, text in STUBS.items():
        (folder / "hf_tests" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "hf_tests" / name).write_text(text)
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if PurePosixPath(member.name).match("*/tests/test_*.py") else None
            if file is not None:
                (folder / "hf_tests" / PurePosixPath(member.name).name).write_bytes(file.read())


def outcomes(report: Path) -> dict[str, dict[str, str]]:
    """Outcome ("passed" or the tag of the report) of each test, by test class and name."""
    found: dict[str, dict[str, str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        tests = found.setdefault(case.attrib["classname"].split(".")[-1], {})
        tags = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcome = next((tag for tag in ("error", "failure", "skipped") if tag in tags), "passed")
        if tests.get(case.attrib["name"]) not in ("error", "failure"):  # a subtest has an entry of its own
            tests[case.attrib["name"]] = outcome
    return found


def test_the_common_tests_of_transformers_pass(tmp_path):
    unpack_tests(download(tmp_path), tmp_path)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_ours.py").write_text(TESTS)
    paths = [str(tmp_path), str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore", "--tb=short", "--junitxml=report.xml"]
    done = run("pytest", "test_ours.py", *options, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = outcomes(tmp_path / "report.xml")
    assert set(found) == {"TestEMA", "TestL2", "TestFSQ", "TestLFQ"}
    for tests in found.values():
        skipped = {name for name, outcome in tests.items() if outcome == "skipped"}
        needy = {name for name in skipped if any(fnmatch(name, pattern) for pattern in patterns(NEEDS))}
        unexplained = [n for n in skipped - needy if not any(fnmatch(n, pattern) for pattern in patterns(SKIPPED))]
        assert sorted(unexplained) == [], "newly skipped"
        stale = [pattern for pattern in patterns(SKIPPED) if not any(fnmatch(name, pattern) for name in skipped)]
        assert stale == [], "no longer skipped"
        assert sum(outcome == "passed" for outcome in tests.values()) > 60
