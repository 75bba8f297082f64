"""Python environments with selected packages and their dependencies only."""

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def requirements_of(names: list[str]) -> dict[str, object]:
    """Returns the distributions `names` and all their requirements without extras, by name."""
    found, waiting = {}, list(names)
    while waiting:
        name = re.match(r"[\w.-]+", waiting.pop())[0].lower().replace("_", "-")
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # required only on another system or Python version
            continue
        waiting += [line for line in found[name].requires or [] if "extra ==" not in line]
    return found


def make_site(folder: Path, names: list[str]) -> Path:
    """Links the files of the distributions `names` and their requirements into `folder`."""
    folder.mkdir(parents=True)
    for installed in requirements_of(names).values():
        tops = {file.parts[0] for file in installed.files if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            source = Path(installed.locate_file(top))
            if source.exists() and not (folder / top).exists():
                (folder / top).symlink_to(source)
    return folder


def run_closed(script: str, *arguments: str, site: Path, home: Path, **environment: str) -> str:
    """
    Runs `script` with nothing but the standard library and `site`, in the folder `home`.

    Returns:
        what it printed.
    """
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(site)!r})\n{script}", *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON", "TRANSFORMERS"))}
    settings = {"HF_HOME": str(home / "hf"), "HOME": str(home), "OMP_NUM_THREADS": "1"}
    home.mkdir(exist_ok=True)
    finished = subprocess.run(
        command, env={**kept, **settings, **environment}, cwd=home, capture_output=True, text=True, timeout=300
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    return finished.stdout
