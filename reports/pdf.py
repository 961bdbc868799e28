"""HTML to a tagged PDF by WeasyPrint, which may fetch nothing.

The libraries behind WeasyPrint are system packages. They are loaded here and nowhere else, so that
a machine without them still gets the HTML.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from stochbess.errors import ReportError

APT_LINE = (
    "apt-get install -y --no-install-recommends libpango-1.0-0 libpangoft2-1.0-0 "
    "libharfbuzz-subset0 fonts-dejavu-core"
)
BREW_LINE = "brew install pango"
_LOG = logging.getLogger(__name__)


def write_pdf(html: str) -> bytes:
    """The page as PDF/UA-1: tagged, with title, language, outline and alternative texts.

    Raises
    ------
    ReportError : Pango is missing (the message says which line installs it), or the page asks for
        something from outside
    """
    weasyprint = load_weasyprint()
    fatal = weasyprint.urls.FatalURLFetchingError
    refused: list[str] = []

    class Nothing(weasyprint.urls.URLFetcher):  # type: ignore[name-defined,misc]
        """Fetches data: addresses, which need no fetching, and refuses everything else."""

        def fetch(self, url: str, headers: Any = None) -> Any:
            if url[:5].lower() != "data:":
                refused.append(url[:200])  # inside an image the exception would get lost
                raise fatal(f"refused to fetch {url[:200]!r}")
            return super().fetch(url, headers)

    for name in ("weasyprint", "fontTools", "fontTools.subset"):
        logging.getLogger(name).setLevel(logging.ERROR)
    fetcher = Nothing(allowed_protocols=("data",), allow_redirects=False)
    content = b""
    with _fixed_time(), contextlib.suppress(fatal):
        content = weasyprint.HTML(string=html, url_fetcher=fetcher).write_pdf(
            pdf_variant="pdf/ua-1",
            pdf_identifier=hashlib.sha256(html.encode()).digest()[:16],
            presentational_hints=False,
        )
    if refused or not content:
        raise ReportError(
            f"no PDF: the pages ask for something from outside ({', '.join(refused)}), which was "
            "refused. Reports are made of what they carry; this is a defect, please report it."
        )
    return content


@contextlib.contextmanager
def _fixed_time() -> Iterator[None]:
    """Embedded fonts carry the time of their making; here it is always the same."""
    name = "SOURCE_DATE_EPOCH"  # https://reproducible-builds.org/specs/source-date-epoch/
    before = os.environ.get(name)
    os.environ[name] = "1577836800"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def load_weasyprint() -> Any:
    """The module, or a ReportError that says which line installs what it needs."""
    silence = io.StringIO()  # without Pango the import prints a page of advice of its own
    try:
        with (
            contextlib.redirect_stdout(silence),
            contextlib.redirect_stderr(silence),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            import weasyprint
            import weasyprint.urls
    except OSError as error:
        line = BREW_LINE if sys.platform == "darwin" else APT_LINE
        reason = str(error).splitlines()[0]
        raise ReportError(
            f"no PDF: system libraries are missing ({reason}). Install them with: {line}"
        ) from error
    except ImportError as error:
        raise ReportError(
            f"no PDF: WeasyPrint is not installed ({error}). Install it with: "
            f'{sys.executable} -m pip install "weasyprint>=70"'
        ) from error
    return weasyprint
