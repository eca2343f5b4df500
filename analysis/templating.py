"""The templates of all HTML pages, in `templates/`. Values are escaped, and an undefined name raises an error."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from analysis import text
from analysis.pricing import money


@cache
def template(name: str, *, trim: bool = False) -> Template:
    """Return a page's template, compiled once per process: compiling takes longer than filling it in.

    ``trim`` removes the line breaks and the indentation of template tags from the page.
    """
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text.printable,
        trim_blocks=trim,
        lstrip_blocks=trim,
    )
    environment.filters.update(
        clean=text.clean,
        cores=text.cores,
        count=text.count,
        duration=text.duration,
        money=money,
        rate=text.rate,
        ratio=text.ratio,
        significant=text.significant,
        size=text.size,
        utc=text.utc,
    )
    return environment.get_template(name)
