"""How far speech is off the length that was asked for, for `evaluate.load`."""

import evaluate

from t5gemma_tts.evaluation.metric_info import metric_info
from t5gemma_tts.evaluation.statistics import BY_NAME, summarise


NAMES = ("duration_error", "duration_error_p90", "within_5_percent")


class DurationError(evaluate.Metric):
    """Errors of lengths as shares of what was asked for: mean, 90th percentile, share within 5 %."""

    def _info(self):
        inputs = "predictions: seconds that were spoken; references: seconds that were asked for."
        return metric_info(self.__doc__, inputs, predictions="float32", references="float32")

    def _compute(self, predictions, references):
        if any(seconds <= 0 for seconds in references):
            raise ValueError(f"`references` must be lengths above 0, got {min(references)}.")
        rows = [{"seconds": said, "asked_seconds": asked} for said, asked in zip(predictions, references, strict=True)]
        found = summarise(rows, [BY_NAME[name] for name in NAMES])
        return {name: one["value"] for name, one in found.items()}
