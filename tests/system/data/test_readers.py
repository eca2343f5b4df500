"""Test in a separate process how much memory reading a file takes."""

import subprocess
import sys
from pathlib import Path


def test_a_million_rows_take_no_memory_of_their_own(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from loadgen.data.readers import rows
from loadgen.data.table import Table
path = Path(sys.argv[1])

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def table(count):
    def first():
        for number, row in enumerate(rows(path, "csv", ["id", "token"], name="x")):
            if number == count:
                return
            yield row
    return Table.write(first(), ["id", "token"])

few = table(10_000); few.cell("id", 9_999); few.distinct("id"); before = peak()
many = table(200_000)
assert many.cell("id", 199_999) == "user-199999"
print(peak() - before)
"""
    path = tmp_path / "x.csv"
    with path.open("w") as file:
        file.write("id,token\n")
        file.writelines(f"user-{n},tok-{n:050d}\n" for n in range(200_000))
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    # The peak memory grows by less than 6,000 KiB. The rows take 15 MB in the file, and would take 40 MB as objects.
    assert int(done.stdout) < 6_000
