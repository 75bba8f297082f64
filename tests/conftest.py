"""One thread per process (small models lose to OpenMP's barriers) and no hub, whatever the machine's settings."""

import os


os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
