"""`t5gemma-tts info`: what a checkpoint is."""

import json
from argparse import Namespace

from ..checkpoint_info import describe


def run(arguments: Namespace) -> None:
    facts = describe(arguments.model)
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<{width}}  {value}")
