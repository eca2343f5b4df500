"""Test that a place is a folder or a bucket's prefix and nothing else, and that no secret in a URI is repeated."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analysis.record import parts, places
from analysis.record.places import PARTS_FROM, Place, PlaceError


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("/srv/rows", "file:///srv/rows"),
        ("/srv//rows/./", "file:///srv/rows"),
        ("/srv/my rows", "file:///srv/my%20rows"),
        ("file:///srv/my%20rows", "file:///srv/my%20rows"),
        ("file://localhost/srv", "file:///srv"),
        ("s3://my-bucket", "s3://my-bucket"),
        ("s3://my-bucket/load/2026/", "s3://my-bucket/load/2026"),
        ("gs://my_bucket.example/load", "gs://my_bucket.example/load"),
    ],
)
def test_a_place_has_one_uri_and_is_read_back_from_it(text: str, uri: str) -> None:
    assert Place.of(text).uri == uri
    assert Place.of(uri) == Place.of(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rows", "not absolute"),
        ("", "not absolute"),
        ("../rows", "not absolute"),
        ("/srv/../etc", "'..'"),
        ("file:///srv/%2e%2e/etc", "'..'"),
        ("file://server/share", "three slashes"),
        ("https://example.com/rows", "https: is no place"),
        ("s3://", "bucket"),
        ("s3://B/rows", "bucket"),
        ("s3://bucket/../other", "'..'"),
        ("s3://bucket/a%2f..%2fb", "prefix"),
        ("s3://bucket/a b", "prefix"),
        ("s3://bucket:9000/rows", "AWS_ENDPOINT_URL"),
        ("s3://bucket/rows\n", "no place"),
        ("s3://[bucket/rows", "URI"),
        ("/" + "a" * 2_000, "no place"),
    ],
)
def test_anything_else_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(PlaceError, match=re.escape(why)):
        Place.of(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIASECRET:hunter2@bucket/rows",
        "s3://hunter2@bucket/rows",
        "s3://bucket/rows?secret_key=hunter2",
        "s3://bucket/rows?endpoint_override=hunter2",
        "s3://bucket/rows#hunter2",
        "gs://anonymous:hunter2@bucket/rows",
        "file://user:hunter2@/rows",
        "file:///rows?hunter2",
        "https://user:hunter2@example.com/rows",
    ],
)
def test_a_uri_with_a_secret_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(PlaceError) as caught:
        Place.of(text)
    assert "hunter2" not in str(caught.value)
    assert "AKIASECRET" not in str(caught.value)


@given(st.text(max_size=40).map(lambda tail: f"s3://bucket/base/{tail}") | st.text(max_size=60))
@example("s3://bucket/base/../../other")
@example("/a/..")
def test_a_place_that_is_accepted_has_no_way_up(text: str) -> None:
    try:
        place = Place.of(text)
    except PlaceError:
        return
    assert ".." not in place.path.split("/")
    assert "//" not in place.path
    assert Place.of(place.uri) == place


@given(st.text(max_size=300), st.integers(0, (1 << 31) - 1))
def test_the_folder_of_any_run_is_one_folder(run: str, token: int) -> None:
    name = parts.run_name(run, token)
    assert parts.checked_run(name) == name
    assert "/" not in name
    assert not name.startswith(".")


@given(st.text(max_size=20))
@example("..")
@example("a/b")
@example("run\n")
@example("")
def test_the_name_of_a_run_from_elsewhere_cannot_lead_out_of_the_place(name: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
        assert parts.checked_run(name) == name
    else:
        with pytest.raises(ValueError, match="name of the run's folder"):
            parts.checked_run(name)


def test_the_environment_and_the_command_line_name_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARTS_FROM, "s3://one/a  file:///two")
    assert [place.uri for place in places.named(["/two", "/three"])] == [
        "file:///two",
        "file:///three",
        "s3://one/a",
    ]
    places.trust([Place.of("/my rows")])
    assert [place.uri for place in places.named()] == ["file:///my%20rows", "s3://one/a", "file:///two"]
    monkeypatch.setenv(PARTS_FROM, "rows")
    with pytest.raises(PlaceError, match=f"{PARTS_FROM}: the path is not absolute"):
        places.named()
