"""Notebooks run completely without a network, give the documented results and leave no files."""

import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image
from project import ROOT, setup_arguments

from t5gemma_tts.checkpoints import NANO


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WITH_PICTURES = "05_inside_pm_rope"
MAX_BYTES = 400_000
PNG = "image/png"

# what the text of a notebook claims, of its variables when it has run
CLAIMS = {
    "01_speak": """
        assert all(abs(seconds - wanted) < 0.1 * wanted for seconds, wanted in zip(spoken, asked, strict=True))
        assert abs(len(waveform) / processor.sampling_rate - asked[-1]) < 0.4
        assert len(takes) == 2 and not np.array_equal(*takes)
        assert len(pieces) > 1 and arrived[0] < 0.8 * arrived[-1]
        assert len(story) > 3 * processor.sampling_rate and np.abs(story).max() > 0.05
    """,
    "02_clone_a_voice": """
        assert np.all(np.diff(reference_pitch) < 0)
        assert all(pitch < 130 or pitch > 160 for pitch in cloned_pitch)  # two heights and nothing between them
        assert min(cloned_pitch[:2]) > 160 and max(cloned_pitch[3:5]) < 130
        assert median_pitch(kept, rate) < 130
    """,
    "03_prepare_a_dataset": """
        assert exit_code == 0 and not work.name.startswith(os.getcwd())
        assert [(row["id"], row["reason"]) for row in skipped] == [("click", "seconds"), ("stuck", "repetition")]
        assert (len(dataset["train"]), len(dataset["validation"])) == (5, 1)
        assert abs(len(recording) - len(decoded)) < 0.05 * rate and row["text"] == said[row["id"]]
        assert batch["labels"][0, -1] == config.eos_token_id and (batch["labels"][0] == -100).sum() > 50
    """,
    "04_finetune_lora": """
        assert learnt[-1][1] < 0.8 * learnt[0][1]
        first, *later = [loss for _, loss in held_out]
        assert max(later) < first - 0.05 and max(later) - min(later) < 0.15
        assert difference < 1e-3 and size < 4e6
        medians = {name: np.median(values) for name, values in pitches.items()}
        assert medians["before"] > 160 and medians["recordings"] < 130 and medians["after"] < 130, medians
    """,
    "05_inside_pm_rope": """
        assert offsets_with.median() < 0.08 and 0.15 < offsets_without.median() and loss_without > loss_with + 3
        rate = processor.frame_rate
        assert all(abs(len(kept) / rate / seconds - 1) < 0.05 for kept, seconds in zip(stretched, asked, strict=True))
        assert lost[0] == lost[1] == lost[2]  # it makes no difference
        assert sum(abs(len(gone) / rate / seconds - 1) > 0.2 for gone, seconds in zip(lost, asked, strict=True)) >= 2
        assert 2.5 < seen.shape[2] / seen.shape[3] < 3.5  # three times as many audio tokens as text tokens
    """,
}
QUICK = {"03_prepare_a_dataset"}  # the others take longer than ten seconds


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def outputs_of(cells: list) -> list:
    return [output for cell in cells for output in cell.outputs]


def pictures_of(cells: list) -> list[np.ndarray]:
    shown = [output.data[PNG] for output in outputs_of(cells) if PNG in output.get("data", {})]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L")) for data in shown]


def files_here() -> tuple:
    """Returns modification times of the notebooks and of the files of nano."""
    notebooks = {path: path.stat().st_mtime for path in (ROOT / "notebooks").iterdir()}
    return notebooks, {path.name for path in Path(NANO).iterdir() if path.suffix != ".py"}


@pytest.fixture
def form(tmp_path, monkeypatch) -> Path:
    """Returns an empty working folder for notebooks; network access is disabled."""
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "TMPDIR"):
        (tmp_path / name.lower()).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    (tmp_path / "form").mkdir()
    return tmp_path / "form"


def run(path: Path, form: Path, claims: str = "") -> list:
    """Runs a notebook, evaluates `claims` (Python on its variables) and returns its code cells with outputs."""
    notebook = nbformat.read(path, as_version=4)
    lines = [line[8:] for line in claims.splitlines()]
    notebook.cells.append(nbformat.v4.new_code_cell("import os\n" + "\n".join(lines)))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(form)}}).execute()
    return [cell for cell in notebook.cells[:-1] if cell.cell_type == "code"]


def test_there_are_five():
    assert [path.stem for path in NOTEBOOKS] == list(CLAIMS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_not_kept_but_for_the_pictures_that_explain(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    cells = code_cells(path)
    assert all(cell.execution_count is None for cell in cells)
    if path.stem != WITH_PICTURES:
        assert not outputs_of(cells)
        return
    assert path.stat().st_size < MAX_BYTES
    kinds = {"stdout" if output.output_type == "stream" else PNG for output in outputs_of(cells)}
    assert kinds == {"stdout", PNG}
    for output in outputs_of(cells):
        assert set(output.get("data", {})) <= {PNG, "text/plain"} and output.get("name", "stdout") == "stdout"
    assert len(pictures_of(cells)) == 4 and all(picture.std() > 20 for picture in pictures_of(cells))
    assert str(ROOT) not in path.read_text()


def black_panels(picture: np.ndarray) -> list[np.ndarray]:
    """Returns the panels with a black background in a gray picture, from left to right."""
    rows = np.flatnonzero((picture < 60).mean(1) > 0.5)
    columns = np.flatnonzero((picture < 60).mean(0) > 0.5)
    runs = np.split(columns, np.flatnonzero(np.diff(columns) > 5) + 1)
    return [picture[rows[0] : rows[-1] + 1, run[0] : run[-1] + 1] for run in runs]


def distance_from_diagonal(panel: np.ndarray) -> float:
    """Returns the mean distance of pixels from the diagonal, weighted by brightness, relative to the height."""
    rows, columns = np.indices(panel.shape)
    distances = np.abs(1 - rows / panel.shape[0] - columns / panel.shape[1])
    brightness = np.where(distances > 0.01, panel.clip(20) - 20.0, 0)
    return (brightness * distances).sum() / brightness.sum()


def test_kept_picture_shows_the_walk():
    """With PM-RoPE (left), bright pixels are near the diagonal; without it (right), they are not."""
    cells = code_cells(ROOT / "notebooks" / f"{WITH_PICTURES}.ipynb")
    (picture,) = pictures_of([cell for cell in cells if "loss_without = " in cell.source])
    left, right = black_panels(picture)
    assert distance_from_diagonal(left) < 0.1 and distance_from_diagonal(right) > 0.2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_first_cell_installs_what_setup_names(path, monkeypatch):
    arguments = setup_arguments(ROOT, monkeypatch)
    (name, extra) = re.search(r'%pip install --quiet "([\w-]+)\[(\w+)\]"', code_cells(path)[0].source).groups()
    assert name == arguments["name"] and extra in arguments["extras_require"]
    assert code_cells(path)[0].source == code_cells(NOTEBOOKS[0])[0].source


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow) for path in NOTEBOOKS],
)
def test_notebook_runs(path, form):
    before = files_here()
    cells = run(path, form, CLAIMS[path.stem])
    assert not cells[0].outputs  # nothing was installed
    assert not list(form.iterdir()) and files_here() == before
    html = [output.data["text/html"] for output in outputs_of(cells) if "text/html" in output.get("data", {})]
    assert any("<audio" in text for text in html)
    if path.stem == WITH_PICTURES:
        assert [len(pictures_of([cell])) for cell in cells] == [len(pictures_of([cell])) for cell in code_cells(path)]
