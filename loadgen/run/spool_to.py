"""The option `--spool-to`: the place where a run's workers store their rows."""

from typing import Any

from analysis.record.places import Place, PlaceError
from loadgen.credentials.allowed import Allowed
from loadgen.credentials.errors import CredentialError
from loadgen.exits import ExitCode, RunError
from loadgen.run.master_messages import StoragePart


def storage_of(options: Any) -> Place | None:
    """Return the place that the options of a run name, or None; raises RunError if it is none."""
    if options.spool_to is None:
        return None
    try:
        return Place.of(options.spool_to)
    except PlaceError as error:
        raise RunError(f"--spool-to: {error}", ExitCode.USAGE) from None


def permitted(told: StoragePart, allowed: Allowed) -> Place:
    """Return the place that a master tells a worker; raises RunError unless the worker's command line names it too."""
    try:
        return allowed.demand_storage(told.uri)
    except CredentialError as error:
        raise RunError(str(error), ExitCode.USAGE) from None
