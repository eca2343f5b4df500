"""Who asks AWS, where, and what its refusals mean in one sentence."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from loadgen.exits import ExitCode, RunError

MISSING: Final = (
    "boto3 is not installed: pip install 'fanout-loadgen[aws]' (in a checkout: pip install -e '.[aws]')"
)
#: Keys of AppSync begin so; no sentence that AWS hands us may carry one on.
_KEY = re.compile(r"da2-[A-Za-z0-9]+")
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure"})
_STALE: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"}
)


class AwsError(RunError):
    """AWS cannot be asked or refused; the text is one sentence without a secret."""


@dataclass(frozen=True, slots=True)
class Access:
    """Profile and region as the command line names them; None: as all AWS tools find them."""

    profile: str | None = None
    region: str | None = None

    def session(self) -> Any:
        """Return boto3's session.

        Raises:
            AwsError: boto3 is missing, or the profile or the region is not known.
        """
        try:
            import boto3
        except ImportError:
            raise AwsError(MISSING, ExitCode.USAGE) from None
        with told("use the AWS configuration"):
            session = boto3.Session(botocore_session=proxy_session(self.profile), region_name=self.region)
        if not session.region_name:
            raise AwsError(
                "the AWS region is not known: give --region, set AWS_REGION, or put it into the profile",
                ExitCode.USAGE,
            )
        return session

    def options(self) -> str:
        """Return the options that say the same again, with a space before each."""
        said = {"--profile": self.profile, "--region": self.region}
        return "".join(f" {option} {value}" for option, value in said.items() if value)


def proxy_session(profile: str | None) -> Any:
    """Return botocore's session, which reads HTTPS_PROXY, HTTP_PROXY and NO_PROXY by its own rules.

    It goes directly where `--no-proxy` was said.

    Raises:
        AwsError: the environment names a proxy of a kind that is not supported; botocore's own word is a traceback.
        ProfileNotFound: botocore knows no such profile.
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
    """Turn what botocore raises into one sentence; ``action`` is what was tried, such as "read the stack x"."""
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
    """Return the sentence for a refusal by AWS (botocore's ClientError)."""
    code, message = code_of(error), clean(str(error.response.get("Error", {}).get("Message", "")))
    operation = str(error.operation_name)
    if code in _DENIED:
        return f"cannot {action}: these AWS credentials may not {operation}; ask for that right ({message})"
    if code in _STALE:
        return f"cannot {action}: AWS does not accept these credentials ({code}); log in again"
    return f"cannot {action}: {message.rstrip('.') or code} ({operation})"


def code_of(error: Any) -> str:
    """Return the error code of botocore's ClientError."""
    return str(error.response.get("Error", {}).get("Code", "an error"))


def clean(text: str) -> str:
    """Return foreign text on one line, without control characters and without API keys."""
    return _KEY.sub("da2-…", " ".join("".join(c if c.isprintable() else " " for c in text).split()))
