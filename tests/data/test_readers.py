"""Test reading rows from the three kinds of files, and the error message for each mistake in a file."""

import datetime
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.data import readers
from loadgen.data.errors import DataError
from loadgen.data.readers import WHOLE_LINE, Kind, rows
from loadgen.data.table import Table


def read(
    path: Path, content: bytes | str, *columns: str, kind: Kind = "csv", **more: Any
) -> list[readers.Row]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(rows(path, kind, columns, name=path.name, **more))


def problems(
    path: Path, content: bytes | str, *columns: str, kind: Kind = "csv", **more: Any
) -> tuple[str, ...]:
    with pytest.raises(DataError) as raised:
        read(path, content, *columns, kind=kind, **more)
    return raised.value.problems


@pytest.mark.parametrize(
    "content",
    [
        b"id,plan\na,free\nb,pro\n",
        b"\xef\xbb\xbfid,plan\r\na,free\r\nb,pro",
        b"id;plan\na;free\nb;pro\n",
        b"id\tplan\na\tfree\nb\tpro\n",
        b"id|plan\na|free\nb|pro\n",
        b'"id","plan"\n"a","free"\n"b","pro"\n',
        b"plan,x,id\nfree,1,a\npro,2,b\n",
        b"id , plan\na,free\n\nb,pro\n\n",
    ],
)
def test_what_spreadsheets_and_databases_write_is_read_alike(tmp_path: Path, content: bytes) -> None:
    assert [cells for _, cells in read(tmp_path / "x.csv", content, "id", "plan")] == [
        ("a", "free"),
        ("b", "pro"),
    ]


def test_a_line_that_names_the_separator_is_obeyed_and_counted(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", "sep=;\nid;plan\na,1;b\n", "id") == [(3, ("a,1",))]


def test_values_stay_as_they_are_written_and_rows_know_the_line_where_they_begin(tmp_path: Path) -> None:
    content = 'id,text\n007,"two\nlines, and ""quotes"""\n 8 ,\n'
    assert read(tmp_path / "x.csv", content, "text", "id") == [
        (2, ('two\nlines, and "quotes"', "007")),
        (4, ("", " 8 ")),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples, because making one for each takes longer than reading a file."""
    return tmp_path_factory.mktemp("files")


@given(
    values=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0")),
            st.text("a\"',; \n"),
        ),
        min_size=1,
        max_size=20,
    ),
    separator=st.sampled_from(",;\t|"),
)
def test_whatever_the_csv_writer_writes_is_read_back(
    folder: Path, values: list[tuple[str, str]], separator: str
) -> None:
    import csv

    path = folder / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL)
        writer.writerows([("first", "second"), *values])
    assert [cells for _, cells in rows(path, "csv", ("first", "second"), name="x.csv")] == values


def test_mistakes_in_a_csv_file_are_told_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    assert problems(path, "id,plan\na\nb,pro\nc,1,2\n", "id") == (
        "x.csv:2: the row has 1 value, and the first line names 2 columns; a value that holds a comma stands in"
        " double quotes",
        "x.csv:4: the row has 3 values, and the first line names 2 columns; a value that holds a comma stands in"
        " double quotes",
    )
    assert problems(path, "", "id") == (
        "x.csv: the file is empty; the first line has the names of the columns",
    )
    assert problems(path, "idd,plan\n", "id") == ("x.csv:1: there is no column 'id'; did you mean 'idd'?",)
    assert problems(path, "id,id\n1,2\n", "id") == ("x.csv:1: the column 'id' is there 2 times",)
    assert problems(path, 'id,plan\na,"b\n', "id") == (
        "x.csv:2: the row is not valid CSV: unexpected end of data",
    )
    assert problems(path, b"id\na\n\xff\n", "id") == (
        "x.csv:3: the line is not UTF-8; save the file as UTF-8",
    )
    assert problems(path, "id;plan,x\n", "id") == (
        "x.csv:1: the line of the column names has both comma and semicolon; write the file's 'separator' into the"
        " scenario",
    )
    assert problems(tmp_path / "y.csv", "id\n" + "a,b\n" * 30, "id")[-1] == "y.csv: and perhaps more"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^x\.csv: the file cannot be read: No such file or directory$"):
        list(rows(tmp_path / "none.csv", "csv", ["id"], name="x.csv"))


def test_json_lines_keep_types_and_lead_into_nested_members(tmp_path: Path) -> None:
    content = '{"id": 7, "at": {"x": [1.5, null]}, "a.b": true}\n\n{"id": "ü", "at": {"x": {}}, "a.b": 0}'
    assert read(tmp_path / "x.jsonl", content, "id", "at.x", "a.b", kind="jsonl") == [
        (1, (7, [1.5, None], True)),
        (3, ("ü", {}, 0)),
    ]
    assert read(tmp_path / "x.jsonl", ' {"b": 1}\r\n', WHOLE_LINE, kind="jsonl") == [(1, ('{"b": 1}',))]


def test_mistakes_in_json_lines_are_told_without_the_values(tmp_path: Path) -> None:
    found = problems(
        tmp_path / "x.jsonl", '{"idd": "secret"}\n["secret"]\n{"id": "secret\n', "id", kind="jsonl"
    )
    assert found[0] == "x.jsonl:1: the object has no member 'id'; did you mean 'idd'?"
    assert [each.partition(": ")[0] for each in found] == ["x.jsonl:1", "x.jsonl:2", "x.jsonl:3"]
    assert "secret" not in "".join(found)


def test_parquet_values_become_values_of_json(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    at = datetime.datetime(2026, 11, 28, 1, 2, 3, tzinfo=datetime.UTC)
    pq.write_table(
        pa.table(
            {"id": [1, 2], "at": [at, None], "price": [Decimal("1.50")] * 2, "who": [{"name": "a"}] * 2}
        ),
        path,
    )
    assert list(rows(path, "parquet", ["id", "at", "price", "who.name"], name="x")) == [
        (1, (1, "2026-11-28T01:02:03+00:00", "1.50", "a")),
        (2, (2, None, "1.50", "a")),
    ]
    with pytest.raises(DataError, match="x: there is no column 'name'; known are id, at, price, who"):
        list(rows(path, "parquet", ["name"], name="x"))
    pq.write_table(pa.table({"id": [b"\xff"]}), path)
    with pytest.raises(DataError, match="x:row 1: the row has a value of type bytes, which JSON cannot hold"):
        list(rows(path, "parquet", ["id"], name="x"))
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="x: the file is no valid Parquet file"):
        list(rows(path, "parquet", ["id"], name="x"))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(JSON, min_size=1, max_size=5), st.integers(1, 3))
def test_a_table_gives_back_each_value_by_its_row(values: list[Any], times: int) -> None:
    many = values * (times * 1000)
    table = Table.write(((line, (each,)) for line, each in enumerate(many, 10)), ["x"])
    try:
        assert len(table) == len(many)
        for row in {0, len(many) // 2, len(many) - 1}:
            assert table.cell("x", row) == many[row]
            assert table.line(row) == row + 10
        with pytest.raises(IndexError):
            table.cell("x", len(many))
        assert table.distinct("x") == (len(many) == 1)
    finally:
        table.close()


def test_a_table_knows_its_longest_value_and_whether_values_repeat() -> None:
    table = Table.write([(2, ("a", "1")), (3, ("bcd", "1"))], ["id", "plan"])
    assert (table.longest("id"), table.distinct("id")) == (3, True)
    assert (table.longest("plan"), table.distinct("plan")) == (1, False)
    table.close()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("id,plan\na,b\n".encode("utf-16"), "the file is UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)"),
        ("id,plan\na,b\n".encode("utf-16-be"), "the file is UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)"),
        (
            b"PK\x03\x04\x14\0\x06",
            "the file is an Excel workbook or a ZIP archive; save the sheet as CSV UTF-8",
        ),
        (b"\x1f\x8b\x08\0\n", "the file is compressed with gzip; unpack it"),
        (b"PAR1\x15\x04", "the file is Parquet; name it with 'parquet'"),
        (
            b"id,plan\ra,b\r",
            "its lines end with a carriage return alone; save it with the line ends of Windows or Unix",
        ),
        (b"\xef\xbb\xbf", "the file is empty; the first line has the names of the columns"),
        (b"sep=;\n", "the file is empty; the first line has the names of the columns"),
    ],
)
def test_files_of_another_kind_are_told(tmp_path: Path, content: bytes, why: str) -> None:
    assert problems(tmp_path / "x.csv", content, "id") == (f"x.csv: {why}",)


def test_lines_that_cannot_be_rows_are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    assert problems(path, b"\n\nid\na\n", "id") == (
        "x.csv:1: the line is blank; the first line has the names of the columns",
    )
    assert problems(path, b"id\na\nb\0c\n", "id") == ("x.csv:3: the line has a null character; remove it",)
    assert read(path, b"id,plan\n", "id") == []
    assert read(tmp_path / "x.jsonl", b"", "id", kind="jsonl") == []


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_only_regular_files_are_read(tmp_path: Path, kind: Kind) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in (
        (tmp_path / "pipe", "a pipe or a device"),
        (Path("/dev/zero"), "a pipe or a device"),
        (tmp_path, "a directory"),
    ):
        with pytest.raises(DataError, match=f"^x: this is {what}, not a file"):
            list(rows(path, kind, ["id"], name="x"))


def test_a_file_that_changes_meanwhile_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("id\na\nb\n")
    found = rows(path, "csv", ["id"], name="x.csv")
    assert next(found) == (2, ("a",))
    with path.open("a") as file:
        file.write("c\n")
    with pytest.raises(DataError, match="the file changed while it was read"):
        list(found)


def test_parquet_times_keep_their_zones(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    noon = datetime.datetime(2026, 7, 1, 12)
    zones = {"berlin": "Europe/Berlin", "offset": "-03:30", "utc": "UTC", "local": None}
    columns = {name: pa.array([noon], type=pa.timestamp("us", tz=zone)) for name, zone in zones.items()}
    pq.write_table(
        pa.table({**columns, "ns": pa.array([1_234_567_890_123_456_789], type=pa.timestamp("ns", "UTC"))}),
        path,
    )
    assert list(rows(path, "parquet", [*zones, "ns"], name="x")) == [
        (
            1,
            (
                "2026-07-01T14:00:00+02:00",
                "2026-07-01T08:30:00-03:30",
                "2026-07-01T12:00:00+00:00",
                "2026-07-01T12:00:00",
                "2009-02-13T23:31:30.123456789+00:00",
            ),
        )
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_not_made_null(tmp_path: Path, value: float) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": [1.0, value]}), path)
    with pytest.raises(DataError, match=r"^x:row 2: the row has a number that is not finite"):
        list(rows(path, "parquet", ["id"], name="x"))


def told(path: Path, kind: Kind, *columns: str) -> tuple[str, ...]:
    """Return the problems reported about a file, if any; other exceptions are raised."""
    try:
        for line, cells in rows(path, kind, columns, name="x"):
            assert (line >= 1, len(cells)) == (True, len(columns))
    except DataError as error:
        return error.problems
    return ()


@pytest.fixture(scope="module")
def whole() -> bytes:
    """A Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": [str(n) for n in range(500)], "n": list(range(500))}), sink)
    return bytes(sink.getvalue())


@given(data=st.data())
def test_a_broken_parquet_file_is_a_mistake_and_no_defect(
    folder: Path, whole: bytes, data: st.DataObject
) -> None:
    path = folder / "x.parquet"
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    assert all(each.startswith("x: ") for each in told(path, "parquet", "id", "n"))


@given(content=st.binary(max_size=60), kind=st.sampled_from(["csv", "jsonl", "parquet"]))
def test_any_bytes_give_rows_or_a_mistake(folder: Path, content: bytes, kind: Kind) -> None:
    path = folder / "x"
    for beginning in (b"", b"id,plan\n", b'{"id": 1}\n'):
        path.write_bytes(beginning + content)
        assert all(each.startswith(("x:", "and ")) for each in told(path, kind, "id"))
