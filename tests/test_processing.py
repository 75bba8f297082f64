"""Texts to tensors, and tokens to audio."""

import numpy as np
import pytest
import soundfile
import torch
from tiny_checkpoint import tiny_tokenizer
from voices import END, PAD, SEPARATOR, START, TEXT_BOS, TEXT_EOS, TEXT_PAD, TEXT_SEPARATOR, text_ids, voice

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from t5gemma_tts.model import speech_inputs
from t5gemma_tts.model.duration import estimate_duration


def test_mixed_batch(processor):
    waveforms = [voice(4000), voice(9000, seed=1)]
    inputs = processor(
        text=["Short.", "A text that is longer.", "Another"],
        reference_audio=[None, *waveforms],
        reference_text=[None, "One", "Two two"],
        sampling_rate=[None, 16000, 16000],
        duration=[1.0, 2.0, 0.3],
    )
    codes = [processor.codec.encode(waveform, 16000).tolist() for waveform in waveforms]
    assert [len(set(clip)) > 3 for clip in codes] == [True, True] and len(codes[0]) == 13 and len(codes[1]) == 29
    texts = [
        text_ids("Short.") + [TEXT_EOS],
        text_ids("One") + [TEXT_SEPARATOR] + text_ids("A text that is longer.") + [TEXT_EOS],
        text_ids("Two two") + [TEXT_SEPARATOR] + text_ids("Another") + [TEXT_EOS],
    ]
    prompts = [[START], [START, *codes[0], SEPARATOR], [START, *codes[1], SEPARATOR]]
    assert list(inputs) == processor.model_input_names
    for name, value in inputs.items():
        assert isinstance(value, torch.Tensor) and value.dtype == torch.int64, name
    width = len(texts[1])
    assert inputs["input_ids"].tolist() == [ids + [TEXT_PAD] * (width - len(ids)) for ids in texts]
    assert inputs["attention_mask"].tolist() == [[1] * len(ids) + [0] * (width - len(ids)) for ids in texts]
    width = len(prompts[2])
    assert inputs["decoder_input_ids"].tolist() == [[PAD] * (width - len(p)) + p for p in prompts]
    assert inputs["decoder_attention_mask"].tolist() == [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
    assert inputs["num_frames"].tolist() == [50, 100, 15]


@pytest.mark.parametrize("bos", [None, TEXT_BOS])
@pytest.mark.parametrize("eos", [None, TEXT_EOS])
def test_text_ids_with_and_without_bos_and_eos(processor, bos, eos):
    ours = T5GemmaTTSProcessor(
        tiny_tokenizer(),
        codebook_size=256,
        text_separator_token_id=77,
        text_bos_token_id=bos,
        text_eos_token_id=eos,
    )
    ours.codec = processor.codec
    begin, end = [bos] if bos else [], [eos] if eos else []
    options = {"reference_audio": voice(), "sampling_rate": 16000, "reference_text": "Ref", "duration": 1.0}
    assert ours("Text", duration=1.0)["input_ids"].tolist() == [begin + text_ids("Text") + end]
    expected = begin + text_ids("Ref") + [77] + text_ids("Text") + end
    assert ours("Text", **options)["input_ids"].tolist() == [expected]


def test_one_string_is_a_batch_of_one(processor):
    one, many = processor("Hello.", duration=1.0), processor(["Hello."], duration=[1.0])
    assert one["input_ids"].shape[0] == 1
    assert {name: value.tolist() for name, value in one.items()} == {n: v.tolist() for n, v in many.items()}


def test_given_duration(processor):
    frames = processor(["a"] * 5, duration=[1.0, 0.49, 0.001, np.float32(1.5), 120])["num_frames"]
    assert frames.tolist() == [50, 24, 1, 75, 6000]  # 24.5 rounds to even


def test_estimated_duration(processor):
    # German has no phonemes here: 0.11 s per character
    assert processor("abcdefghij", language="de")["num_frames"].tolist() == [55]
    both = processor(["abcdefghij", "abcdefghij" * 2], language="de", speed=[1.25, 1.0])
    assert both["num_frames"].tolist() == [44, 110]
    assert processor(["abcdefghij"] * 2, language=["de", "fr"], speed=0.5)["num_frames"].tolist() == [110, 110]
    mixed = processor(["abcdefghij"] * 2, language="de", duration=[None, 3.0])
    assert mixed["num_frames"].tolist() == [55, 150]
    japanese = "今日はいい天気ですね。"
    frames = round(estimate_duration(japanese) * 50)
    assert frames != round(estimate_duration(japanese, "de") * 50)
    assert processor(japanese)["num_frames"].tolist() == [frames]


def test_estimate_uses_the_reference(processor, monkeypatch):
    calls = []

    def recording_estimate(*args, **kwargs):
        calls.append((args, kwargs))
        return 1.234

    monkeypatch.setattr(speech_inputs, "estimate_duration", recording_estimate)
    options = {"reference_audio": voice(11025, 44100), "sampling_rate": 44100, "reference_text": "Ref"}
    assert processor("ﾃｽﾄです", language="ja", **options)["num_frames"].tolist() == [62]
    assert processor("Text", speed=2.0)["num_frames"].tolist() == [31]
    reference = {"reference_text": "Ref", "reference_duration_seconds": 0.25}
    counted = dict.fromkeys(["reference_language", "num_phonemes", "reference_num_phonemes"])
    assert calls == [
        (("テストです",), {"language": "ja", **reference, **counted}),
        (("Text",), {"language": None, **dict.fromkeys(reference), **counted}),
    ]


def test_japanese_is_normalised(processor):
    def ids(*args, **kwargs):
        return processor(*args, duration=1.0, **kwargs)["input_ids"][0].tolist()

    assert ids("ﾃｽﾄ　です～！") == [*text_ids("テストですー!"), TEXT_EOS]
    assert ids("ﾃｽﾄ　です～！", language="en") == [*text_ids("ﾃｽﾄ　です～！"), TEXT_EOS]
    assert ids("a；b ①", language="ja-JP") == [*text_ids("a；b"), TEXT_EOS]
    with_reference = ids("Text", reference_audio=voice(), sampling_rate=16000, reference_text="これは　ＡＢＣです？")
    assert with_reference == [*text_ids("これはABCです?"), TEXT_SEPARATOR, *text_ids("Text"), TEXT_EOS]


@pytest.fixture(scope="module")
def model(tiny_checkpoint) -> T5GemmaTTSForConditionalGeneration:
    return T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint)


def test_batch_equals_single_texts(processor, model):
    samples = [
        {"text": "Hello there.", "duration": 0.8},
        {"text": "ﾃｽﾄ　です。", "duration": 0.3, "reference_audio": voice(5000), "reference_text": "Eins zwei"},
        {"text": "A longer text, with more to say in it.", "duration": 1.6},
        {"text": "Ja.", "language": "de", "reference_audio": voice(12000, seed=1), "reference_text": "これは声です。"},
    ]
    names = ("text", "duration", "language", "reference_audio", "reference_text")
    columns = {name: [sample.get(name) for sample in samples] for name in names}
    budget = {"do_sample": False, "max_new_tokens": 60}
    together = model.generate(**processor(**columns, sampling_rate=16000), **budget)
    spoken = processor.batch_decode(together)
    rows = [processor.speech_codes(row) for row in together]
    assert len({tuple(row) for row in rows}) == 4 and min(map(len, rows)) > 10
    for sample, row, waveform in zip(samples, rows, spoken, strict=True):
        alone = model.generate(**processor(**sample, sampling_rate=16000), **budget)
        assert processor.speech_codes(alone[0]) == row
        np.testing.assert_allclose(waveform, processor.batch_decode(alone)[0], rtol=0, atol=1e-5)
        assert waveform.shape == (320 * len(row),) and np.isfinite(waveform).all()


def test_reference_changes_what_is_said(processor, model):
    """The prompt affects the output: other codes or texts give other speech."""
    said = set()
    for seed, words in ((0, "Ref"), (1, "Ref"), (0, "Other")):
        reference = {"reference_audio": voice(seed=seed), "reference_text": words, "sampling_rate": 16000}
        inputs = processor("Text", duration=1.0, **reference)
        said.add(tuple(model.generate(**inputs, do_sample=False, max_new_tokens=30)[0].tolist()))
    assert len(said) == 3


@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_batch_decode_leaves_out_specials_and_padding(processor, kind):
    rows = [[5, 9, 200, 13, END, PAD, PAD], [255, END, PAD, PAD, PAD, PAD, PAD], [1, START, 0, SEPARATOR, 7, 3, END]]
    clean = [[5, 9, 200, 13], [255], [1, 0, 7, 3]]
    waveforms = processor.batch_decode(kind(rows))
    assert [waveform.shape for waveform in waveforms] == [(4 * 320,), (320,), (4 * 320,)]
    for waveform, codes in zip(waveforms, clean, strict=True):
        assert isinstance(waveform, np.ndarray) and waveform.dtype == np.float32
        np.testing.assert_allclose(waveform, processor.codec.decode(codes), rtol=0, atol=1e-5)
        assert np.abs(waveform).max() > 1e-3
    assert processor.speech_codes(kind(rows)[2]) == clean[2]


def test_batch_decode_of_rows_without_speech(processor):
    empty, spoken, short = processor.batch_decode(torch.tensor([[END, PAD], [4, END], [PAD, PAD]]))
    assert (empty.shape, empty.dtype, short.shape) == ((0,), np.float32, (0,))
    np.testing.assert_allclose(spoken, processor.codec.decode([4]), rtol=0, atol=1e-6)
    without = T5GemmaTTSProcessor(tiny_tokenizer(), codebook_size=256)
    assert [waveform.shape for waveform in without.batch_decode([[END], []])] == [(0,), (0,)]  # needs no codec


def test_decode_gives_what_the_pipeline_takes(processor):
    sequences = torch.tensor([[5, 9, END, PAD], [7, 3, 2, END]])
    expected = processor.batch_decode(sequences)
    for one in (sequences[0], sequences[:1], sequences[0].tolist()):
        waveform = processor.decode(one)
        assert isinstance(waveform, torch.Tensor) and waveform.dtype == torch.float32
        np.testing.assert_allclose(waveform.numpy(), expected[0], rtol=0, atol=1e-6)
    both = processor.decode(sequences)
    assert isinstance(both, list) and [tuple(waveform.shape) for waveform in both] == [(640,), (960,)]
    np.testing.assert_allclose(both[1].numpy(), expected[1], rtol=0, atol=1e-6)


def test_save_audio(processor, tmp_path):
    waves = [0.5 * voice(3200, seed=seed) for seed in range(3)]
    assert processor.save_audio(waves[0], tmp_path / "one.wav") == [tmp_path / "one.wav"]
    assert processor.save_audio([torch.from_numpy(waves[1])], str(tmp_path / "two.flac"), sampling_rate=8000) == [
        tmp_path / "two.flac"
    ]
    paths = processor.save_audio(waves, tmp_path / "many.wav")
    assert paths == [tmp_path / f"many-{number}.wav" for number in (1, 2, 3)]
    for path, wave, rate in [
        (tmp_path / "one.wav", waves[0], 16000),
        (tmp_path / "two.flac", waves[1], 8000),
        *[(path, wave, 16000) for path, wave in zip(paths, waves, strict=True)],
    ]:
        written, sampling_rate = soundfile.read(path)
        assert sampling_rate == rate
        np.testing.assert_allclose(written, wave, rtol=0, atol=2**-14)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["one.wav", "two.flac", *(path.name for path in paths)]
    )


def test_save_audio_of_nothing(processor, tmp_path):
    with pytest.raises(ValueError, match="at least one waveform"):
        processor.save_audio([], tmp_path / "out.wav")


def test_save_audio_error_before_writing(processor, tmp_path):
    waves = [voice(3200), voice(1600)]
    (tmp_path / "out-2.wav").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"out-2\.wav.*overwrite=True"):
        processor.save_audio(waves, tmp_path / "out.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["out-2.wav"]
    assert (tmp_path / "out-2.wav").read_bytes() == b"precious"
    processor.save_audio(waves, tmp_path / "out.wav", overwrite=True)
    assert [soundfile.info(tmp_path / f"out-{number}.wav").frames for number in (1, 2)] == [3200, 1600]
