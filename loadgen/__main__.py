"""Run the `loadgen` command as `python -m loadgen`."""

from loadgen.search_path import leave_out_working_folder

# `python -m` searches the working directory first; the next imports must not come from it.
leave_out_working_folder()

from loadgen.cli import main  # noqa: E402

main()
