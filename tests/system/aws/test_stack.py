"""Test creating and deleting the stack with moto's CloudFormation and AppSync, and refusals by AWS."""

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from loadgen.aws.access import Access, AwsError, clean
from loadgen.aws.stack import Event, Stacks, Wanted
from loadgen.aws.target import find
from loadgen.cli.app import app

DAY = 86_400


def loadgen(*arguments: str) -> Any:
    import loadgen.cli.aws  # noqa: F401  registers the commands

    return CliRunner().invoke(app, list(arguments))


def client(service: str = "cloudformation") -> Any:
    import boto3  # imported here, because most test processes never need it

    return boto3.client(service, region_name="eu-west-1")


def stacks(**more: Any) -> Stacks:
    return Stacks(client(), **more)


def namespaces(api_id: str) -> set[str]:
    return {
        each["name"] for each in client("appsync").list_channel_namespaces(apiId=api_id)["channelNamespaces"]
    }


def only_key(api_id: str) -> dict[str, Any]:
    (key,) = client("appsync").list_api_keys(apiId=api_id)["apiKeys"]
    found: dict[str, Any] = key
    return found


def test_up_twice_and_down(aws: None) -> None:
    done = loadgen("aws", "up", "--stack", "load")
    assert done.exit_code == 0, done.output
    (api,) = client("appsync").list_apis()["apis"]
    key = only_key(api["apiId"])
    assert api["name"] == "load"
    assert api["dns"]["HTTP"] in done.output
    assert "CREATE_COMPLETE" in done.output
    assert "idle it costs nothing" in done.output
    assert "loadgen run comments --target aws:load --allow-remote" in done.output
    assert key["id"] not in done.output
    assert namespaces(api["apiId"]) == {"default"}
    found = find("aws:load", Access())
    assert (found.api_id, found.url) == (api["apiId"], f"https://{api['dns']['HTTP']}/event")
    assert (found.region, found.namespaces) == ("eu-west-1", ("default",))

    done = loadgen("aws", "up", "--stack", "load", "--namespace", "chat-rooms")
    assert done.exit_code == 0, done.output
    assert namespaces(api["apiId"]) == {"default", "chat-rooms"}
    assert only_key(api["apiId"]) == key

    done = loadgen("aws", "status", "--stack", "load")
    assert done.exit_code == 0, done.output
    assert "chat-rooms, default" in done.output
    assert "good until" in done.output
    assert key["id"] not in done.output

    done = loadgen("aws", "down", "--stack", "load")
    assert done.exit_code == 2
    assert "nobody can be asked: confirm it with --yes" in done.output
    done = loadgen("aws", "down", "--stack", "load", "--yes")
    assert done.exit_code == 0, done.output
    assert "DELETE_COMPLETE" in done.output
    assert client("appsync").list_apis()["apis"] == []
    done = loadgen("aws", "down", "--stack", "load", "--yes")
    assert (done.exit_code, "nothing to remove" in done.output) == (0, True)
    done = loadgen("aws", "status", "--stack", "load")
    assert done.exit_code == 4
    assert "there is no stack load" in done.output


def test_logs_have_a_role_and_a_group_that_go_with_the_stack(aws: None) -> None:
    assert client("iam").list_roles()["Roles"] == []
    done = loadgen("aws", "up", "--log-level", "error")
    assert done.exit_code == 0, done.output
    assert "CloudWatch Logs bills" in done.output
    (role,) = client("iam").list_roles()["Roles"]
    api_id = find("aws:loadgen", Access()).api_id
    (group,) = client("logs").describe_log_groups()["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == (f"/aws/appsync/apis/{api_id}", 7)
    from moto.appsync.models import appsync_backends

    config = appsync_backends["123456789012"]["eu-west-1"].events_apis[api_id].event_config
    assert config is not None
    assert config["LogConfig"] == {"LogLevel": "ERROR", "CloudWatchLogsRoleArn": role["Arn"]}
    assert config["ConnectionAuthModes"] == [{"AuthType": "API_KEY"}, {"AuthType": "AWS_IAM"}]
    assert loadgen("aws", "down", "--yes").exit_code == 0
    assert client("logs").describe_log_groups()["logGroups"] == []
    assert client("iam").list_roles()["Roles"] == []


def test_the_key_lasts_as_asked_and_is_renewed_when_it_is_about_to_end(aws: None) -> None:
    now_s = time.time()
    stands, what = stacks().up("load", Wanted(key_days=2))
    assert what == "made"
    api_id = stands.outputs["ApiId"]
    first = only_key(api_id)
    assert now_s + 2 * DAY <= first["expires"] <= now_s + 2 * DAY + 3600
    stacks().up("load", Wanted())
    assert only_key(api_id) == first
    stacks(clock=lambda: now_s + 1.5 * DAY).up("load", Wanted())
    second = only_key(api_id)
    assert second["id"] == first["id"]
    assert second["expires"] >= now_s + 8 * DAY
    stacks().up("load", Wanted(key_days=365))
    assert only_key(api_id)["expires"] <= now_s + 365 * DAY


def test_a_stack_of_somebody_else_is_left_alone(aws: None) -> None:
    client().create_stack(
        StackName="theirs", TemplateBody='{"Resources": {"T": {"Type": "AWS::SNS::Topic"}}}'
    )
    for command in (("up",), ("down", "--yes")):
        done = loadgen("aws", *command, "--stack", "theirs")
        assert done.exit_code == 2
        assert "was not made by loadgen" in done.output
    assert "not made by loadgen" in loadgen("aws", "status", "--stack", "theirs").output
    with pytest.raises(AwsError, match="is not an Event API of loadgen"):
        find("aws:theirs", Access())
    assert client().describe_stacks(StackName="theirs")["Stacks"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--stack", "1x"), "a letter, then up to 49 letters, digits and hyphens"),
        (("--stack", "x" * 51), "a letter, then up to 49 letters, digits and hyphens"),
        (("--namespace", "a/b"), "cannot be the name of a namespace"),
        (("--profile", "nobody"), "nobody"),
    ],
)
def test_usage(aws: None, arguments: tuple[str, ...], said: str) -> None:
    done = loadgen("aws", "up", *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert len(done.output.strip().splitlines()) <= 2


def test_without_boto3_without_region_without_credentials(
    credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    done = loadgen("aws", "status")
    assert (done.exit_code, "the AWS region is not known" in done.output) == (2, True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    done = loadgen("aws", "status", "--region", "eu-west-1")
    assert (done.exit_code, "there are no AWS credentials" in done.output) == (2, True)
    monkeypatch.setitem(sys.modules, "boto3", None)
    done = loadgen("aws", "up", "--region", "eu-west-1")
    assert (done.exit_code, "AWS needs the extra 'aws', which is not installed: " in done.output) == (2, True)


def test_the_template_for_other_tools() -> None:
    done = loadgen("aws", "template", "--namespace", "chat")
    assert done.exit_code == 0
    assert '"Name": "chat"' in done.output


# The following tests stub answers that moto does not give: refusals, failures, "nothing to change", slow
# operations.

ID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/load/1"


def stub() -> tuple[Any, Any]:
    import botocore.session
    from botocore.stub import Stubber

    session = botocore.session.Session()
    session.set_credentials("testing", "testing")
    made = session.create_client("cloudformation", region_name="eu-west-1")
    return made, Stubber(made)


def described(status: str, ours: bool = True, **more: Any) -> dict[str, Any]:
    tags = [{"Key": "created-by", "Value": "loadgen"}] if ours else []
    return {
        "Stacks": [
            {
                "StackName": "load",
                "StackId": ID,
                "StackStatus": status,
                "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
                "Tags": tags,
                **more,
            }
        ]
    }


def event(
    number: int, resource: str, status: str, reason: str = "", kind: str = "AWS::X::Y"
) -> dict[str, Any]:
    return {
        "StackId": ID,
        "StackName": "load",
        "EventId": str(number),
        "Timestamp": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
        "LogicalResourceId": resource,
        "PhysicalResourceId": "arn:…/apikeys/da2-secret",
        "ResourceType": kind,
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


def test_a_failure_names_the_first_resource_that_failed_and_tells_no_key() -> None:
    made, stubber = stub()
    stubber.add_client_error("describe_stacks", "ValidationError", "Stack with id load does not exist")
    stubber.add_response("create_stack", {"StackId": ID})
    stubber.add_response("describe_stacks", described("CREATE_IN_PROGRESS"))
    first = [event(1, "load", "CREATE_IN_PROGRESS", kind="AWS::CloudFormation::Stack")]
    stubber.add_response("describe_stack_events", {"StackEvents": first})
    stubber.add_response("describe_stacks", described("DELETE_COMPLETE"))
    # Events come newest first, on two pages.
    later = [
        event(5, "load", "DELETE_COMPLETE", kind="AWS::CloudFormation::Stack"),
        event(4, "Namespacedefault", "CREATE_FAILED", "Resource creation cancelled"),
    ]
    older = [
        event(3, "Key", "CREATE_FAILED", "Key da2-abcdefgh is\n not valid", "AWS::AppSync::ApiKey"),
        event(2, "Api", "CREATE_IN_PROGRESS"),
    ]
    pages = [{"StackEvents": later, "NextToken": "n"}, {"StackEvents": older + first}]
    stubber.add_response("describe_stack_events", pages[0], {"StackName": ID})
    stubber.add_response("describe_stack_events", pages[1], {"StackName": ID, "NextToken": "n"})
    for page in pages:
        stubber.add_response("describe_stack_events", page)
    seen: list[Event] = []
    slept: list[float] = []
    with stubber, pytest.raises(AwsError) as failed:
        Stacks(made, seen.append, slept.append).up("load", Wanted())
    assert str(failed.value) == (
        "the stack load could not be made, and is removed again (DELETE_COMPLETE): Key (AWS::AppSync::ApiKey):"
        " Key da2-… is not valid"
    )
    assert failed.value.code == 4
    assert [each.id for each in seen] == ["1", "2", "3", "4", "5"]
    assert "da2-abc" not in str(seen)
    assert "da2-secret" not in str(seen)
    assert slept == [2.0]
    stubber.assert_no_pending_responses()


def test_nothing_to_change() -> None:
    made, stubber = stub()
    expires = str(int(time.time()) + 5 * DAY)
    outputs = [{"OutputKey": "Namespaces", "OutputValue": "a,default"}]
    parameters = [{"ParameterKey": "KeyExpires", "ParameterValue": expires}]
    stubber.add_response(
        "describe_stacks", described("CREATE_COMPLETE", Outputs=outputs, Parameters=parameters)
    )
    stubber.add_response("describe_stack_events", {"StackEvents": [event(1, "load", "CREATE_COMPLETE")]})
    stubber.add_client_error("update_stack", "ValidationError", "No updates are to be performed.")
    with stubber:
        stands, what = Stacks(made).up("load", Wanted())
    assert (what, stands.namespaces) == ("nothing to change", ("a", "default"))
    stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (
            "AccessDenied",
            "User: u is not authorized",
            "these AWS credentials may not DescribeStacks; ask for that",
        ),
        (
            "ExpiredToken",
            "The token expired",
            "AWS does not accept these credentials (ExpiredToken); log in again",
        ),
        ("Throttling", "Rate exceeded", "cannot look at the stack load: Rate exceeded (DescribeStacks)"),
    ],
)
def test_a_refusal_is_one_sentence(code: str, message: str, said: str) -> None:
    made, stubber = stub()
    stubber.add_client_error("describe_stacks", code, message)
    with stubber, pytest.raises(AwsError) as failed:
        Stacks(made).find("load")
    assert said in str(failed.value)
    assert "\n" not in str(failed.value)
    assert failed.value.code == 4


def test_a_stack_that_failed_earlier_must_go_first() -> None:
    made, stubber = stub()
    stubber.add_response("describe_stacks", described("ROLLBACK_COMPLETE"))
    with stubber, pytest.raises(AwsError, match="remove it first with `loadgen aws down --stack load`"):
        Stacks(made).up("load", Wanted())


def test_ctrl_c_says_what_stands_and_how_to_remove_it(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stacks, "_follow", interrupted)
    done = loadgen("aws", "up", "--stack", "load", "--region", "eu-west-1")
    assert done.exit_code == 130
    assert "CloudFormation goes on with the stack load by itself" in done.output
    assert "remove it: loadgen aws down --stack load --region eu-west-1" in done.output
    assert client().describe_stacks(StackName="load")["Stacks"]


def test_foreign_text_is_one_harmless_line() -> None:
    assert clean("a\x1b[31m\n\tda2-abc123 b") == "a [31m da2-… b"
