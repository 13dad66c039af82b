"""What people call: tokenize, generate, caption, evaluate, the demo and the command line.

Importing it registers the task "text-to-image" of `transformers.pipeline`.
"""

import os

# GNU OpenMP reads this once, when torch is loaded. Its waiting threads spin 300,000 times before they sleep, and with
# anything else running on the machine that slows training down several times; 3,000 times cost nothing on a quiet one.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

from . import transformers_task

transformers_task.register()
