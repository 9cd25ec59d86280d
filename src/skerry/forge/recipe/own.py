"""A recipe of somebody's own, from their Python: the file is run, as they ask for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from skerry.core.errors import Invalid, LoadFailed, NotFound
from skerry.forge.recipe.recipe import Recipe


def recipe_at(where: str) -> Recipe:
    """Return the recipe at file.py:NAME or module:NAME; raise NotFound, LoadFailed or Invalid saying what is wrong."""
    source, _, name = where.rpartition(":")
    if not source or not name.isidentifier():
        raise Invalid(f"recipe: expected file.py:NAME or module:NAME; got {where!r}")
    try:
        module = _file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except NotFound:
        raise
    except ModuleNotFoundError as error:
        raise NotFound(f"recipe {where}: cannot be imported: {error}") from None
    except Exception as error:  # boundary: the owner's code raises what it likes
        raise LoadFailed(f"recipe {where}: cannot be imported: {type(error).__name__}: {error}") from None
    found = getattr(module, name, None)
    if not isinstance(found, Recipe):
        kind = "nothing" if found is None else type(found).__name__
        raise Invalid(f"recipe {where}: expected a Recipe called {name}; got {kind}")
    return found


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotFound(f"recipe: no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses in it look themselves up there
    spec.loader.exec_module(module)
    return module
