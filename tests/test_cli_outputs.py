"""Where `t5gemma-tts speak` writes, plays and reports; shell completion."""

import os
import shutil
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from voices import voice, write_voice

from t5gemma_tts.cli.outputs import check_outputs, output_paths
from t5gemma_tts.cli.playback import FILE_PLAYERS, STREAMING_PLAYERS, find_player


@pytest.mark.parametrize(
    ("pattern", "count", "seeds", "expected"),
    [
        ("a.wav", 1, None, ["a.wav"]),
        ("a.wav", 2, None, ["a-1.wav", "a-2.wav"]),
        ("a{{b}}.wav", 1, None, ["a{b}.wav"]),
        ("{n}.flac", 2, None, ["1.flac", "2.flac"]),
        ("out/{n:03}.ogg", 2, None, ["out/001.ogg", "out/002.ogg"]),
        ("{seed}/{n}.wav", 2, [7, 8], ["7/1.wav", "8/2.wav"]),
        ("{seed}.wav", 1, [7], ["7.wav"]),
    ],
)
def test_patterns(pattern, count, seeds, expected):
    assert [path.as_posix() for path in output_paths(pattern, count, seeds)] == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a.mp4", "must end in one of .wav, .flac, .ogg, got 'a.mp4'"),
        ("{m}.wav", r"may have the fields \{n\} and \{seed\}, got \{m\}"),
        ("{}.wav", r"got \{\}"),
        ("{n.wav", "is not a valid pattern"),
        ("{n:q}.wav", "is not a valid pattern"),
        ("{seed}.wav", r"'\{seed\}.wav' gives several files the same name; put \{n\}"),
    ],
)
def test_bad_patterns(pattern, message):
    with pytest.raises(ValueError, match=message):
        output_paths(pattern, 2, [5, 5])
    with pytest.raises(ValueError, match="needs a command that samples"):
        output_paths("{seed}.wav", 1)


def test_check_creates_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_outputs([Path("a/b/c.wav"), tmp_path / "d.wav"], overwrite=False)
    Path("folder.wav").mkdir()
    with pytest.raises(IsADirectoryError, match="'folder.wav' is a folder"):
        check_outputs([Path("folder.wav")], overwrite=True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(PermissionError, match="write-protected"):
        check_outputs([Path("a/b/c.wav")], overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.wav"]


def test_folders_are_made(run, checkpoint):
    options = ("--model", checkpoint, "--duration", 0.3)
    code, out, err = run("speak", "One.\nTwo.", "-o", "new/sub/{n:02}.wav", "--tokens", "more/tokens.txt", *options)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["new/sub/01.wav", "new/sub/02.wav"]
    assert run("decode", "more/tokens.txt", "-o", "decoded/a.wav", "--codec", checkpoint)[0] == 0
    for number in (1, 2):
        decoded, _ = soundfile.read(f"decoded/a-{number}.wav")
        np.testing.assert_allclose(decoded, soundfile.read(f"new/sub/{number:02}.wav")[0], atol=2**-14)
    assert run("encode", "decoded/a-1.wav", "-o", "encoded/a.txt", "--codec", checkpoint)[0] == 0
    assert Path("encoded/a.txt").exists()
    assert run("speak", "One.", "--stream", "-o", "streamed/{n}.wav", *options)[0] == 0
    assert soundfile.info("streamed/1.wav").frames > 0


def test_a_seed_in_a_name_reproduces_the_file(run, checkpoint):
    options = ("--model", checkpoint, "--duration", 0.3)
    code, _, err = run("speak", "One.", "--num-samples", 2, "-o", "{n}-{seed}.wav", *options)
    assert (code, err) == (0, "")
    for path in list(Path().glob("*.wav")):
        seed = path.stem.split("-")[1]
        assert run("speak", "One.", "--seed", seed, "-o", "again.wav", "--overwrite", *options)[0] == 0
        assert Path("again.wav").read_bytes() == path.read_bytes()


def fake_player(folder: Path, name: str, code: int = 0) -> None:
    """A program that keeps what it is given to play, on standard input or as a file."""
    keep = 'cat "$1" >> "$HEARD"' if name in FILE_PLAYERS else 'cat >> "$HEARD"'
    path = folder / name
    path.write_text(f"#!/bin/sh\n{keep}\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def players(tmp_path, monkeypatch):
    folder = tmp_path / "players"
    folder.mkdir()
    (folder / "cat").symlink_to(shutil.which("cat"))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HEARD", str(tmp_path / "heard"))
    return folder


def heard() -> np.ndarray:
    data = Path("heard").read_bytes()
    return np.frombuffer(data[44:], "<i2") / 32768


@pytest.mark.parametrize("name", [*STREAMING_PLAYERS, *FILE_PLAYERS])
@pytest.mark.parametrize("options", [(), ("--stream",), ("--long",)], ids=["whole", "stream", "long"])
def test_play(run, checkpoint, players, name, options):
    fake_player(players, name)
    common = ("One.", "--model", checkpoint, "--seed", 1, *options)
    code, _, err = run("speak", *common, "-o", "out.wav", "--play")
    assert (code, err) == (0, "")
    written, _ = soundfile.read("out.wav")
    np.testing.assert_allclose(heard(), written, atol=2 / 32768)
    Path("heard").unlink()
    assert run("speak", *common, "--play") == (0, "", "")  # without a file
    np.testing.assert_allclose(heard(), written, atol=2 / 32768)


def test_play_errors(run, checkpoint, players, monkeypatch):
    common = ("speak", "One.", "--model", checkpoint, "--duration", 0.3)
    code, _, err = run("speak", "One.", "--model", "nothing", "--play")  # before anything is loaded
    assert code == 1 and "--play needs one of these programs: aplay, ffplay" in err
    fake_player(players, "aplay", code=3)
    assert find_player() == str(players / "aplay")
    code, _, err = run(*common, "--play")
    assert code == 1 and "aplay' failed with exit code 3" in err
    code, _, err = run(*common, "--stream", "--play", "-o", "-")
    assert code == 1 and "`--output -` and --play cannot be combined" in err


def test_quiet_and_verbose(run, checkpoint):
    write_voice(Path("short.wav"), 4000)
    common = ("speak", "One.", "--model", checkpoint, "--duration", 0.3, "--overwrite", "-o", "out.wav")
    reference = ("--reference", "short.wav", "--reference-text", "Ref")
    assert run(*common, "-q") == (0, "", "")
    with pytest.warns(UserWarning, match="`reference_audio` takes 0.25 s"):
        assert run(*common, *reference) == (0, "out.wav  0.50 s\n", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(*common, *reference, "--quiet") == (0, "", "")
    with pytest.warns(UserWarning, match="takes 0.25 s"):
        code, out, err = run(*common, *reference, "-v")
    assert code == 0 and "t5gemma-tts: reference of 0.25 s: 0.00 s of silence trimmed" in err
    code, _, err = run(*common, "-q", "-v")
    assert code == 2 and "not allowed with argument" in err
    code, out, _ = run("info", checkpoint, "-q")
    assert code == 0 and out  # a result, not a message


def test_changes_of_a_reference_are_reported(run, checkpoint):
    padded = np.concatenate([np.zeros(16000, np.float32), voice(16000)])
    soundfile.write("padded.wav", padded, 16000)
    common = ("speak", "One.", "--model", checkpoint, "--duration", 0.3, "-o", "out.wav", "--reference", "padded.wav")
    code, _, err = run(*common, "--reference-text", "Ref", "--trim-silence", "--normalize-loudness")
    assert code == 0
    assert err.startswith("t5gemma-tts: reference of 1.10 s: 0.90 s of silence trimmed, -") and err.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(run, shell):
    pytest.importorskip("shtab")
    code, out, err = run("completion", shell)
    assert (code, err) == (0, "")
    for word in ("speak", "serve", "--normalize-loudness", "completion"):
        assert word in out


def test_completion_in_bash(run):
    pytest.importorskip("shtab")
    _, script, _ = run("completion", "bash")
    function = next(line.split()[-2] for line in script.splitlines() if line.startswith("complete "))
    ask = f'{script}\nCOMP_WORDS=(t5gemma-tts speak --norm); COMP_CWORD=2\n{function}\necho "${{COMPREPLY[@]}}"'
    answer = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    assert set(answer) == {"--normalize", "--normalize-loudness"}


def test_completion_without_its_package(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    code, _, err = run("completion", "bash")
    assert code == 1 and 'needs `pip install "t5gemma-tts[completion]"`' in err
