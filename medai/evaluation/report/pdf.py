"""The report as PDF, printed by a chromium on this machine."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from medai.core.error import MedaiError
from medai.core.file import atomic_file

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-pdf-header-footer",
)  # fmt: skip
MOST_SECONDS = 180


def find_browser() -> str:
    """The first chromium on the PATH.

    Raises:
        MedaiError: there is none.
    """
    for name in BROWSERS:
        found = shutil.which(name)
        if found:
            return found
    raise MedaiError(
        "printing to PDF needs a chromium, and none is on the PATH; install one, or print report.html from a browser (pdf=false)"
    )


def print_pdf(html: Path, pdf: Path) -> None:
    """Print a report to PDF, atomically. The page loads nothing from elsewhere, so that no network is needed.

    Args:
        html: The report.
        pdf: The file to write.

    Raises:
        MedaiError: there is no chromium, or it fails.

    Example:
        >>> print_pdf(Path("report.html"), Path("report.pdf"))
    """
    browser = find_browser()
    with atomic_file(Path(pdf)) as temporary, tempfile.TemporaryDirectory(prefix="medai-print-", ignore_cleanup_errors=True) as profile:
        said = _run(browser, Path(html), temporary, profile)
        if not temporary.is_file() or temporary.stat().st_size == 0:
            reason = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it wrote nothing")
            raise MedaiError(f"{browser} did not print {html}: {reason[:200]}")


def _run(browser: str, html: Path, pdf: Path, profile: str) -> str:
    """Run the browser; without its sandbox only where it cannot have one, as root."""
    sandbox = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    command = [browser, *FLAGS, *sandbox, f"--user-data-dir={profile}", f"--print-to-pdf={pdf.resolve()}", html.resolve().as_uri()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=MOST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise MedaiError(f"{browser} did not print {html} within {MOST_SECONDS} seconds; print it from a browser") from None
    except OSError as error:
        raise MedaiError(f"{browser} does not start ({error.strerror}); print {html} from a browser") from None
    return done.stderr
