"""The settings of a broker that a target's URL gives in its query: `?qos=2&version=3.1.1`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

#: Longest session expiry in seconds. The value for "never" (MQTT 5, 3.1.2.11.2) is not allowed, because each run would
#: then leave its sessions at the broker.
EXPIRY_MAX_S: Final = 7 * 86_400
DEFAULT_EXPIRY_S: Final = 300
VERSIONS: Final = ("5", "3.1.1")
_SWITCH: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings by which the clients of a run use a broker."""

    qos: Literal[0, 1, 2] = 1
    """The quality of service of publishes and subscriptions."""
    version: str = "5"
    """The version of MQTT, one of `VERSIONS`."""
    clean: bool = True
    """True if each connection begins a new session; false to resume the client's session after a reconnect."""
    expiry_s: int = DEFAULT_EXPIRY_S
    """How long the broker keeps a session without a connection. MQTT 3.1.1 has no such time: the broker decides."""
    retain: bool = False
    """True if published events are retained, and subscriptions ask for the retained event of each topic."""

    @property
    def properties(self) -> bool:
        """True if packets have properties, as in MQTT 5."""
        return self.version == "5"

    @property
    def title(self) -> str:
        """The protocol's name for display."""
        return f"MQTT {self.version}"


def of_query(pairs: Sequence[tuple[str, str]]) -> Settings:
    """Return the settings of a URL's query.

    Raises:
        ValueError: a name or a value is unknown; the message continues a sentence that begins with the URL.
    """
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in _READERS:
            raise ValueError(
                f"has the query {name!a}: only {', '.join(map(repr, _READERS))} are known, as in '?qos=0'"
            )
        if name in found:
            raise ValueError(f"has {name!a} twice in its query; keep one")
        found[name] = value
    qos = _one_of("qos", found.get("qos", "1"), ("0", "1", "2"))
    version = _one_of("version", found.get("version", VERSIONS[0]), VERSIONS)
    clean = _SWITCH[_one_of("clean", found.get("clean", "true"), tuple(_SWITCH))]
    retain = _SWITCH[_one_of("retain", found.get("retain", "false"), tuple(_SWITCH))]
    expiry = found.get("expiry")
    if expiry is not None and (clean or version != "5"):
        raise ValueError(
            "has an 'expiry', which needs a session to keep and MQTT 5: add 'clean=false', or drop it"
        )
    if not clean and qos == "0":
        raise ValueError(
            "has 'clean=false' with 'qos=0': brokers keep no messages of QoS 0 for an absent client; use 'qos=1'"
        )
    return Settings(
        qos={"0": 0, "1": 1, "2": 2}[qos],  # type: ignore[arg-type]
        version=version,
        clean=clean,
        expiry_s=DEFAULT_EXPIRY_S if expiry is None else _seconds(expiry),
        retain=retain,
    )


_READERS: Final = ("qos", "version", "clean", "expiry", "retain")


def _one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ValueError(
            f"has '{name}={ascii(value)[1:-1]}': it may be {', '.join(known[:-1])} or {known[-1]}"
        )
    return value


def _seconds(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 8 and 1 <= int(value) <= EXPIRY_MAX_S):
        raise ValueError(
            f"has 'expiry={ascii(value)[1:-1]}': it is a number of seconds from 1 to {EXPIRY_MAX_S}"
        )
    return int(value)
