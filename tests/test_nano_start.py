"""Starting a small model: its tokenizer, its sizes, and that training can go on from it."""

import csv

import pytest
import torch

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from training.make_tiny_checkpoint import tiny_codec
from training.nano.start import SPECIAL_TOKENS, main, read_texts, train_tokenizer


TEXTS = ["The cat saw a dog.", "A dog saw the cat!", "Zebras?"]


def write_corpus(folder):
    folder.mkdir()
    with open(folder / "metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "id", "text", "split"])
        rows = [*((text, "train") for text in TEXTS), (TEXTS[0], "train"), ("Unicorns held out.", "validation")]
        writer.writerows([f"{n}.flac", f"{n}", text, split] for n, (text, split) in enumerate(rows))
    return folder


def test_frequent_words_are_tokens_and_bytes_say_the_rest():
    tokenizer = train_tokenizer(TEXTS, vocab_size=266)  # room for five words
    assert len(tokenizer) == 266
    assert [tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS] == list(range(5))
    assert tokenizer.tokenize("Cat THE dog") == ["Ġcat", "Ġthe", "Ġdog"]
    assert tokenizer.tokenize("the zoo") == ["Ġthe", "Ġ", "z", "o", "o"]
    for text in (" the cat", " ünïcode 日本語 ß 🙂"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_vocabulary_is_not_larger_than_its_words():
    assert len(train_tokenizer(TEXTS, vocab_size=5000)) == 261 + len({"Ġthe", "Ġcat", "Ġsaw", "Ġa", "Ġdog", "Ġzebras"})
    with pytest.raises(ValueError, match="`vocab_size` must be above 261"):
        train_tokenizer(TEXTS, vocab_size=261)


def test_held_out_texts_are_not_read(tmp_path):
    assert read_texts(write_corpus(tmp_path / "corpus")) == sorted(TEXTS)


def test_checkpoint_trains_and_speaks(tmp_path, capsys):
    tiny_codec().save_pretrained(tmp_path / "codec")
    corpus = write_corpus(tmp_path / "corpus")
    sizes = ["--hidden-size", "64", "--encoder-layers", "1", "--decoder-layers", "2", "--progress-scale", "100"]
    command = [str(tmp_path / "start"), "--codec", str(tmp_path / "codec"), "--corpus", str(corpus), *sizes]
    assert main(command) == 0
    assert "million weights" in capsys.readouterr().out
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path / "start")
    processor = T5GemmaTTSProcessor.from_pretrained(tmp_path / "start")
    assert model.config.progress_scale == 100 and model.config.codebook_size == 256
    assert len(model.get_encoder().layers) == 1 and len(model.get_decoder().layers) == 2
    inputs = processor(text="The dog saw Zebras.", duration=0.5)
    ids = inputs["input_ids"][0].tolist()
    assert ids[-1] == processor.tokenizer.eos_token_id and len(ids) == 6
    torch.manual_seed(0)
    assert len(processor.batch_decode(model.generate(**inputs))[0])
    assert main(command) == 1
    assert "exists; name a new folder" in capsys.readouterr().err
    assert main([str(tmp_path / "other"), *command[1:5], "--hidden-size", "100"]) == 1
    assert "`hidden_size` must be a multiple of 64" in capsys.readouterr().err
