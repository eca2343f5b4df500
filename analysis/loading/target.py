"""Describe the target of a run, from the manifest."""

from collections.abc import Mapping
from typing import Any


def target_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's target as `protocol`, `service`, `url`, `embedded`, `loopback`, `setup` and `proxies`.

    `proxies` lists the proxies that the master or a worker used, or is None if they were not recorded. Old records do
    not name a protocol, because only AppSync Events was supported then.
    """
    target = manifest["target"]
    embedded = bool(target["embedded"])
    return {
        "protocol": target.get("protocol", "appsync-events"),
        "service": target.get("service", "AWS AppSync Events"),
        "url": target.get("url") or target.get("http_url") or "",
        "embedded": embedded,
        "loopback": bool(target.get("loopback", embedded)),
        "setup": dict(target.get("setup", {})),
        "proxies": _proxies(manifest),
    }


def _proxies(manifest: Mapping[str, Any]) -> list[str] | None:
    """Return the proxies of the master and of the workers' environments, or None if proxies were not recorded."""
    told = [
        manifest["target"].get("proxies"),
        *(worker.get("proxies") for worker in manifest.get("workers", ())),
    ]
    known = [routed for routed in told if routed is not None]
    if not known:
        return None
    return sorted({f"{each['address']} ({each['variable']})" for routed in known for each in routed})
