"""What `evaluate` wants to know of a metric."""

import datasets
import evaluate


WAVEFORM = datasets.Sequence(datasets.Value("float32"))


def metric_info(description: str, inputs: str, **features) -> evaluate.MetricInfo:
    """
    Args:
        description (`str`), inputs (`str`): what is measured, and what `compute` takes.
        features (`str` or a feature of `datasets`): of its columns; a string is the name of a type.
    """
    columns = {name: datasets.Value(kind) if isinstance(kind, str) else kind for name, kind in features.items()}
    return evaluate.MetricInfo(
        description=description, citation="", inputs_description=inputs, features=datasets.Features(columns)
    )


__all__ = ["WAVEFORM", "metric_info"]
