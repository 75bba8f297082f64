"""Similarity of voices for `evaluate.load`."""

import datasets
import evaluate
import numpy as np

from training.evaluation.similarity import cosine, load_speaker_encoder


_DESCRIPTION = """Cosine similarity of speaker vectors, by resemblyzer or an x-vector model."""
_INPUTS = (
    """predictions, references: waveforms; sampling_rate: Hz of all; encoder: "resemblyzer", or an x-vector model."""
)


class SpeakerSimilarity(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float32")),
                    "references": datasets.Sequence(datasets.Value("float32")),
                }
            ),
        )

    def _compute(self, predictions, references, sampling_rate=16000, encoder="resemblyzer"):
        embed = load_speaker_encoder(encoder)
        vectors = [
            [embed(np.asarray(one, np.float32), sampling_rate) for one in side] for side in (predictions, references)
        ]
        scores = [cosine(*pair) for pair in zip(*vectors, strict=True)]
        return {"similarity": float(np.mean(scores)), "similarities": scores}
