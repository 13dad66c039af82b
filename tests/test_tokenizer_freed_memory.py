import platform
import subprocess
import sys

import pytest

from pictogram.tokenizer.freed_memory import keep_freed_memory

SCRIPT = """
import resource
import torch
from pictogram.tokenizer.freed_memory import keep_freed_memory

def faults_of_ten_steps():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(12_000_000)  # 48 MB: above what malloc learns to keep by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults_of_ten_steps()
untold = faults_of_ten_steps()
assert keep_freed_memory()
faults_of_ten_steps()
print(untold, faults_of_ten_steps())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_the_next_step_gets_pages_that_the_process_has():
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    untold, kept = map(int, ran.stdout.split())
    assert untold > 1000 and kept < 100


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
