"""A stand-alone node: models from paths on its own disk, no hub, no journal."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from skerry.core.errors import LoadFailed, SkerryError
from skerry.engine.bundle import open_bundle
from skerry.node.layers import Infer
from skerry.node.load import Loader
from skerry.node.models import Models
from skerry.node.repository import Found

log = logging.getLogger(__name__)


class Alone:
    """Loads what was found, beside a server that already answers."""

    def __init__(self, found: tuple[Found, ...], loader: Loader, models: Models) -> None:
        self._found = found
        self._loader = loader
        self._models = models
        self.infer: Infer = models.infer
        self.failure: SkerryError | None = None

    def start(self, ready: Callable[[list[str]], None], give_up: Callable[[], None]) -> None:
        """Load every model in a thread, then call `ready` with their names; `give_up` if none could be loaded."""
        for one in self._found:
            self._models.expect(one.name)
        threading.Thread(target=self._load_all, args=(ready, give_up), name="load", daemon=True).start()

    def stop(self) -> None:
        """Nothing of its own to end."""

    def _load_all(self, ready: Callable[[list[str]], None], give_up: Callable[[], None]) -> None:
        failures = []
        for one in self._found:
            try:
                worker = self._loader.load_bare(one) if one.bare else self._loader.load(open_bundle(one.path))
            except Exception as error:  # boundary: one model, whatever is wrong with it, must not stop the others
                failures.append(f"{one.path}: {error}")
                log.error("model %s: not served: %s", one.name, error)
                self._models.expect(one.name, str(error))
            else:
                self._models.swap(worker)
        if len(failures) == len(self._found):
            self.failure = LoadFailed("no model could be loaded:\n" + "\n".join(failures))
            give_up()
        else:
            ready(self._models.names())
