"""Names of models and voices that clients send, and fields that the server does not know."""

import pytest
from serving import SPEECH, VOICES, live_server
from test_serving_api import DURATION, error_of, upload

from t5gemma_tts.serving.errors import NotFound
from t5gemma_tts.serving.names import COMMON_MODELS, STOCK_VOICES, Names, header_list, header_value, parse_aliases


BODY = {"input": "Hello.", "duration": DURATION, "seed": 1, "response_format": "pcm"}


@pytest.fixture(scope="module")
def aliased(checkpoint, tmp_path_factory):
    """A server with the voice anna, and other names for it."""
    names = Names(["tiny"], voice_aliases={"nova": "anna", "en-US-Änne": "anna", "gone": "nobody", "own": "default"})
    with live_server(checkpoint, tmp_path_factory.mktemp("voices"), names=names) as server:
        assert upload(server).status_code == 201
        yield server


def test_every_model_name_is_served_and_the_answer_names_the_model(aliased):
    for name, said in (("gpt-4o-mini-tts", "tiny"), ("kokoro", "tiny"), ("tiny", "tiny"), ("", "tiny"), (None, "tiny")):
        answer = aliased.speak(**BODY, model=name)
        assert answer.status_code == 200 and answer.headers["x-model"] == said
    answer = aliased.client.post(f"{SPEECH}/batch", json={"model": "tts-1", "items": [BODY | {"input": ""}]})
    assert answer.headers["x-model"] == "tiny"
    listed = [model["id"] for model in aliased.client.get("/v1/models").json()["data"]]
    assert listed == ["tiny", *COMMON_MODELS]
    for name in listed:
        assert aliased.client.get(f"/v1/models/{name}").json()["id"] == name
    error_of(aliased.client.get("/v1/models/gpt-4"), 404)


@pytest.mark.parametrize("stream_format", [None, "audio", "sse"])
@pytest.mark.parametrize(
    ("name", "voice"),
    [("alloy", "default"), ("nova", "anna"), ("en-US-Änne", "anna"), ("own", "default"), ({"id": "nova"}, "anna")],
)
def test_names_of_voices(aliased, name, voice, stream_format):
    answer = aliased.speak(**BODY, voice=name, stream_format=stream_format)
    assert answer.status_code == 200 and answer.headers["x-voice"] == voice
    if stream_format is None:
        assert answer.content == aliased.speak(**BODY, voice=voice).content
        assert answer.content != aliased.speak(**BODY, voice={"default": "anna", "anna": "default"}[voice]).content


def test_lists_for_clients(aliased):
    answer = aliased.client.get(VOICES).json()
    assert answer["object"] == "list" and [voice["id"] for voice in answer["data"]] == ["default", "anna"]
    found = {voice["id"]: voice["name"] for voice in answer["voices"]}  # as Open WebUI reads it
    assert list(found) == ["default", "anna", "nova", "en-US-Änne", "gone", "own"] and list(found.values()) == list(
        found
    )
    answer = aliased.client.get("/v1/audio/models").json()
    assert [model["id"] for model in answer["models"]] == ["tiny", *COMMON_MODELS]
    assert answer["data"] == answer["models"] == aliased.client.get("/v1/models").json()["data"]


def test_an_alias_of_nothing(aliased):
    assert "no voice 'nobody'" in error_of(aliased.speak(**BODY, voice="gone"), 404)["message"]


def test_stock_voices(server):
    for name in STOCK_VOICES:
        assert server.speak(**BODY, voice=name).headers["x-voice"] == "default"
    assert upload(server, name="alloy").status_code == 201  # a stored voice of that name comes first
    try:
        assert server.speak(**BODY, voice="alloy").headers["x-voice"] == "alloy"
        assert server.speak(**BODY, voice="alloy").content != server.speak(**BODY, voice="ash").content
        results = server.client.post(f"{SPEECH}/batch", json={"items": [BODY | {"voice": "alloy"}, BODY]}).json()
        assert [result["voice"] for result in results["data"]] == ["alloy", "default"]
    finally:
        assert server.client.delete(f"{VOICES}/alloy").status_code == 200


def test_strict_models(checkpoint):
    with live_server(checkpoint, names=Names(["tiny", "ours"], strict_models=True)) as server:
        error = error_of(server.speak(**BODY, model="gpt-4o-mini-tts"), 404)
        assert error["param"] == "model" and "this server has 'tiny', 'ours'" in error["message"]
        error_of(server.client.post(f"{SPEECH}/batch", json={"model": "tts-1", "items": [{"input": "Hi."}]}), 404)
        assert server.speak(**BODY, model="ours").headers["x-model"] == "ours"
        assert [model["id"] for model in server.client.get("/v1/models").json()["data"]] == ["tiny", "ours"]


def test_unknown_fields_are_named(server):
    fields = {"instructions": "Whisper.", "lang_code": "a", "volume_multiplier": 2.0, "stream": True}
    answer = server.speak(**BODY, **fields)
    assert answer.status_code == 200 and "content-length" not in answer.headers  # it is streamed
    assert answer.headers["x-ignored-fields"] == "instructions, lang_code, volume_multiplier"
    assert "x-ignored-fields" not in server.speak(**BODY).headers
    answer = server.speak(**BODY, voice={"id": "default", "a\r\nX-Evil: 1,b": 2}, **{"ü" * 100: 1})
    assert answer.headers["x-ignored-fields"] == "%C3%BC" * 64 + ", voice.a%0D%0AX-Evil:%201%2Cb"
    assert "x-evil" not in answer.headers
    assert server.speak(**BODY, **{"": 1, " ": 2}).headers["x-ignored-fields"] == '"", %20'
    answer = server.speak(**BODY, **{f"field{number}": 0 for number in range(5000)})
    assert answer.status_code == 200 and answer.headers["x-ignored-fields"].endswith("field19, ...")
    body = {"items": [{"input": "Hi.", "duration": DURATION, "cadence": 1}, BODY], "extra": None}
    answer = server.client.post(f"{SPEECH}/batch", json=body)
    assert answer.headers["x-ignored-fields"] == "extra"
    results = answer.json()["data"]
    assert [result["ignored_fields"] for result in results] == [["cadence"], ["response_format"]]
    assert [result["voice"] for result in results] == ["default"] * 2


def test_strict_fields(checkpoint):
    with live_server(checkpoint, strict=True) as server:
        for fields in ({"instructions": "Whisper."}, {"voice": {"id": "default", "mood": "glad"}}):
            error = error_of(server.speak(**BODY | fields), 400)
            assert error["param"] in ("instructions", "voice.mood") and "--strict" in error["message"]
        assert server.speak(**BODY).status_code == 200
        results = server.client.post(f"{SPEECH}/batch", json={"items": [{"input": "Hi.", "x": 1}]}).json()["data"]
        assert results[0]["error"]["param"] == "x"


@pytest.mark.parametrize(
    ("fields", "streamed"),
    [
        ({"stream": True}, True),
        ({"stream": False}, False),
        ({"stream": False, "stream_format": "audio"}, False),
        ({"stream": False, "stream_format": "sse"}, True),
        ({"stream": True, "stream_format": "sse"}, True),
        ({"stream": None, "stream_format": "audio"}, True),
    ],
)
def test_stream(server, fields, streamed):
    answer = server.speak(**BODY, **fields)
    assert answer.status_code == 200 and ("content-length" in answer.headers) != streamed
    assert answer.headers["content-type"].startswith("text/event-stream") == (fields.get("stream_format") == "sse")


def test_files_of_aliases(tmp_path):
    (tmp_path / "aliases").write_text("# ours\nalloy = anna\n\nÄnne=bob\n", encoding="utf-8")
    assert parse_aliases(["alloy=carla"], tmp_path / "aliases") == {"alloy": "carla", "Änne": "bob"}
    (tmp_path / "aliases").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="must be a text file of voice aliases, in UTF-8"):
        parse_aliases([], tmp_path / "aliases")


@pytest.mark.parametrize(
    "entry", ["alloy", "=anna", "a" * 101 + "=anna", "default=anna", "alloy=", "alloy=../x", "a\0=b"]
)
def test_aliases_that_make_no_sense(entry):
    with pytest.raises(ValueError, match="alias"):
        parse_aliases([entry])
    with pytest.raises(ValueError, match="alias"):
        Names(voice_aliases=dict([entry.split("=")] if "=" in entry else [(entry, "")]))


def test_names_alone():
    with pytest.raises(ValueError, match="at least one name"):
        Names([])
    with pytest.raises(NotFound, match="no model 'x'"):
        Names(["a"], strict_models=True).model("x")
    assert header_value("a\nb\ud800") == "a%0Ab%5Cud800" and header_list(["a,b", "c"]) == "a%2Cb, c"
    assert header_value("日本").isascii()
