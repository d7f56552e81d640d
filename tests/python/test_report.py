"""The pages of `elonnx evaluate --report`, as Chromium shows them (skipped where there is no Chromium)."""

import html
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; CHROMIUM=... names one")

# looks into the page from outside, as the page itself has no script
PROBE = """<!DOCTYPE html><meta charset="utf-8"><iframe id="page" src="%s" style="width:%dpx;height:900px;border:0"></iframe>
<script>
document.getElementById("page").onload = function () {
  const page = this.contentDocument;
  const box = element => { const b = element.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom] };
  const texts = [...page.querySelectorAll("svg.chart")].map(svg =>
    [...svg.querySelectorAll("text")].map(text => [text.textContent, ...box(text)]));
  const found = {
    svgs: [...page.querySelectorAll("svg.chart")].map(box),
    wide: page.documentElement.scrollWidth, width: %d, texts,
    ground: getComputedStyle(page.body).backgroundColor,
    scripts: page.querySelectorAll("script").length,
  };
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify(found);
  document.body.append(result);
};
</script>
"""


def look(page, folder, width, dark=False):
    probe = folder / f"probe{width}{dark}.html"
    probe.write_text(PROBE % (page.as_uri(), width, width))
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    run = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=5000",
         f"--window-size={max(width, 500) + 40},1000", *scheme, "--dump-dom", probe.as_uri()],
        capture_output=True, text=True, timeout=120)
    complaints = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    assert not complaints, complaints
    result = re.search(r'<pre id="result">(.*?)</pre>', run.stdout, re.S)
    assert result, run.stdout[-2000:] + run.stderr[-2000:]
    return json.loads(html.unescape(result.group(1)))


@pytest.fixture(scope="module")
def page(elonnx, models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(3)
    np.save(folder / "inside.npy", rng.normal(0, 3, (400, 16)).astype(np.float32))
    np.save(folder / "near.npy", rng.normal(0, 1.5, (300, 16)).astype(np.float32))
    np.save(folder / "far.npy", rng.normal(0, 0.5, (300, 16)).astype(np.float32))
    np.save(folder / "labels.npy", rng.integers(0, 5, 400))
    elonnx("evaluate", models / "heads" / "softmax.onnx", "--in-dist", folder / "inside.npy", "--ood", folder / "near.npy",
           "--ood", f"a name that is <b>long & strange={folder / 'far.npy'}", "--labels", folder / "labels.npy",
           "--bootstrap", 50, "--report", folder / "report.html")
    return folder / "report.html"


@needs_chromium
@pytest.mark.parametrize("width", [1280, 400])
def test_everything_is_seen(page, tmp_path, width):
    found = look(page, tmp_path, width)
    assert found["scripts"] == 0
    # two for each of three scores, reliability and margin
    assert len(found["svgs"]) == 8
    for left, top, right, bottom in found["svgs"]:
        assert right - left > 250 and bottom - top > 150
        assert left >= 0 and right <= width
    assert found["wide"] <= width, "the page scrolls sideways"
    for texts in found["texts"]:
        assert len(texts) > 5
        for i, one in enumerate(texts):
            for other in texts[i + 1:]:
                across = min(one[3], other[3]) - max(one[1], other[1])
                down = min(one[4], other[4]) - max(one[2], other[2])
                # boxes of lines include the air between them
                height = min(one[4] - one[2], other[4] - other[2])
                assert across <= 0.5 or down <= 0.35 * height, (one, other)


@needs_chromium
def test_light_and_dark(page, tmp_path):
    light, dark = (look(page, tmp_path, 1280, dark)["ground"] for dark in (False, True))
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (light, dark)]
    assert brightness[0] > 600 and brightness[1] < 150, (light, dark)


def test_nothing_is_fetched(page):
    text = page.read_text()
    assert "&lt;b&gt;long &amp; strange" in text and "<b>long" not in text
    assert not re.search(r"https?:|url\(|@import|<script|<link(?! rel=\"icon\" href=\"data:,\")", text)
