"""Draw architecture.svg, the picture of docs/architecture.md: `python docs/images/architecture.py`."""

from html import escape
from pathlib import Path

WIDTH, HEIGHT = 980, 566
FILLS = {"said": "#e8eaf6", "load": "#e3f2fd", "kept": "#e8f5e9", "read": "#fff3e0", "out": "#f5f5f5"}


def box(x: int, y: int, width: int, height: int, title: str, lines: tuple[str, ...], kind: str) -> str:
    """Return a box with a title and lines below it."""
    parts = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{FILLS[kind]}" stroke="#5c6bc0"/>',
        f'<text x="{x + width / 2}" y="{y + 22}" font-weight="bold" text-anchor="middle">{escape(title)}</text>',
    ]
    for number, line in enumerate(lines, 1):
        place = f'x="{x + width / 2}" y="{y + 22 + 18 * number}"'
        parts.append(f'<text {place} font-size="13" text-anchor="middle">{escape(line)}</text>')
    return "\n".join(parts)


def process(x: int, y: int, width: int, height: int, title: str) -> str:
    """Return the frame of a process."""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="10" fill="none" stroke="#9e9e9e" '
        f'stroke-dasharray="6 4"/>\n'
        f'<text x="{x + 12}" y="{y + 20}" font-size="13" fill="#616161">{escape(title)}</text>'
    )


def arrow(points: str, label: str = "", x: int = 0, y: int = 0, anchor: str = "start") -> str:
    """Return an arrow along ``points``, with its label at (``x``, ``y``)."""
    line = f'<polyline points="{points}" fill="none" stroke="#37474f" stroke-width="1.6" marker-end="url(#head)"/>'
    text = (
        f'<text x="{x}" y="{y}" font-size="12" text-anchor="{anchor}" fill="#37474f">{escape(label)}</text>'
    )
    return line + (f"\n{text}" if label else "")


def picture() -> str:
    """Return the picture as SVG."""
    parts = [
        process(
            20,
            20,
            940,
            66,
            "loadgen run: starts Locust as a child, and completes the record if the child dies",
        ),
        box(660, 32, 280, 40, "cli/launch, run/ending", (), "out"),
        process(20, 106, 300, 306, "master (Locust)"),
        box(40, 136, 260, 62, "scenario, pacing", ("the file, checked; who sends when",), "said"),
        box(40, 236, 260, 62, "run: coordinator", ("phases, workers, live gates",), "load"),
        box(40, 336, 260, 62, "run: record, gather", ("manifest.json, Parquet from spools",), "kept"),
        process(20, 426, 300, 110, "analysis"),
        box(40, 456, 260, 62, "analysis", ("ledger, figures, verdict, report",), "read"),
        process(400, 106, 260, 430, "worker (Locust), one a core"),
        box(410, 136, 240, 62, "run: agent", ("its share of clients, health, pings",), "load"),
        box(410, 236, 240, 62, "users", ("connections, subscriptions",), "load"),
        box(410, 336, 240, 62, "transport, protocol, native", ("sockets, frames, deliveries",), "load"),
        box(410, 456, 240, 62, "measure: recorder", ("columns, histograms, spool",), "kept"),
        process(740, 306, 220, 106, "target: ours or a real one"),
        box(750, 336, 200, 62, "service", ("server, AppSync, MQTT, …",), "out"),
        box(750, 456, 200, 62, "results/…", ("tables, report, summary.json",), "out"),
        arrow("170,198 170,234", "clients, gates", 178, 220),
        arrow("300,255 408,160", "shares, phases", 350, 150, "middle"),
        arrow("408,180 302,275", "status", 360, 268),
        arrow("170,298 170,334", "end of the run", 178, 320),
        arrow("530,198 530,234", "one user a client", 538, 220),
        arrow("530,298 530,334", "publish, subscribe", 538, 320),
        arrow("650,358 748,358", "send", 699, 350, "middle"),
        arrow("748,380 652,380", "deliver", 699, 396, "middle"),
        arrow("530,398 530,454", "arrival stamps", 538, 432),
        arrow("410,487 360,487 360,367 302,367", "spool", 368, 440),
        arrow("170,398 170,454", "tables", 178, 422),
        arrow("300,502 350,502 350,550 700,550 700,487 748,487"),
    ]
    head = (
        '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L10,5 L0,10 z" fill="#37474f"/></marker>'
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="15">\n'
        f"<title>Processes of a run and the way of the data</title>\n"
        f'<defs>{head}</defs>\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(picture(), encoding="utf-8")
