"""A page in a real browser: nothing that it complains of, nothing that it asks for, tables that are sorted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import histokit as package
from tests.toy import make_samples, make_store

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)")

_SORTED = """
<script>
const head = [...document.querySelectorAll("table")].find(t => t.tBodies[0].rows.length > 2).querySelector("th button");
const names = () => [...head.closest("table").tBodies[0].rows].map(row => row.children[0].dataset.key);
const shown = {before: names()};
for (const when of ["up", "down"]) { head.click(); shown[when] = names(); shown[when + "_told"] =
  head.closest("th").getAttribute("aria-sort"); }
document.body.innerHTML = "";
document.body.append("SHOWN" + JSON.stringify(shown) + "END");
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    samples, X = make_samples(60, classes="cab")
    toy = make_store(folder / "store", samples, {"last": X})
    (run,) = package.train(toy, "toy", "net/last", "knn", grid={"k": 3}, split="leave-one-group-out")
    return Path(package.report(toy, run.id, out=folder / "r.html").file)


def seen(page: Path, log: Path) -> tuple[str, str]:
    """What the page has become, and what the browser said of it."""
    command = [str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += [
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={log.parent / 'user'}",
    ]
    command += [f"--log-net-log={log}", "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def test_it_complains_of_nothing_and_asks_for_nothing(page: Path, tmp_path: Path) -> None:
    shown, said = seen(page, tmp_path / "net.json")
    assert "</table>" in shown
    assert [line for line in said.splitlines() if "CONSOLE" in line] == []
    asked = set(re.findall(r'"url":"([^"]+)"', (tmp_path / "net.json").read_text()))
    assert [url for url in asked if page.parent.name in url or "r.html" in url] in ([], [page.as_uri()])
    # What a page must not ask for is told at once.
    spoilt = page.with_name("spoilt.html")
    spoilt.write_text(page.read_text().replace("</body>", '<img src="http://127.0.0.1:9/x.png"></body>'))
    assert "Content Security Policy" in seen(spoilt, tmp_path / "net2.json")[1]


def test_tables_are_sorted_by_their_heads(page: Path, tmp_path: Path) -> None:
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    assert free != page.read_text()
    changed = page.with_name("sorted.html")
    changed.write_text(free.replace("</body>", f"{_SORTED}</body>"))
    text, _ = seen(changed, tmp_path / "net.json")
    shown = json.loads(re.search(r"SHOWN(.*)END", text)[1])  # type: ignore[index]
    assert len(shown["before"]) > 2
    assert shown["up"] == sorted(shown["before"], key=str.casefold)
    assert shown["down"] == shown["up"][::-1]
    assert (shown["up_told"], shown["down_told"]) == ("ascending", "descending")
