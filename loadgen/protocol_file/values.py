"""The types of the single values in a protocol file: templates, pointers, URLs, names and headers."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from loadgen.config.text import shown
from loadgen.config.units import problem
from loadgen.protocol.generic.frames import TemplateError, Written, check, names
from loadgen.protocol.generic.login import PLACEHOLDERS
from loadgen.protocol.generic.patterns import PointerError, pointer_tokens, regex

REQUEST_NAMES = ("id", "number", "channel")
_EVENTS = ("event", "event_json", "events", "events_json", "bytes", "event_form")
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})


def _template(*known: str) -> BeforeValidator:
    """Return a validator of templates in which only these placeholders may occur."""

    def validate(value: Any) -> Any:
        if not isinstance(value, str | dict | list):
            raise problem("must be text, or a mapping or list that is sent as JSON")
        _check(value, known)
        return value

    return BeforeValidator(validate)


def _text(*known: str) -> AfterValidator:
    """Return a validator of texts in which only these placeholders may occur."""

    def validate(value: str) -> str:
        _check(value, known)
        return value

    return AfterValidator(validate)


def _check(written: Written, known: Sequence[str]) -> None:
    try:
        check(written, known)
    except TemplateError as error:
        raise problem(str(error)) from None


def _pointer(value: str) -> str:
    try:
        pointer_tokens(value)
    except PointerError as error:
        raise problem(str(error)) from None
    return value


def pattern_text(value: str) -> str:
    """Return the text of a pattern unchanged; raise pydantic's error if the text is not a pattern."""
    try:
        regex(value)
    except TemplateError as error:
        raise problem(str(error)) from None
    return value


def checked(check_text: Callable[[str], None]) -> AfterValidator:
    """Return a pydantic validator that calls ``check_text``, which raises TemplateError for an invalid text."""

    def validate(value: str) -> str:
        try:
            check_text(value)
        except TemplateError as error:
            raise problem(str(error)) from None
        return value

    return AfterValidator(validate)


def _header(value: str) -> str:
    if any(character < " " or character > "~" for character in value):
        raise problem("must be printable ASCII in one line")
    return value


def _of_form(pattern: str, wanted: str) -> Callable[[str], str]:
    def validate(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise problem(f"must be {wanted}, not {shown(value)}")
        return value

    return validate


def _scalar(value: object) -> object:
    if value is not None and not isinstance(value, str | int):
        raise problem(f"must be text, a whole number, true, false or null, not {shown(value)}")
    return value


def _no_secret(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        hidden = any(of_environment or each in PLACEHOLDERS for each, of_environment in names(value))
        if name.lower() in _SECRET_HEADERS and not hidden:
            raise problem(
                f"has the header {name} with a value written out; put the secret into an environment variable and"
                " write {env:NAME}"
            )
    return headers


Pointer = Annotated[str, AfterValidator(_pointer)]
Header = Annotated[str, _text(*PLACEHOLDERS), AfterValidator(_header)]
Url = Annotated[str, _text("target", "channel", *PLACEHOLDERS)]
ConnectUrl = Annotated[str, _text("target", "channel", "channels", *PLACEHOLDERS)]
EventName = Annotated[str, Field(min_length=1, max_length=200)]
_AS_SENT = WithJsonSchema({"type": ["string", "object", "array"]})
OpeningTemplate = Annotated[Any, _template(*PLACEHOLDERS), _AS_SENT]
FixedTemplate = Annotated[Any, _template(), _AS_SENT]
RequestTemplate = Annotated[Any, _template(*REQUEST_NAMES), _AS_SENT]
PublishTemplate = Annotated[Any, _template(*REQUEST_NAMES, *_EVENTS), _AS_SENT]
BodyTemplate = Annotated[Any, _template("channel", *_EVENTS), _AS_SENT]
HeaderName = Annotated[str, AfterValidator(_of_form(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "the name of a header"))]
Method = Annotated[str, AfterValidator(_of_form(r"[A-Z]{1,20}", "a method such as POST"))]
Separator = Annotated[str, AfterValidator(_of_form(r"[!-~]{1,10}", "one to ten printable characters"))]
When = Annotated[str | int | bool | None, BeforeValidator(_scalar)]
Headers = Annotated[Mapping[HeaderName, Header], AfterValidator(_no_secret)]
