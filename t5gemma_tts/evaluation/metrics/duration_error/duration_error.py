"""Error of the speech duration for `evaluate.load`."""

import evaluate

from t5gemma_tts.evaluation.metric_info import metric_info
from t5gemma_tts.evaluation.statistics import METRICS_BY_NAME, summarize


NAMES = ("duration_error", "duration_error_p90", "within_5_percent")


class DurationError(evaluate.Metric):
    """Duration errors relative to the requested durations: mean, 90th percentile, proportion within 5 %."""

    def _info(self):
        inputs = "predictions: durations in seconds; references: requested durations in seconds."
        return metric_info(self.__doc__, inputs, predictions="float32", references="float32")

    def _compute(self, predictions, references):
        if any(seconds <= 0 for seconds in references):
            raise ValueError(f"`references` must be durations above 0, got {min(references)}.")
        rows = [
            {"seconds": seconds, "asked_seconds": asked} for seconds, asked in zip(predictions, references, strict=True)
        ]
        found = summarize(rows, [METRICS_BY_NAME[name] for name in NAMES])
        return {name: one["value"] for name, one in found.items()}
