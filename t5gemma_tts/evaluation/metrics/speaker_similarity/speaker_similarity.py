"""Speaker similarity for `evaluate.load`."""

import evaluate
import numpy as np

from t5gemma_tts.evaluation.metric_info import WAVEFORM, metric_info
from t5gemma_tts.evaluation.similarity import cosine, load_speaker_encoder


class SpeakerSimilarity(evaluate.Metric):
    """Cosine similarity of speaker embeddings by resemblyzer or an x-vector model."""

    def _info(self):
        inputs = (
            'predictions, references: waveforms; sampling_rate: in Hz, the same for all; encoder: "resemblyzer", or '
            "Hub name or folder of an x-vector model."
        )
        return metric_info(self.__doc__, inputs, predictions=WAVEFORM, references=WAVEFORM)

    def _compute(self, predictions, references, sampling_rate=16000, encoder="resemblyzer"):
        embed = load_speaker_encoder(encoder)
        predicted, expected = (
            [embed(np.asarray(one, np.float32), sampling_rate) for one in side] for side in (predictions, references)
        )
        scores = [cosine(*pair) for pair in zip(predicted, expected, strict=True)]
        return {"similarity": float(np.mean(scores)), "similarities": scores}
