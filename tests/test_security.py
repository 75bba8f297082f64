"""The promises of SECURITY.md: no code execution from files, no access to other files, no leaked keys."""

import ast
import io
import json
import logging
import os
import pickle
import shutil
import struct
from argparse import Namespace
from pathlib import Path

import httpx
import pytest
import soundfile
import torch
from codec_runs import options, save_recordings, train
from datasets import Dataset
from originals import original_args, original_weights, small_model, write_backbone_config, write_export
from recordings import clip, prepare
from safetensors.torch import save_file
from serving import SPEECH, live_server
from tiny import tiny_model
from tiny_checkpoint import tiny_codec
from trainers import make_trainer

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, XCodec2
from t5gemma_tts.conversion import convert_checkpoint, load_bundle
from t5gemma_tts.loading import load_codec, load_model, load_processor
from t5gemma_tts.preparation.datasets_source import DatasetsSource
from t5gemma_tts.serving.auth import ApiKeys
from t5gemma_tts.sharded.open_dataset import parse_audio_cell
from t5gemma_tts.training.train import options_of, parse_arguments
from training.train_codec import main as train_codec


ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for name in ("t5gemma_tts", "training", "model_card") for path in (ROOT / name).rglob("*.py"))


def name_of(node: ast.expr) -> str:
    """Returns the dotted name of an expression, such as `a.b.c`."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def is_constant(call: ast.Call, argument: str, value) -> bool:
    return any(
        keyword.arg == argument and isinstance(keyword.value, ast.Constant) and keyword.value.value is value
        for keyword in call.keywords
    )


def dangers(source: str) -> list[str]:
    """Finds calls that execute code from files or pass strings to a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        last = name.rsplit(".", 1)[-1]
        if name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"):
            found.append(name)
        elif last in ("load", "loads", "Unpickler") and name.startswith(("pickle.", "dill.", "joblib.", "marshal.")):
            found.append(name)
        elif name == "torch.load" and not is_constant(node, "weights_only", True):
            found.append("torch.load without weights_only=True")
        elif is_constant(node, "allow_pickle", True):
            found.append("allow_pickle=True")
        elif is_constant(node, "shell", True) or name.startswith("subprocess.get"):
            found.append("shell=True")
        elif is_constant(node, "trust_remote_code", True):
            found.append("trust_remote_code=True")
    return found


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "pickle.load(file)",
        "pickle.loads(data)",
        "eval(text)",
        "exec(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "yaml.load(text)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_dangers_are_found(line):
    assert len(dangers(line)) == 1
    assert not dangers("torch.load(path, weights_only=True); model.eval(); json.load(f); yaml.safe_load(t); np.load(p)")


def test_no_source_runs_what_a_file_says():
    found = {str(path.relative_to(ROOT)): dangers(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert len(found) > 100 and not {path: names for path, names in found.items() if names}


class Malicious:
    """Unpickling it creates a folder."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.fixture
def proof(tmp_path):
    """Returns a path that exists only if a malicious pickle was executed."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


def write_malicious(path: Path, proof: Path, content: dict, older: bool = False) -> Path:
    torch.save({**content, "extra": Malicious(proof)}, path, _use_new_zipfile_serialization=not older)
    pickled = io.BytesIO(path.read_bytes())
    torch.load(pickled, weights_only=False)  # it does what it is accused of
    proof.rmdir()
    return path


@pytest.mark.parametrize("older", [False, True])
def test_malicious_bundles(tmp_path, proof, older):
    content = {"model": original_weights(small_model()), "args": Namespace(**original_args())}
    path = write_malicious(tmp_path / "bundle.pth", proof, content, older)
    backbone = write_backbone_config(tmp_path / "backbone")
    with pytest.raises(ValueError, match="is not loaded for safety: it refers to posix.mkdir"):
        load_bundle(path)
    with pytest.raises(ValueError, match="is not loaded for safety: it refers to"):
        convert_checkpoint(path, tmp_path / "out", backbone_config=backbone)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "codec.ckpt", "codec.pth", "codec.pt"])
def test_malicious_codecs(tmp_path, proof, name):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "xcodec", "codec_decoder_hidden_size": 64}))
    write_malicious(tmp_path / name, proof, {"state_dict": {"a": torch.zeros(1)}})
    for load in (XCodec2.from_pretrained, load_codec):
        with pytest.raises(ValueError, match="pickle of other objects than tensors, which is not loaded for safety"):
            load(str(tmp_path))


def replace_weights(folder: Path, proof: Path) -> Path:
    (folder / "model.safetensors").unlink()
    return write_malicious(folder / "pytorch_model.bin", proof, {"a": torch.zeros(1)})


def test_malicious_weights_of_models(tiny_checkpoint, tmp_path, proof):
    ours, original, native = tmp_path / "ours", tmp_path / "original", tmp_path / "codec"
    shutil.copytree(tiny_checkpoint, ours)
    write_export(original, original_weights(small_model()))
    tiny_codec().save_pretrained(native)
    for folder in (ours, original, native):
        replace_weights(folder, proof)
    refusals = (ValueError, OSError, pickle.UnpicklingError, RuntimeError)
    for load, folder in ((load_model, ours), (load_model, original), (load_codec, native)):
        with pytest.raises(refusals):
            load(str(folder))
    with pytest.raises(refusals):
        convert_checkpoint(original, tmp_path / "out")
    with pytest.raises(refusals):
        T5GemmaTTSForConditionalGeneration.from_backbone(ours)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_malicious_checkpoints_of_training(tiny_checkpoint, tmp_path, proof, name):
    """Files that transformers' Trainer reads when a run resumes."""
    run = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "no"}
    make_trainer(tiny_checkpoint, tmp_path, max_steps=1, **run).train()
    path = tmp_path / "checkpoint-1" / name
    write_malicious(path, proof, torch.load(path, weights_only=False))
    torch.save(Malicious(proof), tmp_path / "checkpoint-1" / "training_args.bin")
    message = "checkpoint-1' is damaged, or belongs to another model .*Weights only load failed"
    with pytest.raises(ValueError, match=message):
        make_trainer(tiny_checkpoint, tmp_path, max_steps=2, **run).train(resume_from_checkpoint=True)
    assert not (tmp_path / "checkpoint-2").exists()


def test_training_arguments_are_not_read(tiny_checkpoint, tmp_path, proof):
    run = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "no"}
    make_trainer(tiny_checkpoint, tmp_path, max_steps=1, **run).train()
    torch.save(Malicious(proof), tmp_path / "checkpoint-1" / "training_args.bin")
    make_trainer(tiny_checkpoint, tmp_path, max_steps=2, **run).train(resume_from_checkpoint=True)
    assert (tmp_path / "checkpoint-2").is_dir()


@pytest.mark.parametrize("name", ["optimizers.pt", "random-0.pt"])
def test_malicious_checkpoints_of_codec_training(tmp_path, proof, name):
    run = {"max_steps": 2, "save_steps": 1, "eval_steps": 0}
    clips = save_recordings(tmp_path / "clips")
    train(clips, tmp_path / "run", **run)
    shutil.rmtree(tmp_path / "run" / "checkpoint-2")
    path = tmp_path / "run" / "checkpoint-1" / name
    write_malicious(path, proof, torch.load(path, weights_only=True))
    with pytest.raises(ValueError, match="checkpoint-1' is damaged"):
        train_codec(options(clips, tmp_path / "run", resume=True, **run))


def test_malicious_adapters(tiny_checkpoint, tmp_path, proof):
    from peft import LoraConfig, PeftModel, get_peft_model

    model = get_peft_model(tiny_model(), LoraConfig(target_modules=["q_proj"]))
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    write_malicious(tmp_path / "adapter" / "adapter_model.bin", proof, {})
    with pytest.raises(pickle.UnpicklingError):
        PeftModel.from_pretrained(tiny_model(), tmp_path / "adapter")


@pytest.mark.parametrize("size", [0, 1, 101_000_000, 2**40, 2**63, 2**64 - 1])
def test_headers_of_safetensors_are_bounded(tiny_checkpoint, tmp_path, size):
    """A file with a huge size in its header is an error before memory is allocated."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, folder)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + data[8:])
    with pytest.raises(ValueError, match="are damaged"):
        load_model(str(folder))


def test_shards_are_beside_their_index(tmp_path):
    (tmp_path / "codec").mkdir()
    save_file({"a": torch.zeros(1)}, tmp_path / "outside.safetensors")
    (tmp_path / "codec" / "config.json").write_text(json.dumps({"model_type": "xcodec", "semantic_hidden_size": 32}))
    for name in ("../outside.safetensors", str(tmp_path / "outside.safetensors"), "..\\outside.safetensors", 5):
        index = {"weight_map": {"a": name}}
        (tmp_path / "codec" / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ValueError, match="must name files in its folder, got"):
            XCodec2.from_pretrained(tmp_path / "codec")


def skipped(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "skipped.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "ljspeech"])
def test_rows_cannot_name_files_out_of_their_folder(codec, tmp_path, kind):
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for path in (tmp_path / "secret.wav", source / "own.wav", source / "sub" / "own.wav"):
        soundfile.write(path, clip(1), 16000)
    bad = ["../secret.wav", str(tmp_path / "secret.wav"), "sub/../../secret.wav"]
    good = ["own.wav", "sub/own.wav", "sub/../own.wav", str(source / "own.wav")]
    lines = {
        "jsonl": [json.dumps({"file_name": name, "text": "Hello you."}) for name in bad + good],
        "csv": ["file_name,text"] + [f"{name},Hello you." for name in bad + good],
        "ljspeech": [f"{name}|Hello you." for name in bad + good],
    }[kind]
    name = "metadata.jsonl" if kind == "jsonl" else "metadata.csv"
    (source / name).write_text("\n".join(lines))
    prepare(source, tmp_path / "out", codec, validation_share=0.0)
    rows = [row for row in skipped(tmp_path / "out") if row["reason"] == "metadata"]
    assert len(rows) == len(bad) and all("rows can only use files in that folder" in row["message"] for row in rows)


def test_imported_rows_cannot_name_files_out_of_their_folder(tmp_path):
    for part in ("text", "xcodec2_1cb", "manifest_final"):
        (tmp_path / "source" / part).mkdir(parents=True)
    for name in ("secret.txt", "source/secret.txt", "source/text/a.txt", "source/xcodec2_1cb/a.txt"):
        (tmp_path / name).write_text("1 2 3")
    ids = ["a", "../secret", "../../secret", str(tmp_path / "secret")]
    (tmp_path / "source/manifest_final/train.txt").write_text("\n".join(f"{name}\t3" for name in ids))
    prepare(tmp_path / "source", tmp_path / "out", validation_share=0.0)
    assert [row["id"] for row in skipped(tmp_path / "out")] == ids[1:]


def test_rows_of_hub_datasets_cannot_name_files_of_this_machine(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "secret.wav", clip(1), 16000)
    monkeypatch.chdir(tmp_path)
    secret = str(tmp_path / "secret.wav")
    for cell in (secret, "secret.wav", {"path": secret, "bytes": None}):
        with pytest.raises(ValueError, match="a file that was not downloaded"):
            parse_audio_cell(cell)
    rows = Dataset.from_dict({"audio": [secret], "text": ["Hello."]})
    monkeypatch.setattr("t5gemma_tts.preparation.datasets_source.open_split", lambda *_: rows)
    with pytest.raises(ValueError, match="a file that was not downloaded"):
        DatasetsSource("somebody/dataset")[0]


def test_code_of_a_checkpoint_is_not_run(tiny_checkpoint, tmp_path, proof, monkeypatch):
    """The installed classes load checkpoints; code in a checkpoint runs only on request."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, folder)
    for path in folder.glob("*.py"):
        path.write_text(f"import os\nos.mkdir({str(proof)!r})\n")
    monkeypatch.setattr("builtins.input", lambda *_: "n")  # transformers would ask
    model, processor = load_model(str(folder)), load_processor(str(folder))
    assert type(model) is T5GemmaTTSForConditionalGeneration
    assert processor("Hi.", duration=1.0)["input_ids"].shape[0] == 1


KEY = "sk-very-secret-0123456789"


def test_keys_of_the_server_are_never_said(checkpoint, tmp_path, caplog, capfd):
    """Valid and invalid keys are not in logs, responses, metrics or pages."""
    caplog.set_level(logging.DEBUG)
    said = []
    with live_server(checkpoint, tmp_path / "voices", keys=ApiKeys([KEY])) as live:
        for key in (KEY, KEY + "x", KEY[:-1]):
            client = httpx.Client(base_url=live.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
            for method, path in (
                ("GET", "/v1/models"),
                ("GET", "/metrics"),
                ("GET", "/docs"),
                ("GET", "/openapi.json"),
                ("GET", "/nothing"),
                ("POST", SPEECH),
                ("DELETE", "/v1/audio/voices/nobody"),
            ):
                answer = client.request(method, path, json={"input": "Hi.", "speed": "x"})
                said.append(answer.text + str(answer.headers))
            client.close()
    output = capfd.readouterr()
    said += [output.out, output.err, *(record.getMessage() for record in caplog.records if record.name != "httpx")]
    assert any("401" in text or "API key is needed" in text for text in said)
    assert not [text for text in said if KEY[:-1] in text]


def test_keys_in_bad_files_are_not_repeated(tmp_path, run):
    (tmp_path / "keys").write_text(f"fine\n{KEY} with blanks\n")
    code, out, err = run("serve", "--api-key-file", tmp_path / "keys")
    assert code == 1 and "key 2 must consist of printable ASCII characters" in err and KEY not in out + err
    (tmp_path / "keys").write_bytes(KEY.encode("utf-16"))
    code, out, err = run("serve", "--api-key-file", tmp_path / "keys")
    assert code == 1 and "must be a text file of API keys" in err and KEY not in out + err


def test_tokens_of_the_hub_are_not_kept(tiny_checkpoint, tmp_path, caplog, capfd):
    """Tokens are not in the stored training options or the saved processor."""
    caplog.set_level(logging.DEBUG)
    arguments = parse_arguments(
        ["--model", str(tiny_checkpoint), "--datasets", "x", "--output_dir", str(tmp_path), "--hub_token", KEY]
    )
    assert KEY not in json.dumps(options_of(*arguments), default=str)
    processor = load_processor(str(tiny_checkpoint))
    processor._source = (str(tiny_checkpoint), {"token": KEY})
    processor.save_pretrained(tmp_path / "processor")
    trainer = make_trainer(tiny_checkpoint, tmp_path / "run", max_steps=1, hub_token=KEY, save_strategy="no")
    trainer.train()
    trainer.save_model()
    trainer.save_state()
    assert not (tmp_path / "run" / "training_args.bin").exists()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10 and not [path for path in written if KEY.encode() in path.read_bytes()]
    output = capfd.readouterr()
    assert KEY not in output.out + output.err + caplog.text + repr(processor)
