"""`python -m loadgen` is `loadgen`."""

from loadgen.search_path import leave_out_working_folder

# Python has put it first, and what is imported next must not come from there.
leave_out_working_folder()

from loadgen.cli import main  # noqa: E402

main()
