"""What no schema describes: broken bodies, strange numbers and characters, damaged recordings, damaged voices."""

import base64
import io
import json
import tempfile

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from recordings import clip
from safetensors.numpy import save
from serving import SPEECH, VOICES
from strategies import HUGE, PHRASES, cases, changed, damaged, json_values, texts

from t5gemma_tts.serving.auth import ApiKeys
from t5gemma_tts.serving.errors import BadRequest, NotFound, PayloadTooLarge
from t5gemma_tts.serving.limits import Limits
from t5gemma_tts.serving.routes_voices import voice_info
from t5gemma_tts.serving.uploads import decode_base64, decode_recording
from t5gemma_tts.serving.voices import VoiceStore


BODY = {
    "input": "Hi.",
    "voice": "default",
    "model": "tiny",
    "response_format": "wav",
    "language": "en",
    "duration": 0.1,
    "speed": 1.0,
    "seed": 1,
    "temperature": 1.0,
    "top_k": 5,
    "top_p": 0.9,
    "min_p": 0.1,
}
SECOND = io.BytesIO()
soundfile.write(SECOND, clip(1, seconds=1.0), 16000, format="WAV")
SECOND = SECOND.getvalue()
CODES = {"codes": np.arange(9, dtype=np.int32)}
RECORD = {
    "name": "anna",
    "reference_text": "Hello.",
    "consent": True,
    "codec": "abc",
    "duration_seconds": 0.2,
    "created": "2024-01-01T00:00:00+00:00",
}


@pytest.fixture
def brief(server, monkeypatch):
    monkeypatch.setattr(server.synthesis.processor, "max_duration_seconds", 0.4)  # keeps valid requests short
    return server


def check_answer(answer, good: tuple[int, ...]) -> None:
    """Success with a body, or an error of OpenAI's shape that is not the server's fault."""
    if answer.status_code in good:
        assert answer.content
        return
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    error = answer.json()["error"]
    assert error["message"] and error["type"] and error.keys() == {"message", "type", "param", "code"}


def as_json(value, ascii_only: bool) -> bytes:
    """As Python writes it, NaN and infinity too; half surrogate pairs as escapes, or as bytes that are no UTF-8."""
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


@cases(40)
@given(data=st.data())
def test_bodies(brief, data):
    body = {key: BODY[key] for key in data.draw(st.sets(st.sampled_from(sorted(BODY))))} | {"input": "Hi."}
    strange = json_values() | texts() | st.sampled_from([HUGE, float("nan"), float("inf"), 2**53, 1e-320])
    if data.draw(st.booleans()):
        body["input"] = data.draw(texts())
    if data.draw(st.booleans()):
        sound = data.draw(st.just(SECOND) | damaged(SECOND, most_changed=60) | st.binary(max_size=30))
        body |= {"reference_audio": base64.b64encode(sound).decode(), "reference_text": data.draw(texts())}
    if data.draw(st.booleans()):
        body["stream_format"] = data.draw(st.sampled_from(["audio", "sse"]))
    body = data.draw(st.just(body) | changed(body, values=strange, max_changes=2))
    content = as_json(body, data.draw(st.booleans()))
    content = data.draw(st.just(content) | st.just(content) | damaged(content))
    kind = data.draw(st.sampled_from(["application/json"] * 5 + ["text/plain", "multipart/form-data", ""]))
    answer = brief.client.post(SPEECH, content=content, headers={"Content-Type": kind})
    check_answer(answer, (200,))


@cases(20)
@given(data=st.data())
def test_batches(brief, data):
    items = st.just({"input": "Hi.", "duration": 0.1}) | changed(BODY) | json_values()
    body = {"items": data.draw(st.lists(items, max_size=3) | json_values()), "response_format": "wav"}
    answer = brief.client.post(
        f"{SPEECH}/batch", content=as_json(body, True), headers={"Content-Type": "application/json"}
    )
    check_answer(answer, (200,))
    if answer.status_code == 200:
        for number, result in enumerate(answer.json()["data"]):
            assert result["index"] == number and (result["audio"] is None) == (result["error"] is not None)


@cases(30)
@given(data=st.data())
def test_voices_that_are_sent(brief, data):
    sound = data.draw(st.just(SECOND) | damaged(SECOND) | damaged(SECOND, most_changed=60) | st.binary(max_size=60))
    name = data.draw(st.sampled_from(["anna", "berta"]) | st.text(max_size=5))
    form = {"name": name, "consent": data.draw(st.sampled_from(["true", "false", "x"])), "reference_text": "Hello."}
    form = data.draw(st.just(form) | changed(form, values=st.text(max_size=9)))
    answer = brief.client.post(VOICES, data=form, files={"audio": (data.draw(st.text(max_size=5)), sound)})
    check_answer(answer, (201,))
    if answer.status_code == 201:
        assert brief.client.delete(f"{VOICES}/{answer.json()['id']}").status_code == 200
    assert brief.client.get(VOICES).status_code == 200


@cases(30)
@given(data=st.data())
def test_stored_voices(processor, data):
    """What lies in the voices' folder: refused as damaged, or a voice that can be listed and spoken with."""
    record = data.draw(st.just(RECORD) | changed(RECORD, values=json_values() | texts()))
    record = as_json(record, data.draw(st.booleans()))
    record = data.draw(st.just(record) | damaged(record))
    codes = data.draw(st.just(save(CODES)) | damaged(save(CODES)) | st.binary(max_size=20))
    with tempfile.TemporaryDirectory() as name:
        store = VoiceStore(name, "abc")
        (store.folder / "anna").mkdir()
        (store.folder / "anna" / "voice.json").write_bytes(record)
        (store.folder / "anna" / "codes.safetensors").write_bytes(codes)
        listed = store.voices()
        try:
            voice = store.get("anna")
        except BadRequest as error:
            assert "'anna'" in str(error) and not listed
            return
    assert voice_info(voice).model_dump_json() and listed == [voice]
    try:
        inputs = processor(
            "Hi.", reference_audio={"codes": voice.codes}, reference_text=voice.reference_text, duration=0.1
        )
    except ValueError as error:  # which the server answers with
        assert "`reference_audio['codes']`" in str(error) or "surrogate" in str(error)
        return
    assert inputs["decoder_input_ids"].shape == (1, len(voice.codes) + 2)


@cases(30)
@given(name=texts(12))
def test_names_of_voices(tmp_path_factory, name):
    store = VoiceStore(tmp_path_factory.getbasetemp() / "voices", "abc")
    for use in (store.get, store.delete):
        with pytest.raises((BadRequest, NotFound)):
            use(name)
    assert not list(store.folder.iterdir())


@cases(30)
@given(data=st.data())
def test_recordings_in_memory(data):
    text = base64.b64encode(data.draw(damaged(SECOND) | damaged(SECOND, most_changed=60))).decode()
    text = data.draw(st.just(text) | texts())
    limits = Limits(max_reference_seconds=2.0)
    try:
        waveform, rate = decode_recording(decode_base64(text, limits), limits)
    except (BadRequest, PayloadTooLarge) as error:
        assert error.param == "reference_audio"
        return
    assert waveform.ndim == 1 and 0.5 * rate <= len(waveform) <= 2.0 * rate


@cases(30)
@given(
    content=st.binary(max_size=40) | texts().map(lambda text: text.encode("utf-8", "surrogatepass")), header=st.binary()
)
def test_files_of_keys(tmp_path_factory, content, header):
    path = tmp_path_factory.getbasetemp() / "keys"
    path.write_bytes(content)
    try:
        keys = ApiKeys.from_file(path)
    except ValueError as error:
        words = [line.strip() for line in content.decode("utf-8", "ignore").splitlines()]
        assert not any(len(word) > 3 and word in str(error) for word in words)  # a key is never repeated
        return
    assert not keys.allows(header) and not keys.allows(b"Bearer " + header) or header.strip() in content


def test_examples_are_good(brief):
    """Else nothing would be tested but refusals."""
    assert brief.client.post(SPEECH, json=BODY).status_code == 200
    sound = base64.b64encode(SECOND).decode()
    body = {"input": PHRASES[0], "duration": 0.1, "reference_audio": sound, "reference_text": "x"}
    assert brief.client.post(SPEECH, json=body).status_code == 200
