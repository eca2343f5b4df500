"""Test the probe's last two steps: a deep wildcard, and an invalid login that must be refused."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from loadgen.client.further_checks import WrongLogin
from loadgen.client.probe import Probe
from loadgen.client.steps import Step
from loadgen.protocol.appsync.auth import ApiKey, BearerToken, Credential
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.server.auth.base import Authorizer
from loadgen.server.auth.iam import IamAuthorizer, IamUser
from loadgen.server.auth.lambda_authorizer import LambdaAuthorizer
from loadgen.server.handlers import Unauthorized
from loadgen.server.testing import LocalEventApi, Namespace
from loadgen.targets import APPSYNC_EVENTS


def wrong(api: LocalEventApi, mode: str | None) -> WrongLogin:
    return WrongLogin.of(partial(AppSyncEvents, Endpoints.from_url(api.http_url)), mode)


def further(
    api: LocalEventApi,
    mode: str | None,
    *,
    credential: Credential | None = None,
    channel: str = "/default/a",
    over_http: bool = True,
    frames: bool = False,
) -> tuple[dict[str, Step], list[str]]:
    service = AppSyncEvents(Endpoints.from_url(api.http_url), credential or ApiKey(api.api_key))
    probe = Probe(
        service,
        channel,
        over_http=over_http,
        rules=APPSYNC_EVENTS.rules,
        wrong_login=wrong(api, mode),
        with_frames=frames,
    )
    steps = {step.name: step for step in probe.run()}
    shown = [frame.text for frame in probe.frames.take()] if probe.frames is not None else []
    return steps, shown


@pytest.mark.parametrize("over_http", [True, False])
@pytest.mark.parametrize(
    ("channel", "deep"),
    [
        ("/default/a", "/default/a/deep"),
        ("/default/a/b/c", "/default/a/b/c"),
        ("default", "/default/loadgen-probe/deep"),
    ],
)
def test_the_local_server_passes_both(channel: str, deep: str, over_http: bool) -> None:
    with LocalEventApi() as api:
        steps, shown = further(api, "api-key", channel=channel, over_http=over_http, frames=True)
        assert api.subscriptions == 0
    assert steps["deep wildcard"].detail == "/default/* gets events two levels below"
    assert steps["wrong login"].detail == "refused: UnauthorizedException"
    assert "".join(shown).count("HTTP 401") == over_http
    assert api.api_key not in "".join(shown)
    # Nothing was published with the invalid key.
    assert {entry.channel for entry in api.published} == {f"/{channel.strip('/')}", deep} | {
        "/".join(deep.split("/")[:3])
    }


def shallow_only(ctx: Any) -> Any:
    return [event for event in ctx.events if len(ctx.info.channel.segments) < 3]


def nothing(ctx: Any) -> Any:
    return ctx.events if ctx.info.channel.path == "/default/own" else []


def no_wildcards(ctx: Any) -> None:
    if ctx.info.channel.segments[-1] == "*":
        raise Unauthorized


def test_a_wildcard_of_one_level_is_told_from_none() -> None:
    with LocalEventApi([Namespace("default", on_publish=shallow_only)]) as api:
        steps, _ = further(api, "api-key")
    deep = steps["deep wildcard"]
    assert deep.ok is False
    assert (
        deep.detail == "a subscription to /default/* gets events of /default/a, and none of /default/a/deep"
    )
    assert "stands for one level" in deep.advice
    # The check of the login does not depend on the check of the wildcard.
    assert steps["wrong login"].ok
    with LocalEventApi([Namespace("default", on_publish=nothing)]) as api:
        steps, _ = further(api, "api-key", channel="/default/own", over_http=False)
    assert steps["deep wildcard"].ok is False
    assert "gets events of /default/own, and none of" in steps["deep wildcard"].detail


def test_a_subscription_that_gets_nothing_and_one_that_is_not_allowed() -> None:
    filtered = Namespace("default", on_publish=lambda ctx: [])
    service_only = {"deep wildcard", "wrong login"}
    with LocalEventApi([filtered]) as api:
        service = AppSyncEvents(Endpoints.from_url(api.http_url), ApiKey(api.api_key))
        probe = Probe(service, "/default/a", rules=APPSYNC_EVENTS.rules, wrong_login=wrong(api, "api-key"))
        probe._ways.clear()
        # Run only the last steps of the probe. So no earlier step fails because events of /default/a do not arrive.
        steps = {step.name: step for step in _without_delivery(probe)}
    assert service_only <= steps.keys()
    assert "gets neither events of /default/a nor of /default/a/deep" in steps["deep wildcard"].detail
    with LocalEventApi([Namespace("default", on_subscribe=no_wildcards)]) as api:
        steps, _ = further(api, "api-key")
    deep = steps["deep wildcard"]
    assert deep.ok is None
    assert deep.detail.startswith("skipped: /default/* cannot be subscribed to here (Unauthorized")


def _without_delivery(probe: Probe) -> Sequence[Step]:
    return [probe._done(name, step) for name, step in probe._further]


def always(event: Any) -> Any:
    return {"isAuthorized": True}


def publish_only(event: Any) -> Any:
    token, operation = event["authorizationToken"], event["requestContext"]["operation"]
    return {"isAuthorized": token == "right" or operation == "EVENT_PUBLISH"}


@pytest.mark.parametrize(
    ("function", "detail"),
    [
        (always, "a made-up login may connect, and subscribe to /default/a"),
        (publish_only, "a made-up login may publish to /default/a over HTTP"),
    ],
)
def test_an_authorizer_that_allows_every_token_is_found(function: Any, detail: str) -> None:
    with LocalEventApi(authorizers=[LambdaAuthorizer(function)]) as api:
        steps, _ = further(api, "lambda", credential=BearerToken(lambda: "right"))
    found = steps["wrong login"]
    assert (found.ok, found.detail) == (False, detail)
    assert "does not allow every token" in found.advice


@pytest.mark.parametrize("mode", ["api-key", "lambda", "iam"])
def test_a_made_up_login_of_each_mode_is_refused(mode: str) -> None:
    authorizers: list[Authorizer] = [
        LambdaAuthorizer(lambda event: {"isAuthorized": event["authorizationToken"] == "right"}),
        IamAuthorizer([IamUser("AKIAREAL", "secret")]),
    ]
    with LocalEventApi(authorizers=authorizers) as api:
        steps, shown = further(api, mode, frames=True)
    expected = "UnrecognizedClientException" if mode == "iam" else "UnauthorizedException"
    assert (steps["wrong login"].ok, steps["wrong login"].detail) == (True, f"refused: {expected}")
    # The login is refused once over WebSocket and once over HTTP.
    assert "\n".join(shown).count("connection_error") == 1
    assert "\n".join(shown).count(expected) == 2


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (None, "the target is used without a login"),
        ("certificate", "no wrong login of mode certificate can be made up"),
    ],
)
def test_what_cannot_be_checked_is_said(mode: str | None, reason: str) -> None:
    with LocalEventApi() as api:
        steps, _ = further(api, mode)
    assert (steps["wrong login"].ok, steps["wrong login"].detail) == (None, f"skipped: {reason}")


def test_a_protocol_without_such_a_login_skips_the_step() -> None:
    """Some logins cannot be made up for a target, such as a client certificate for MQTT without TLS."""

    def refuses(made_up: object) -> Any:
        raise ValueError("these do not fit together")

    check = WrongLogin.of(refuses, "iam")
    assert (check.service, check.why_not) == (None, "these do not fit together")


def test_a_failed_step_leaves_both_untried(tmp_path: Path) -> None:
    with LocalEventApi() as api:
        steps, _ = further(api, "api-key", credential=ApiKey("da2-another"))
    assert [(steps[name].ok, steps[name].detail) for name in ("deep wildcard", "wrong login")] == [
        (None, "")
    ] * 2
    assert json.dumps([step.to_dict() for step in steps.values()])
