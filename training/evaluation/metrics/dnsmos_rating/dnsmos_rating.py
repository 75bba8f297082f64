"""DNSMOS for `evaluate.load`."""

import datasets
import evaluate
import numpy as np

from training.evaluation.dnsmos import load_dnsmos


_DESCRIPTION = """How good speech sounds, 1 to 5: means of DNSMOS' overall, signal and background ratings."""
_INPUTS = """predictions: waveforms; sampling_rate: Hz of all."""


class DnsmosRating(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float32")),
                }
            ),
        )

    def _compute(self, predictions, sampling_rate=16000):
        rate = load_dnsmos()
        ratings = [rate(np.asarray(one, np.float32), sampling_rate) for one in predictions]
        return {name: float(np.mean([rating[name] for rating in ratings])) for name in ratings[0]}
