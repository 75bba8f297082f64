"""`t5gemma-tts info`: describes a checkpoint."""

import json
from argparse import Namespace

from ..checkpoint_info import describe_checkpoint
from ..model.phonemes import describe_front_ends


def run(arguments: Namespace) -> None:
    facts = describe_checkpoint(arguments.model)
    facts["phonemes_by"] = ", ".join(f"{language}: {name}" for language, name in describe_front_ends().items())
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<{width}}  {value}")
