"""Word and character error rates for `evaluate.load`."""

import datasets
import evaluate

from training.evaluation.text_errors import count_errors, error_rate


_DESCRIPTION = """Shares of words and characters that were heard wrong, after normalisation by language."""
_INPUTS = """predictions: what was heard; references: what should be said; languages: a tag such as "en" for each.
Returns "cer", and "wer" over the texts of languages that write words apart."""


class ErrorRate(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Value("string"),
                    "references": datasets.Value("string"),
                    "languages": datasets.Value("string"),
                }
            ),
        )

    def _compute(self, predictions, references, languages):
        counts = [count_errors(*one) for one in zip(references, predictions, languages, strict=True)]
        words = [one for one in counts if "words" in one]
        rates = {"cer": error_rate(counts, "characters")}
        return rates | ({"wer": error_rate(words)} if words else {})
