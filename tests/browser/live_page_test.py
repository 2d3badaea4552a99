"""live_page_test.py VDIST_RUN MODEL_FOLDER OUTPUT_FOLDER: the live page in a real browser, on a cluster of eight worker
processes (tensor 2 x pipeline 2 x data 2, simulated device) that is killed in parts.

Ends with 77 when there is no Chromium. Screenshots of every run lie in OUTPUT_FOLDER. The last line counts for
tests/support/summary.py.
"""

import os
import signal
import sys
import tempfile
import time
import traceback

from devtools import Browser, Failure, Page, find_browser
from served_cluster import Cluster, Load

SKIPPED = 77
KEY = "sk-live-page"
CONFIG = """
[cluster]
name = "browser"
isolation = "process"
[model]
path = "{model}"
max_model_len = 1024
[parallel]
data = 2
pipeline = 2
tensor = 2
[device]
kind = "sim"
threads = 1
[device.sim]
step_us = 8000
[fault_tolerance]
standby = 1
restart_backoff_ms = 0
max_restarts = 50
[server]
port = 0
api_key = "{key}"
"""

# Text of the page against what lies behind it; [ratio, text] of the worst. Disabled controls are exempt.
CONTRAST = """(() => {
  const parts = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
  const luminance = (color) => {
    const [r, g, b] = parts(color).map((one) => one / 255).map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const is_solid = (color) => color.startsWith('rgb') && (parts(color)[3] ?? 1) === 1;
  const behind = (one) => {
    const cell = one.closest('.worker');
    if (cell) return getComputedStyle(cell.querySelector('.cell')).fill;
    for (let at = one; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (is_solid(color)) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  let worst = [99, ''];
  let count = 0;
  for (const one of document.querySelectorAll('body *')) {
    const has_text = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const skips = ['SCRIPT', 'STYLE', 'title', 'OPTION'].includes(one.tagName) || one.disabled || one.matches('.skip');
    if (!has_text || skips || !one.getClientRects().length) continue;
    const style = getComputedStyle(one);
    const [a, b] = [luminance(one instanceof SVGElement ? style.fill : style.color), luminance(behind(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    ++count;
    if (ratio < worst[0]) worst = [ratio, `${one.tagName} ${one.id} ${one.textContent.trim().slice(0, 40)}`];
  }
  return [...worst, count];
})()"""

# One token in a few thousand ends a story, and the device of this test draws them all alike.
NEVER_ENDS_EARLY = """{
  const plain = window.fetch;
  window.fetch = (to, what) => plain(to, what && what.body
    ? { ...what, body: JSON.stringify({ ...JSON.parse(what.body), ignore_eos: true }) } : what);
}"""
IS_LIVE = "document.getElementById('link').textContent.startsWith('live')"


def check(holds, what):
    if not holds:
        raise Failure(what)


def check_quiet(page, without_network=False):
    complaints = page.take_complaints(without_network)
    check(not complaints, f"the browser complains: {complaints}")


def text_of(page, element):
    return page.evaluate(f"document.getElementById('{element}').textContent")


def worker(page, rank):
    """What the picture says of it."""
    return page.evaluate(f"({{...document.querySelector('.worker[data-rank=\"{rank}\"]').dataset}})")


class Fixture:
    def __init__(self, cluster, browser, folder):
        self.cluster = cluster
        self.browser = browser
        self.folder = folder
        self.url = f"http://127.0.0.1:{cluster.port}/"

    def open(self, width=1280, height=900, scheme="light"):
        """A page that has been given the key, and is live."""
        page = Page(self.browser)
        page.set_size(width, height)
        page.set_media(prefers_color_scheme=scheme)
        page.open(self.url)
        page.wait_for("!document.getElementById('key').hidden", "it asks for a key")
        check_quiet(page, without_network=True)  # but for the 401 that made it ask
        page.wait_for("document.activeElement.id === 'key-text'", "the field has the focus")
        page.type(KEY)
        page.press("Enter", 13)
        page.evaluate("document.getElementById('key-form').requestSubmit()")
        page.wait_for(IS_LIVE, "it is live")
        page.wait_for("document.querySelectorAll('.worker').length > 0", "workers are shown")
        return page

    def screenshot(self, page, name):
        page.screenshot(os.path.join(self.folder, f"{name}.png"))


def renders_the_topology(fixture):
    page = fixture.open()
    known = fixture.cluster.workers()
    check(len(known) == 8, f"the cluster has eight workers, not {len(known)}")
    check(page.evaluate("document.querySelectorAll('.worker').length") == 8, "as many workers as the cluster has")
    check(page.evaluate("document.querySelectorAll('.replica').length") == 2, "two replicas")
    for rank, one in known.items():
        shown = worker(page, rank)
        check(shown["pid"] == str(one["pid"]) and shown["state"] == one["state"], f"worker {rank}: {shown}, and it is {one}")
    roles = page.evaluate("[...document.querySelectorAll('.process')].map((one) => one.dataset.role).sort().join()")
    check(roles == "node,run,standby,vault", f"processes: {roles}")
    check(text_of(page, "shape").startswith("8 workers, 1 standby: 2 replicas × 2 stages × 2 tensor ranks"), text_of(page, "shape"))
    words = page.evaluate("document.getElementById('picture').getAttribute('aria-label')")
    check(words.endswith("; all are running"), f"the picture in words: {words}")
    check(page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0, "it stores nothing")
    check_quiet(page)
    page.close()


def a_wrong_key_is_asked_for_again(fixture):
    page = Page(fixture.browser)
    page.open(fixture.url)
    page.wait_for("document.activeElement.id === 'key-text'", "it asks for a key")
    page.type("sk-wrong")
    page.click("#key-form button")
    page.wait_for("document.getElementById('key-label').textContent.startsWith('That key is not valid')", "it says so")
    page.close()


def moves_under_load(fixture):
    page = fixture.open()
    load = Load(fixture.cluster, 6)
    try:
        page.wait_for("parseFloat(document.getElementById('rate').textContent.replace(',', '')) > 0", "tokens per second rise")
        page.wait_for("parseFloat(document.getElementById('itl-p50').textContent) > 0", "latencies between tokens are told")
        page.wait_for("Number(document.getElementById('running').textContent) > 0", "requests run")
        page.wait_for("document.querySelectorAll('#rate-plot .line').length > 0", "the line is drawn")
        before = text_of(page, "total")
        page.wait_for(f"document.getElementById('total').textContent !== '{before}'", "the total goes on", 2)
        check_quiet(page)
    finally:
        load.stop()
    page.wait_for("parseFloat(document.getElementById('rate').textContent) === 0", "and falls to nothing")
    page.close()


def shows_a_killed_worker_within_a_second(fixture):
    page = fixture.open()
    load = Load(fixture.cluster, 4)
    try:
        page.wait_for("parseFloat(document.getElementById('rate').textContent.replace(',', '')) > 0", "it is busy")
        for rank in (3, 4):
            was = worker(page, rank)
            began = time.monotonic()
            os.kill(int(was["pid"]), signal.SIGKILL)
            page.wait_for(
                f"""(({{state, pid}}) => state !== 'running' || pid !== '{was["pid"]}')(
                  document.querySelector('.worker[data-rank="{rank}"]').dataset)""",
                f"the death of worker {rank} is shown",
            )
            took = time.monotonic() - began
            print(f"  worker {rank}: its death was shown after {took * 1000:.0f} ms")
            check(took < 1, f"it took {took:.2f} s")
            page.wait_for(
                f"""(({{state, incarnation}}) => state === 'running' && Number(incarnation) === {int(was["incarnation"]) + 1})(
                  document.querySelector('.worker[data-rank="{rank}"]').dataset)""",
                "its successor is shown",
            )
            page.wait_for(
                f"document.getElementById('recovery-rows').textContent.includes('worker {rank}')", "the recovery is told")
        check(page.evaluate("document.querySelectorAll('#time-line rect').length") >= 2, "both are on the time line")
        check(page.evaluate("document.querySelectorAll('#picture .halo').length") >= 1, "the new ones are marked")
        page.set_media(prefers_color_scheme="light", prefers_reduced_motion="reduce")
        moving = page.evaluate("getComputedStyle(document.querySelector('#picture .halo')).animationName")
        check(moving == "none", f"nothing moves for who does not want it: {moving}")
        page.set_media(prefers_color_scheme="light", prefers_reduced_motion="no-preference")
        fixture.screenshot(page, "busy-1280-light")
        check_quiet(page)
    finally:
        load.stop()
    page.close()


def is_legible_in_light_and_dark(fixture):
    grounds = {}
    for scheme in ("light", "dark"):
        page = fixture.open(scheme=scheme)
        ratio, text, count = page.evaluate(CONTRAST)
        print(f"  {scheme}: worst contrast {ratio:.2f} of {count} texts ({text})")
        check(count > 60 and ratio >= 4.5, f"contrast {ratio:.2f} in {scheme}: {text}")
        grounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        check_quiet(page)
        page.close()
    check(grounds["light"] != grounds["dark"], f"both have the same ground: {grounds}")


def a_prompt_is_answered_from_the_keyboard(fixture):
    page = fixture.open()
    for _ in range(12):
        if page.evaluate("document.activeElement.id") == "prompt-text":
            break
        page.press("Tab", 9)
    check(page.evaluate("document.activeElement.id") == "prompt-text", "the prompt is reached with the tabulator")
    page.evaluate("document.getElementById('prompt-text').select()")
    page.type("The little rabbit")
    page.press("Enter", 13, modifiers=2)
    page.wait_for("/\\d+ tokens · .* tokens\\/s .*ended by/.test(document.getElementById('progress').textContent)", "it ends")
    print(f"  {text_of(page, 'progress')}")
    check(len(text_of(page, "answer")) > 20, "there is an answer")
    page.evaluate("document.getElementById('prompt-tokens').value = 900")
    page.click("#send")
    page.wait_for("document.getElementById('answer').textContent.length > 20", "another answer comes")
    page.click("#stop")
    page.wait_for("document.getElementById('progress').textContent.endsWith('stopped')", "it stops")
    page.wait_for("!document.getElementById('send').disabled", "the next may be sent")
    page.evaluate("document.getElementById('prompt-tokens').value = 1000000")
    page.click("#send")
    page.wait_for("document.getElementById('progress').className.includes('trouble')", "what is refused is said")
    check_quiet(page, without_network=True)  # but for the 400
    page.close()


def is_usable_at_400_pixels(fixture):
    load = Load(fixture.cluster, 2)
    try:
        for scheme in ("light", "dark"):
            page = fixture.open(width=400, height=800, scheme=scheme)
            wide = page.evaluate("document.documentElement.scrollWidth")
            check(wide <= 400, f"it scrolls sideways: {wide} pixels")
            over = page.evaluate(
                """[...document.querySelectorAll('section, button, input, select, textarea, h1, .worker, #picture text')]
                  .filter((one) => one.getClientRects().length)
                  .filter((one) => one.getBoundingClientRect().right > 400.5 || one.getBoundingClientRect().left < -0.5)
                  .map((one) => one.outerHTML.slice(0, 80))""")
            check(not over, f"beyond the edge: {over}")
            page.click("#send")
            page.wait_for("/ended by/.test(document.getElementById('progress').textContent)", "a prompt is answered")
            visible = page.evaluate(
                "(() => { const box = document.getElementById('prompt-text').getBoundingClientRect(); return box.width > 250 && box.height > 40; })()")
            check(visible, "the prompt box is of use")
            fixture.screenshot(page, f"busy-400-{scheme}")
            check_quiet(page)
            page.close()
    finally:
        load.stop()


def survives_the_death_of_the_control_process(fixture):
    page = fixture.open()
    load = Load(fixture.cluster, 3)
    try:
        page.evaluate("document.getElementById('prompt-tokens').value = 400")
        page.evaluate(NEVER_ENDS_EARLY)
        page.click("#send")
        page.wait_for("document.getElementById('answer').textContent.length > 20", "an answer is under way")
        os.kill(fixture.cluster.workers()[1]["pid"], signal.SIGKILL)
        page.wait_for("document.getElementById('recovery-rows').textContent.includes('worker 1')", "a worker's death is told")
        check_quiet(page)
        old = fixture.cluster.pid_of("node")
        os.kill(old, signal.SIGKILL)
        page.wait_for("document.getElementById('link').textContent.includes('reconnecting')", "it says that it reconnects", 3)
        page.wait_for(IS_LIVE, "it is live again", 60)
        page.wait_for("document.querySelector('.process[data-role=node]').textContent.includes('inc 2')", "the successor is shown")
        page.wait_for("document.getElementById('recovery-rows').textContent.includes('control process')", "the death is told")
        page.wait_for("/400 tokens.*resumed (once|[0-9]+ times).*ended by its length/.test(document.getElementById('progress').textContent)",
                      "the answer went on to its end", 60)
        print(f"  {text_of(page, 'progress')}")
        fixture.screenshot(page, "after-the-node-1280-light")
        page.set_media(prefers_color_scheme="dark")
        page.wait_for("parseFloat(document.getElementById('rate').textContent.replace(',', '')) > 0", "it is busy again", 60)
        fixture.screenshot(page, "after-the-node-1280-dark")
        check_quiet(page, without_network=True)
        other = fixture.open()  # who comes only now gets what the control process before has seen
        other.wait_for("document.getElementById('recovery-rows').textContent.includes('worker 1')", "earlier recoveries are kept")
        other.close()
    finally:
        load.stop()
    page.close()


CASES = [
    renders_the_topology,
    a_wrong_key_is_asked_for_again,
    moves_under_load,
    shows_a_killed_worker_within_a_second,
    is_legible_in_light_and_dark,
    a_prompt_is_answered_from_the_keyboard,
    is_usable_at_400_pixels,
    survives_the_death_of_the_control_process,
]


def run_all(fixture, wanted):
    failed = 0
    cases = [one for one in CASES if not wanted or one.__name__ in wanted]
    for case in cases:
        began = time.monotonic()
        try:
            case(fixture)
            print(f"ok      {case.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception:  # a browser that has ended, too, is a failed case
            failed += 1
            print(f"FAILED  {case.__name__}\n{traceback.format_exc()}", flush=True)
    return len(cases) - failed, failed


def main(program, model, folder, *wanted):
    path = find_browser()
    if path is None:
        print("skipped: there is no chromium (packages.txt names it)")
        return SKIPPED
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        config = os.path.join(home, "cluster.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(model=model, key=KEY))
        cluster = Cluster(program, config, KEY)
        browser = Browser(path)
        try:
            passed, failed = run_all(Fixture(cluster, browser, folder), wanted)
        finally:
            browser.close()
            code = cluster.stop()
    if code != 0:
        failed += 1
        print(f"FAILED  vdist-run ended with {code}:\n{cluster.log.decode(errors='replace')}")
    print(f'<TestResult><TestSuite name="vdist" result="{"failed" if failed else "passed"}" test_cases_passed="{passed}" '
          f'test_cases_failed="{failed}" test_cases_skipped="0"></TestSuite></TestResult>')
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
