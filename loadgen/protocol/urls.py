"""Read the URL of a target, and quote it in an error without its secrets."""

from urllib.parse import SplitResult, urlsplit


class EndpointError(ValueError):
    """A URL is not a valid URL of the service; the message is one sentence."""


def split(url: str, login: str) -> tuple[SplitResult, int | None]:
    """Return the parts of a URL, and its port or None.

    ``login`` is the end of the error message for a URL with credentials: it says how to give them instead.

    Raises:
        EndpointError: the URL cannot be read, or holds a user name or password.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise EndpointError(f"URL {shown(url)} cannot be read: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise EndpointError(f"the URL holds a user name or password: {login}")
    return parts, port


def shown(url: str) -> str:
    """Quote a URL without the parts that may hold a secret: user information, query and fragment."""
    return ascii(url.rpartition("@")[2].partition("?")[0].partition("#")[0])


def in_url(hostname: str) -> str:
    """Return a host's name or address as a URL has it: an IPv6 address in brackets."""
    return f"[{hostname}]" if ":" in hostname else hostname


def port_suffix(port: int | None, *, tls: bool) -> str:
    """Return `:port`, or an empty text for the port that HTTP has by default."""
    return "" if port in (None, 443 if tls else 80) else f":{port}"
