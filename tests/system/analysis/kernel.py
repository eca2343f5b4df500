"""Run many notebooks in one kernel: starting a kernel takes five times as long as running a notebook."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import nbclient
import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient.client import NotebookClient

#: Environment variables by which `analysis.notebooks.execute` passes folders to a notebook.
_VARIABLES = ("LOADGEN_RUN", "LOADGEN_BASE")


@contextmanager
def shared_kernel() -> Iterator[None]:
    """Let `analysis.notebooks.execute` use one real kernel; each notebook starts with no names defined."""
    manager = AsyncKernelManager(kernel_name="python3")
    used: list[NotebookClient] = []

    class Client(NotebookClient):  # type: ignore[misc]  # untyped
        def __init__(self, notebook: Any, **options: Any) -> None:
            super().__init__(notebook, km=manager, **options)
            if used:
                self.kc = used[0].kc

        def execute(self, *, env: dict[str, str]) -> Any:
            own = {name: env[name] for name in _VARIABLES if name in env}
            before = nbformat.v4.new_code_cell(
                f"%reset -f\nimport os\nfor name in {_VARIABLES}: os.environ.pop(name, None)\n"
                f"os.environ.update({own})\ndel os, name"
            )
            self.nb.cells.insert(0, before)
            used.append(self)
            try:
                return NotebookClient.execute(self, env=env)
            finally:
                del self.nb.cells[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nbclient, "NotebookClient", Client)
        try:
            yield
        finally:
            if used and used[0].kc is not None:
                used[0]._cleanup_kernel()
