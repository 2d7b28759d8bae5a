"""The demo's page in a real browser: Chromium, from Debian or from playwright itself."""

import json
import shutil

import cv2
import pytest

from test_demo import MAX_MB, served, write_photo  # noqa: F401

playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser: pip install playwright")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as drive:
        try:
            browser = drive.chromium.launch(executable_path=shutil.which("chromium"),  # None: playwright's own
                                            args=["--no-sandbox", "--use-fake-device-for-media-stream",
                                                  "--use-fake-ui-for-media-stream"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium: apt-get install chromium, or playwright install chromium ({error})")
        yield browser
        browser.close()


@pytest.fixture
def page(browser, served):  # noqa: F811
    """The page, just opened. Everything comes from the demo itself, so that it works without a network."""
    page, asked = browser.new_page(viewport={"width": 1300, "height": 900}), []
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(30_000)
    page.goto(served.url)
    page.wait_for_selector("#photo input[type=file]", state="attached")
    yield page
    assert all(url.startswith((served.url, "data:", "blob:")) for url in asked), asked
    page.close()


def upload(page, path):
    page.set_input_files("#photo input[type=file]", path)


def test_a_photo(page, tmp_path):
    upload(page, write_photo(tmp_path / "party.png"))
    page.wait_for_selector("#drawing img")
    people = page.locator(".people tbody tr").count()
    assert people > 0
    for button, name in (("Save picture", "party_people.jpg"), ("Save JSON", "party.json")):
        with page.expect_download() as download:
            page.get_by_text(button, exact=True).click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
    assert cv2.imread(str(tmp_path / "party_people.jpg")).shape[:2] == (360, 480)
    assert len(json.loads((tmp_path / "party.json").read_text())) == people
    page.get_by_role("tab", name="Heatmaps").click()
    page.wait_for_selector("#heatmap img")
    page.get_by_role("tab", name="PRN").click()
    page.wait_for_selector("#prn img")
    page.get_by_role("tab", name="People", exact=True).click()
    page.get_by_label("number input for People: lowest score").fill("1")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Nobody is this sure")


def test_the_camera(page):
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.get_by_label("capture photo").click()
    page.wait_for_selector("#drawing img")


@pytest.mark.parametrize("name, content, says", [
    ("notes.txt", b"not a picture", "Invalid file type: notes.txt"),
    ("notes.jpg", b"not a picture", "notes.jpg: not a picture in a known format"),
    ("huge.jpg", bytes(MAX_MB * 2 ** 20 + 1), "exceed the maximum allowed size"),
])
def test_what_is_refused_gets_a_message(page, tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    upload(page, tmp_path / name)
    page.wait_for_selector(f"text={says}")
    assert page.locator("#drawing img").count() == 0
