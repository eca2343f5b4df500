"""The messages for the table rows called *real payload*: JSON objects, the same in every run and for every tool.

The objects have members of mixed types. A message and its stamp together have about as many bytes as an event in the
*own padding* rows, where the harness pads its events itself.
"""

import json
from random import Random

COUNT = 200
_NAMES = ("Ada", "José", "Zoë", "李雷", "Søren", "O'Neil", 'The "Cat"', "Grace")
_TEXTS = (
    "On my way",
    "Score: 3\u20132\nHalf time",
    'She said "no"',
    "C:\\temp",
    "Überraschung! \U0001f389",
    "ok",
)


def messages() -> list[str]:
    """Return the messages as JSON texts."""
    draw = Random(23)
    return [
        json.dumps(
            {
                "id": f"{draw.getrandbits(48):012x}",
                "user": {
                    "name": draw.choice(_NAMES),
                    "age": draw.randrange(18, 90),
                    "vip": draw.random() < 0.2,
                },
                "text": draw.choice(_TEXTS),
                "price": round(draw.uniform(0, 500), 2),
                "tags": draw.sample(["a", "b", "news", "sport", "live"], 2),
                "ref": None,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
        for _ in range(COUNT)
    ]
