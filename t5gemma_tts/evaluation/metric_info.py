"""Metadata of the metrics for the library `evaluate`."""

import datasets
import evaluate


WAVEFORM = datasets.Sequence(datasets.Value("float32"))


def metric_info(description: str, inputs: str, **features) -> evaluate.MetricInfo:
    """
    Builds the `MetricInfo` of a metric.

    Args:
        description (`str`): what the metric measures.
        inputs (`str`): description of the arguments of `compute`.
        features (`str` or `datasets` feature): type of each input column; a string is a `datasets.Value` dtype.
    """
    columns = {name: datasets.Value(kind) if isinstance(kind, str) else kind for name, kind in features.items()}
    return evaluate.MetricInfo(
        description=description, citation="", inputs_description=inputs, features=datasets.Features(columns)
    )


__all__ = ["WAVEFORM", "metric_info"]
