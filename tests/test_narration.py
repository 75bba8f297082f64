"""Long texts: order of pieces, one voice, pauses, constant memory."""

import numpy as np
import pytest
import torch

from t5gemma_tts import narration
from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.loading import load_model, load_processor
from t5gemma_tts.narration import KEPT_EDGE_SECONDS, narrate, trim_silence
from t5gemma_tts.sentences import PARAGRAPH_PAUSE, SENTENCE_PAUSE


TEXT = "My friend has a red car. We drive to the mountain.\nThe dog sleeps. A bird sings in the garden."
PIECES = ["My friend has a red car.", "We drive to the mountain.", "The dog sleeps.", "A bird sings in the garden."]


@pytest.fixture(scope="module")
def model():
    return load_model(NANO, "cpu", "float32")


@pytest.fixture(scope="module")
def processor():
    return load_processor(NANO, codec_device="cpu")


@pytest.fixture
def requests(monkeypatch):
    """Records the requests in order."""
    made = []
    speech_requests = narration.speech_requests

    def recording(model, **inputs):
        made.extend(speech_requests(model, **inputs))
        return made[-1:]

    monkeypatch.setattr(narration, "speech_requests", recording)
    return made


def spoken(model, processor, **kwargs):
    options = {"language": "en", "chunk_seconds": 2.6, "first_chunk_seconds": 2.6, "seed": 1} | kwargs
    return list(narrate(model, processor, TEXT, **options))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_pieces_are_in_order_with_the_voice_of_the_first(model, processor, requests, batch_size):
    sounds = spoken(model, processor, batch_size=batch_size)
    assert len(sounds) == len(PIECES) == len(requests)
    first = processor.speech_codes(requests[0].token_ids)
    separator, text_separator = model.config.audio_separator_token_id, model.config.text_separator_token_id
    assert len(requests[0].prompt_ids) == 1
    for request, piece in zip(requests[1:], PIECES[1:], strict=True):
        assert request.prompt_ids.tolist() == [model.config.decoder_start_token_id, *first, separator]
        reference, target = " ".join(map(str, request.input_ids.tolist())).split(f" {text_separator} ")
        expected = processor(text=[PIECES[0], piece])["input_ids"]
        assert reference.split() == [str(i) for i in expected[0].tolist() if i > 1]
        assert target.split()[0] == str(expected[1][0].item())
    for request, sound, pause in zip(
        requests, sounds, (SENTENCE_PAUSE, PARAGRAPH_PAUSE, SENTENCE_PAUSE, 0.0), strict=True
    ):
        (whole,) = processor.batch_decode([request.token_ids])
        trimmed = trim_silence(whole, processor.sampling_rate)
        silence = round(pause * processor.sampling_rate)
        np.testing.assert_array_equal(sound[: len(trimmed)], trimmed)
        assert len(sound) == len(trimmed) + silence and not sound[len(trimmed) :].any()


def test_reference_is_used_for_all(model, processor, requests):
    codes = torch.randint(0, 4096, (60,), generator=torch.Generator().manual_seed(0)).tolist()
    sounds = spoken(model, processor, reference_audio={"codes": codes}, reference_text="Whatever it is.", speed=2.0)
    assert len(sounds) < len(PIECES)  # at double speed, a piece has twice as much text
    assert all(request.prompt_ids.tolist()[1:-1] == codes for request in requests)


def test_seed_repeats(model, processor):
    one, two, other = (spoken(model, processor, seed=seed, batch_size=n) for seed, n in ((5, 1), (5, 4), (6, 4)))
    # batching may change the last bits of the audio, but not its length
    assert [len(sound) for sound in one] == [len(sound) for sound in two] != [len(sound) for sound in other]


def test_only_a_few_pieces_are_in_memory(model, processor, requests, monkeypatch):
    ahead = []
    submit = narration.SpeechEngine.submit

    def counting(self, request):
        submit(self, request)
        ahead.append(len(self.waiting) + len(self.active))

    monkeypatch.setattr(narration.SpeechEngine, "submit", counting)
    stream = narrate(model, processor, "One dog runs. " * 12, language="en", chunk_seconds=1.0, batch_size=2, seed=0)
    next(stream)
    assert len(requests) == 1
    next(stream)
    assert len(requests) <= 6
    stream.close()
    assert max(ahead) <= 4


def test_edges():
    rate = 1000
    sound = np.zeros(1000, dtype=np.float32)
    sound[400:600] = 0.5
    sound[:300] = 0.001
    assert len(trim_silence(sound, rate)) == 200 + 2 * round(KEPT_EDGE_SECONDS * rate)
    assert len(trim_silence(sound[400:600], rate)) == 200
    assert len(trim_silence(np.zeros(100, dtype=np.float32), rate)) == 0
    assert len(trim_silence(np.zeros(0, dtype=np.float32), rate)) == 0


def test_invalid_input(model, processor):
    for options, message in (
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"speed": 0}, "`speed` must be a finite number above 0, got 0"),
        ({"reference_audio": {"codes": []}, "reference_text": "x"}, "one or more codes below 4096"),
        ({"reference_audio": {"codes": [4096]}, "reference_text": "x"}, "one or more codes below 4096"),
        ({"reference_audio": {"codes": [1]}}, "`reference_text` must say"),
    ):
        with pytest.raises(ValueError, match=message):
            next(narrate(model, processor, "Hello.", language="en", **options))
