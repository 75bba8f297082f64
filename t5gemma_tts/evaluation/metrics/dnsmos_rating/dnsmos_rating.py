"""DNSMOS for `evaluate.load`."""

import evaluate
import numpy as np

from t5gemma_tts.evaluation.dnsmos import load_dnsmos
from t5gemma_tts.evaluation.metric_info import WAVEFORM, metric_info


class DnsmosRating(evaluate.Metric):
    """Mean DNSMOS ratings of speech quality from 1 to 5: overall, signal and background."""

    def _info(self):
        return metric_info(
            self.__doc__, "predictions: waveforms; sampling_rate: in Hz, the same for all.", predictions=WAVEFORM
        )

    def _compute(self, predictions, sampling_rate=16000):
        rate = load_dnsmos()
        ratings = [rate(np.asarray(one, np.float32), sampling_rate) for one in predictions]
        return {name: float(np.mean([rating[name] for rating in ratings])) for name in ratings[0]}
