"""Options of the training commands: a YAML recipe, then options of the command line, which win over the recipe."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser


class RecipeParser(HfArgumentParser):
    """
    Parses `[RECIPE.yaml] [--option value ...]` into dataclasses.

    An invalid recipe or option prints one line on standard error and exits with code 2.

    Args:
        groups (sequence of dataclass types): the options.
        prog (`str`): name of the command, for messages.
        description (`str`): text of `--help`.
    """

    def __init__(self, groups: Sequence[type], prog: str, description: str | None):
        super().__init__(groups, prog=prog, description=description, allow_abbrev=False)  # type: ignore[arg-type]
        self.usage = "%(prog)s [RECIPE.yaml] [--option value ...]"

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits; argparse would print the usage of all options before it."""
        self.exit(2, f"{self.prog}: {message}\n")

    def parse_recipe(self, argv: Sequence[str]) -> tuple[Any, ...]:
        """
        Parses the arguments of a command.

        Args:
            argv (sequence of `str`): a recipe file first, or none; then options.

        Returns:
            `tuple`: one instance of each dataclass.

        Raises:
            SystemExit: with code 2, after a message, for invalid arguments; with code 0 after `--help`.
        """
        options = list(argv)
        if options and options[0].endswith((".yaml", ".yml")):
            options = [*self._recipe_options(options[0]), *options[1:]]
        try:
            *groups, unknown = self.parse_args_into_dataclasses(options, return_remaining_strings=True)
        except (TypeError, ValueError) as error:
            self.error(" ".join(str(error).split()))
        if unknown:
            self.error(self._unknown_option(unknown[0]))
        return tuple(groups)

    def _recipe_options(self, path: str) -> list[str]:
        """Options of a recipe as on the command line, so that both get the same checks; null means the default."""
        try:
            recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            self.error(f"the recipe {path!r} cannot be read: {error.strerror}")
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            self.error(f"the recipe {path!r} is not valid YAML: {' '.join(str(error).split())}")
        if not isinstance(recipe, dict):
            self.error(f"the recipe {path!r} must hold options by name, got {type(recipe).__name__}")
        options: list[str] = []
        for name, value in recipe.items():
            if f"--{name}" not in self._option_string_actions:
                self.error(f"{path}: {self._unknown_option(f'--{name}')}")
            # argparse has no way to write an empty list, or a list for an option of one value such as report_to
            if isinstance(value, list) and (not value or self._option_string_actions[f"--{name}"].nargs is None):
                self.set_defaults(**{str(name): value})
            elif isinstance(value, list):
                options += [f"--{name}", *map(str, value)]
            elif value is not None:
                options.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
        return options

    def _unknown_option(self, option: str) -> str:
        if not option.startswith("-"):
            return f"unexpected argument {option!r}; a recipe must come first and end in .yaml"
        name = option.partition("=")[0]
        close = difflib.get_close_matches(name, self._option_string_actions, n=1)
        return f"there is no option {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")


__all__ = ["RecipeParser"]
