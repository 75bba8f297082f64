"""How far speech is off the length that was asked for, for `evaluate.load`."""

import datasets
import evaluate

from training.evaluation.figures import BY_NAME, summarise


NAMES = ("duration_error", "duration_error_p90", "within_5_percent")

_DESCRIPTION = (
    """Errors of spoken lengths as shares of those that were asked for: mean, 90th percentile, share within 5 %."""
)
_INPUTS = """predictions: seconds that were spoken; references: seconds that were asked for."""


class DurationError(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Value("float32"),
                    "references": datasets.Value("float32"),
                }
            ),
        )

    def _compute(self, predictions, references):
        if any(seconds <= 0 for seconds in references):
            raise ValueError(f"`references` must be lengths above 0, got {min(references)}.")
        rows = [{"seconds": said, "asked_seconds": asked} for said, asked in zip(predictions, references, strict=True)]
        found = summarise(rows, [BY_NAME[name] for name in NAMES])
        return {name: one["value"] for name, one in found.items()}
