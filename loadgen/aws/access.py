"""AWS sessions from a profile and a region, and AWS's refusals as one-sentence errors."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from analysis import extras
from loadgen.exits import ExitCode, RunError

#: An AppSync API key. AWS's own messages may contain one, so `clean` removes it.
_KEY = re.compile(r"da2-[A-Za-z0-9]+")
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure"})
_STALE: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"}
)


class AwsError(RunError):
    """AWS refused a request or could not be reached; the message is one sentence without a secret."""


@dataclass(frozen=True, slots=True)
class Access:
    """Profile and region from the command line, or None to find them as other AWS tools do."""

    profile: str | None = None
    region: str | None = None

    def session(self) -> Any:
        """Return a boto3 session for this profile and region.

        Raises:
            AwsError: boto3 is missing, the profile does not exist, or no region is set anywhere.
        """
        try:
            extras.require("aws", "AWS")
        except extras.ExtraMissingError as error:
            raise AwsError(str(error), ExitCode.USAGE) from None
        import boto3

        with told("use the AWS configuration"):
            session = boto3.Session(botocore_session=proxy_session(self.profile), region_name=self.region)
        if not session.region_name:
            raise AwsError(
                "the AWS region is not known: give --region, set AWS_REGION, or put it into the profile",
                ExitCode.USAGE,
            )
        return session

    def options(self) -> str:
        """Return `--profile` and `--region` as given, each after a space, to append to a suggested command."""
        said = {"--profile": self.profile, "--region": self.region}
        return "".join(f" {option} {value}" for option, value in said.items() if value)


def proxy_session(profile: str | None) -> Any:
    """Return a botocore session, which reads HTTPS_PROXY, HTTP_PROXY and NO_PROXY by botocore's rules.

    With `--no-proxy` it connects to AWS directly.

    Raises:
        AwsError: the environment names an unsupported kind of proxy, for which botocore would only show a traceback.
        ProfileNotFound: the profile does not exist.
    """
    import botocore.session
    from botocore.config import Config

    from loadgen.transport import proxy

    session = botocore.session.Session(profile=profile)
    session.get_scoped_config()
    if proxy.is_off():
        session.set_default_client_config(Config(proxies={}))
        return session
    try:
        proxy.choose("https://amazonaws.com", os.environ)
    except proxy.ProxySettingError as error:
        raise AwsError(str(error), ExitCode.USAGE) from None
    return session


@contextmanager
def told(action: str) -> Iterator[None]:
    """Turn exceptions of botocore into an :class:`AwsError` of one sentence.

    ``action`` completes a sentence that begins with "cannot", such as "read the stack x".
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        EndpointConnectionError,
        HTTPClientError,
        NoCredentialsError,
        NoRegionError,
        ProfileNotFound,
    )

    try:
        yield
    except NoCredentialsError:
        raise AwsError(
            "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with"
            " --profile",
            ExitCode.USAGE,
        ) from None
    except (ProfileNotFound, NoRegionError) as error:
        raise AwsError(f"cannot {action}: {clean(str(error))}", ExitCode.USAGE) from None
    except (EndpointConnectionError, HTTPClientError) as error:
        raise AwsError(
            f"cannot {action}: AWS cannot be reached ({type(error).__name__}); check region and network",
            ExitCode.TARGET,
        ) from None
    except ClientError as error:
        raise AwsError(refusal(action, error), ExitCode.TARGET) from None
    except BotoCoreError as error:
        raise AwsError(f"cannot {action}: {clean(str(error))}", ExitCode.USAGE) from None


def refusal(action: str, error: Any) -> str:
    """Return one sentence that explains a refusal by AWS (botocore's ClientError)."""
    code, message = code_of(error), clean(str(error.response.get("Error", {}).get("Message", "")))
    operation = str(error.operation_name)
    if code in _DENIED:
        return f"cannot {action}: these AWS credentials may not {operation}; ask for that right ({message})"
    if code in _STALE:
        return f"cannot {action}: AWS does not accept these credentials ({code}); log in again"
    return f"cannot {action}: {message.rstrip('.') or code} ({operation})"


def code_of(error: Any) -> str:
    """Return the error code of a ClientError of botocore."""
    return str(error.response.get("Error", {}).get("Code", "an error"))


def clean(text: str) -> str:
    """Return text from outside on one line, without control characters and API keys."""
    return _KEY.sub("da2-…", " ".join("".join(c if c.isprintable() else " " for c in text).split()))
