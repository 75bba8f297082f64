"""Exit codes and error messages of `t5gemma-tts`."""

import os
import shutil
from pathlib import Path

import pytest
import soundfile
from voices import CUTOFF_FRAMES, write_voice

from t5gemma_tts import __version__, loading
from t5gemma_tts.cli import main as cli
from t5gemma_tts.cli import speak_plan


@pytest.mark.parametrize("existing", ["out.wav", "tokens.txt"])
def test_error_for_existing_output_before_loading(run, checkpoint, monkeypatch, existing):
    def load_nothing(*args, **kwargs):
        raise AssertionError("loaded")

    Path(existing).write_bytes(b"precious")
    options = ("--model", checkpoint, "-o", "out.wav", "--tokens", "tokens.txt", "--duration", 0.3)
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_processor", load_nothing)
        patch.setattr(loading, "load_model", load_nothing)
        code, out, err = run("speak", "One.", *options)
    assert (code, out) == (1, "")
    assert err == f"t5gemma-tts speak: '{existing}' exists; pass --overwrite to replace it.\n"
    assert Path(existing).read_bytes() == b"precious"
    assert run("speak", "One.", *options, "--overwrite")[0] == 0
    assert soundfile.info("out.wav").frames == 320 * (15 + CUTOFF_FRAMES)
    assert len(Path("tokens.txt").read_text().split()) == 15 + CUTOFF_FRAMES


def test_one_existing_file_of_several(run, checkpoint):
    Path("out-2.wav").write_bytes(b"precious")
    code, _, err = run("speak", "One.\nTwo.", "--model", checkpoint, "-o", "out.wav", "--duration", 0.3)
    assert code == 1 and "'out-2.wav' exists; pass --overwrite" in err
    assert [path.name for path in Path().iterdir()] == ["out-2.wav"]
    Path("tokens.txt").write_text("1\n2\n")
    code, _, err = run("decode", "tokens.txt", "--codec", checkpoint, "-o", "out.wav")
    assert code == 1 and "'out-2.wav' exists; pass --overwrite" in err
    assert Path("out-2.wav").read_bytes() == b"precious" and not Path("out-1.wav").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "the text is empty"),
        ([" \n\t\n"], "the text is empty"),
        (["One.", "--text-file", "lines.txt"], "give either TEXT or --text-file, not both"),
        (["--text-file", "none.txt"], "No such file or directory: 'none.txt'"),
        (["--text-file", "latin.txt"], "'utf-8' codec can't decode"),
        (["One.", "-o", "out.mp4"], "--output must end in one of .wav, .flac, .ogg, got 'out.mp4'"),
        (["One.", "-o", "lines.txt/out.wav"], "the folder of 'lines.txt/out.wav' cannot be made"),
        (["One.", "--model", "."], "'.' is not a checkpoint: it has no config.json"),
        (["One.", "--model", "{checkpoint}/codec"], "is not a T5Gemma-TTS checkpoint: its `model_type` is 'xcodec2'"),
        (["One.", "--codec", "."], "no codec found at '.': it has no config.json"),
        (["One.", "--device", "gramophone"], "`device` 'gramophone' is not usable here"),
        (["One.", "--codec-device", "gramophone"], "`device` 'gramophone' is not usable here"),
        (["One.", "--device", "cuda:99"], "`device` 'cuda:99' is not usable here"),  # a name, but no such device
        (["One.", "--duration", "121"], "`duration` must be at most 120.0 seconds, got 121.00"),
        (["One.", "--duration", "1", "--speed", "2"], "with `duration` it must be 1.0, got 2.0"),
        (["One.", "--language", "", "--duration", "1"], "language must be a tag"),
        (["One.\n①", "--language", "ja", "--duration", "1"], "text 1: `text` '①' has nothing to say"),
        (["One.", "--reference-text", "Ref"], "`reference_text` was given without `reference_audio`"),
        (["One.", "--reference", "none.wav"], "no audio file at 'none.wav'"),
        (["One.", "--reference", "latin.txt"], "'latin.txt' cannot be decoded: soundfile"),
        (["One.", "--reference", "voice.wav"], "`reference_text` is needed"),
        (["One.", "--reference", "voice.wav", "--asr", "./none"], "from `asr` './none'"),
        (["One.", "--temperature", "-1", "--duration", "1"], "`temperature` must be above 0, got -1.0"),
        (["One.", "--top-k", "-1", "--duration", "1"], "`top_k` must be"),
    ],
)
def test_speak_errors_before_the_model_is_loaded(run, checkpoint, monkeypatch, arguments, message):
    def load_nothing(*args, **kwargs):
        raise AssertionError("loaded")

    monkeypatch.setattr(loading, "load_model", load_nothing)
    Path("latin.txt").write_bytes("Grün".encode("latin-1"))
    Path("lines.txt").write_text("One.")
    write_voice(Path("voice.wav"))
    before = sorted(Path().iterdir())
    arguments = [argument.format(checkpoint=checkpoint) for argument in arguments]
    # of an option given twice the last one holds
    code, out, err = run("speak", "--model", checkpoint, "-o", "out.wav", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("t5gemma-tts speak: ") and message in err
    assert sorted(Path().iterdir()) == before


def test_checkpoint_without_its_codec(run, checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "copy", ignore=shutil.ignore_patterns("codec"))
    code, _, err = run("speak", "One.", "--model", "copy", "-o", "out.wav", "--duration", 0.3)
    assert code == 1 and err.startswith("t5gemma-tts speak: no codec found at 'copy'")
    code, _, err = run("encode", write_voice(Path("voice.wav")), "--codec", "copy")
    assert code == 1 and err.startswith("t5gemma-tts encode: no codec found at 'copy'")


@pytest.mark.parametrize("part", ["model", "codec"])
@pytest.mark.parametrize("num_bytes", [0, 5000, -100])
def test_truncated_weights(run, checkpoint, tmp_path, part, num_bytes):
    shutil.copytree(checkpoint, tmp_path / "copy")
    path = Path("copy/model.safetensors" if part == "model" else "copy/codec/model.safetensors")
    path.write_bytes(path.read_bytes()[:num_bytes])
    commands = [("speak", "One.", "--model", "copy", "-o", "out.wav", "--duration", 0.3)]
    commands += [("info", "copy")] if part == "model" else []
    for command in commands:
        code, out, err = run(*command)
        assert (code, out) == (1, "")
        assert err.startswith(f"t5gemma-tts {command[0]}: ") and "header" in err
    assert not Path("out.wav").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["speak", "x", "--model", "m"], "the following arguments are required: -o/--output or --play"),
        (["speak", "x", "--model", "m", "-o", "x.wav", "--pitch", "3"], "unrecognized arguments: --pitch"),
        (["speak", "x", "--model", "m", "-o", "x.wav", "--duration", "-1"], "--duration: must be above 0, got -1"),
        (["speak", "x", "--model", "m", "-o", "x.wav", "--duration", "nan"], "--duration: must be above 0, got nan"),
        (["speak", "x", "--model", "m", "-o", "x.wav", "--duration", "inf"], "--duration: must be above 0, got inf"),
        (["speak", "x", "--model", "m", "-o", "x.wav", "--duration", "a"], "--duration: invalid float above 0 value"),
        (["speak", "x", "--model", "m", "-o", "x.wav", "--speed", "0"], "--speed: must be above 0, got 0"),
        (["speak", "x", "--model", "m", "-o", "x.wav", "--num-samples", "0"], "--num-samples: must be above 0"),
        (["speak", "x", "--model", "m", "-o", "x.wav", "--batch-size", "1.5"], "--batch-size: invalid int above 0"),
        (["speak", "x", "--model", "m", "-o", "x.wav", "--dtype", "int8"], "--dtype: invalid choice: 'int8'"),
        (["encode", "--codec", "c"], "the following arguments are required: audio"),
        (["decode", "tokens.txt", "-o", "x.wav"], "the following arguments are required: --codec"),
    ],
)
def test_wrong_usage(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: t5gemma-tts") and message in err


@pytest.mark.parametrize("command", [[], ["speak"], ["encode"], ["decode"], ["info"], ["convert"]], ids=str)
def test_help(run, command):
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "") and out.startswith("usage: t5gemma-tts")


def test_version(run):

    assert run("--version") == (0, f"t5gemma-tts {__version__}\n", "")


def test_debug_shows_where(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="is not a checkpoint"):
        cli.main(["--debug", "info", "."])


def test_faults_of_the_program_are_not_hidden(monkeypatch, run):
    def fault(*args):
        raise KeyError("fault")

    monkeypatch.setattr(speak_plan, "read_lines", fault)
    with pytest.raises(KeyError, match="fault"):
        run("speak", "One.", "--model", "m", "-o", "out.wav")


def test_interrupt(monkeypatch, run):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(speak_plan, "read_lines", interrupt)
    assert run("speak", "One.", "--model", "m", "-o", "out.wav") == (130, "", "interrupted\n")


def test_reader_that_has_gone(monkeypatch, run, checkpoint, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        code = cli.main(["info", str(checkpoint)])
        monkeypatch.undo()
        print("more", file=stream, flush=True)  # as Python does at exit
    assert code == 1 and capsys.readouterr().err == ""
