"""The HTML report, opened in a real browser. Needs chromium on PATH."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib

import pytest
from ctxengine.cli import main

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTH, HEIGHT = 1100, 1600
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    f"--window-size={WIDTH},{HEIGHT}",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "demo.html"
    assert main(["demo", "--html", str(path)]) == 0
    return path


@pytest.fixture
def browse(page, tmp_path):
    assert BROWSER, "this session needs chromium on PATH"

    def run(*flags):
        return subprocess.run(
            [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags, page.as_uri()],
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout.decode()

    return run


def pixels(png):
    """Decode an 8-bit RGB or RGBA PNG to rows of pixel bytes (PNG specification, 7 and 9)."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data = 8, b""
    while at < len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack_from(">IIBB", body)
            assert depth == 8
            channels = {2: 3, 6: 4}[color]
        elif kind == b"IDAT":
            data += body
        at += 12 + size
    raw, stride = zlib.decompress(data), width * channels
    previous, rows = bytearray(stride), []
    for y in range(height):
        method = raw[y * (stride + 1)]
        line = bytearray(raw[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        for x in range(stride):
            left = line[x - channels] if x >= channels else 0
            up = previous[x]
            corner = previous[x - channels] if x >= channels else 0
            if method == 1:
                line[x] = (line[x] + left) & 255
            elif method == 2:
                line[x] = (line[x] + up) & 255
            elif method == 3:
                line[x] = (line[x] + (left + up) // 2) & 255
            elif method == 4:
                guess = left + up - corner
                nearest = min((left, up, corner), key=lambda v, g=guess: abs(g - v))
                line[x] = (line[x] + nearest) & 255
        rows.append([bytes(line[x : x + 3]) for x in range(0, stride, channels)])
        previous = line
    return rows


def test_the_screenshot_is_a_real_picture(browse, tmp_path):
    shot = tmp_path / "shot.png"
    browse(f"--screenshot={shot}")
    rows = pixels(shot.read_bytes())
    assert (len(rows[0]), len(rows)) == (WIDTH, HEIGHT)
    colors = {}
    for row in rows:
        for pixel in row:
            colors[pixel] = colors.get(pixel, 0) + 1
    assert max(colors.values()) < 0.95 * WIDTH * HEIGHT
    # The stylesheet works: section bars and blocks have their colours (light or dark scheme).
    for name, color in (("history", "3ca951"), ("tools", "27a2b0"), ("retrieval", "a463f2")):
        assert colors.get(bytes.fromhex(color), 0) > 500, name


def test_the_page_holds_every_section_and_asks_for_nothing(browse):
    dom = browse("--dump-dom")
    for name in ("system", "tools", "history", "retrieval", "turn", "answer", "free"):
        assert dom.count(f">{name} ") >= 4, name
    for text in ("Turn 3 of 3", "of them cached already", "evicted for this request", "प्रिया"):
        assert text in dom
    assert "<script" not in dom
    assert " src=" not in dom
    assert "http" not in dom.replace("http-equiv", "").replace("https://paperlanternworks", "")
