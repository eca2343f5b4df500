"""Test that pyarrow does not load pandas by itself, and works with it once it is loaded."""

import subprocess
import sys

import pytest

from tests.system.harness import STUCK_S

pytestmark = pytest.mark.long

_USES = """
import sys
from pathlib import Path
from analysis.without_pandas import spare
spare()
spare()
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
table = pa.table({"a": pa.array([1, None]), "b": pa.array(np.arange(2.0)), "c": ["x", "y"]})
path = Path(sys.argv[1]) / "t.parquet"
pq.write_table(table, path)
assert pq.read_table(path).equals(table)
"""
_LATER = """
import pandas as pd
# Only a pyarrow that knows pandas takes NaN for null, and a series for an array.
assert pa.array(pd.Series([1.0, float("nan")])).null_count == 1
assert pa.array(pd.Series(["x"], dtype="category")).type.num_fields == 0
assert str(pa.array(pd.Series(["x"], dtype="category")).type).startswith("dictionary")
assert pa.Table.from_pandas(pd.DataFrame({"a": [1]})).column_names == ["a"]
assert "without_pandas" not in type(pd.__spec__.loader).__module__
assert not [finder for finder in sys.meta_path if "without_pandas" in type(finder).__module__]
"""
_TO_PANDAS = "assert table.to_pandas()['b'].tolist() == [0.0, 1.0]\n" + _LATER


def outcome(code: str, folder: object) -> str:
    said = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}\nprint('pandas' in sys.modules)", str(folder)],
        capture_output=True,
        text=True,
        timeout=STUCK_S,
    )
    return said.stdout.strip() or said.stderr


def test_pyarrow_works_without_loading_pandas(tmp_path: object) -> None:
    assert outcome(_USES, tmp_path) == "False"


def test_by_itself_it_would_load_pandas(tmp_path: object) -> None:
    # If this fails, pyarrow itself avoids loading pandas, and `spare` can be removed.
    assert outcome(_USES.replace("spare()", ""), tmp_path) == "True"


_ASKED = "import importlib.util\nassert importlib.util.find_spec('pandas') is not None\n" + _LATER


@pytest.mark.parametrize("later", [_LATER, _TO_PANDAS, _ASKED], ids=["import", "to_pandas", "asked for"])
def test_what_loads_pandas_later_finds_all_as_ever(later: str, tmp_path: object) -> None:
    assert outcome(_USES + later, tmp_path) == "True"


def test_where_pandas_is_there_already_nothing_is_done(tmp_path: object) -> None:
    assert outcome("import pandas\n" + _USES + _LATER, tmp_path) == "True"
