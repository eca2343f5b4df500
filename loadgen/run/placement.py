"""Choose the path of a run's folder: in the results folder, named by time and scenario, or exactly as given."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen.exits import ExitCode, RunError, why

#: Name of the link, beside the run folders, to the newest of them.
LATEST: Final = "latest"


@dataclass(frozen=True)
class Placement:
    """Chooses and makes the folder of one run; errors that the methods raise have exit code 2."""

    results: Path
    """The parent of the run's folder, unless `output` is given."""
    output: Path | None = None
    """The run's folder itself, which must be new or empty."""

    @classmethod
    def of(cls, options: Any) -> "Placement":
        """Return the placement for the options `results` and `output` of a run."""
        return cls(Path(options.results), None if options.output is None else Path(options.output))

    @property
    def parent(self) -> Path:
        """The parent of the run's folder."""
        return self.results if self.output is None else self.output.absolute().parent

    def check(self) -> None:
        """Create the parent of the run's folder if necessary, and try to write to it.

        Raises:
            RunError: the parent cannot be written, or the path of the run's folder is taken.
        """
        try:
            self.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.parent):
                pass
            if self.output is not None and self._taken(self.output):
                raise self._refusal()
        except OSError as error:
            raise self.unwritable(error) from None

    def make(self) -> Path:
        """Create a new empty folder with a temporary name, and return its path.

        :meth:`settle` gives it the run's name later. So a process killed before that leaves no partial run under this
        name.

        Raises:
            RunError: as `check` does.
        """
        self.check()
        try:
            made = Path(tempfile.mkdtemp(prefix=".new-", dir=self.parent))
            made.chmod(0o777 & ~_umask())
        except OSError as error:
            raise self.unwritable(error) from None
        return made

    def settle(self, made: Path, base: str, on_name: Callable[[str], None]) -> Path:
        """Give a folder from `make` its name and return its path.

        ``base`` is the run's name, to which a number is appended if the name is taken. ``on_name`` is called with the
        final name before the folder is renamed.

        Raises:
            RunError: the folder cannot be renamed, or its new path was taken meanwhile.
        """
        try:
            if self.output is not None:
                on_name(base)
                if (found := self._settled(made, self.output)) is not None:
                    return found
                shutil.rmtree(made, ignore_errors=True)
                raise self._refusal()
            for number in range(1, 1000):
                name = base if number == 1 else f"{base}-{number}"
                if (self.results / name).exists():
                    continue
                on_name(name)
                # Another run that began in the same second may have taken the name meanwhile.
                if (found := self._settled(made, self.results / name)) is not None:
                    self._point_to(found)
                    return found
        except OSError as error:
            raise self.unwritable(error) from None
        raise RunError(f"{self.results} has a thousand runs named {base}: remove some", ExitCode.USAGE)

    def unwritable(self, error: OSError) -> RunError:
        """Return the error to raise if a file of the run's folder cannot be written."""
        if self.output is not None:
            return RunError(
                f"the folder {self.output} cannot be made ({why(error)}): choose another with --output",
                ExitCode.USAGE,
            )
        return RunError(
            f"the results folder {self.results} cannot be written ({why(error)}): choose another with --results DIR",
            ExitCode.USAGE,
        )

    def _settled(self, made: Path, place: Path) -> Path | None:
        """Rename the folder ``made`` to ``place``; return the new path, or None if something already exists there."""
        try:
            return made.rename(place).resolve()
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                return None
            raise

    def _refusal(self) -> RunError:
        return RunError(
            f"--output: {self.output} exists and is not an empty folder; name a new one, or use --results for a folder"
            " of many runs",
            ExitCode.USAGE,
        )

    @staticmethod
    def _taken(path: Path) -> bool:
        return path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir())))

    def _point_to(self, folder: Path) -> None:
        """Make `latest` a link to this run; do nothing if the file system does not support links."""
        link, made = self.results / LATEST, self.results / f".{LATEST}-{os.getpid()}"
        if link.exists() and not link.is_symlink():
            # A file or folder named `latest` is not ours, since we make only links: keep it.
            return
        with suppress(OSError):
            made.unlink(missing_ok=True)
            made.symlink_to(folder.name, target_is_directory=True)
            made.replace(link)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
