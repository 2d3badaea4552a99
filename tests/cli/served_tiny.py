"""vdist-run serving the model of the repository, for the tests of its clients. Standard library only."""

import contextlib
import pathlib
import re
import signal
import subprocess
import tempfile
import time

API_KEY = "sesame"
START_S = 60
END_S = 60


@contextlib.contextmanager
def served(vdist_run, model):
    """Yields the URL. Afterwards the server is told to end, and has to end with 0."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        config = folder / "serve.toml"
        config.write_text(
            f'[model]\npath = "{model}"\nmax_model_len = 256\n'
            '[device]\nkind = "cpu"\nthreads = 1\nkv_cache_bytes = 16777216\n'
            f'[server]\nport = 0\nmodel_name = "tiny"\napi_key = "{API_KEY}"\n'
        )
        errors = folder / "stderr"
        process = subprocess.Popen([vdist_run, config, "--quiet"], stderr=errors.open("wb"))
        try:
            yield url_of(process, errors)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=END_S) == 0, errors.read_text()
        finally:
            process.kill()
            process.wait()


def url_of(process, errors):
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"serving at (http://\S+)", errors.read_text())
        if found:
            return found.group(1)
        time.sleep(0.02)
    raise SystemExit(f"vdist-run does not serve: {errors.read_text()}")
