"""Word and character error rates for `evaluate.load`."""

import evaluate

from t5gemma_tts.evaluation.metric_info import metric_info
from t5gemma_tts.evaluation.text_errors import count_errors, error_rate


class ErrorRate(evaluate.Metric):
    """Word and character error rates after language-specific normalization."""

    def _info(self):
        inputs = (
            'predictions: transcripts; references: texts; languages: language tags such as "en", one per text. '
            'Returns "cer", and "wer" over the texts in languages with spaces between words.'
        )
        return metric_info(self.__doc__, inputs, predictions="string", references="string", languages="string")

    def _compute(self, predictions, references, languages):
        counts = [count_errors(*one) for one in zip(references, predictions, languages, strict=True)]
        words = [one for one in counts if "words" in one]
        rates = {"cer": error_rate(counts, "characters")}
        return rates | ({"wer": error_rate(words)} if words else {})
