"""DNSMOS for `evaluate.load`."""

import evaluate
import numpy as np

from t5gemma_tts.evaluation.dnsmos import load_dnsmos
from t5gemma_tts.evaluation.metric_info import WAVEFORM, metric_info


class DnsmosRating(evaluate.Metric):
    """How good speech sounds, 1 to 5: means of DNSMOS' overall, signal and background ratings."""

    def _info(self):
        return metric_info(self.__doc__, "predictions: waveforms; sampling_rate: Hz of all.", predictions=WAVEFORM)

    def _compute(self, predictions, sampling_rate=16000):
        rate = load_dnsmos()
        ratings = [rate(np.asarray(one, np.float32), sampling_rate) for one in predictions]
        return {name: float(np.mean([rating[name] for rating in ratings])) for name in ratings[0]}
