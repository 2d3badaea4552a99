#!/usr/bin/env python3
"""Manual pages and programs say the same: every option, command, key, point and action, in both directions.

usage: pages_agree.py MAN_FOLDER FOLDER_OF_WRITTEN_PAGES VDIST_RUN VDIST_CTL VDIST_BENCH
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

OPTION = re.compile(r"--([a-z][a-z-]*)")


def help_of(program, *words):
    return subprocess.run([program, *words, "--help"], capture_output=True, text=True, timeout=30, check=True).stdout


def plain(page):
    """The words of a page, with roff's minus as users type it."""
    return page.read_text().replace("\\-", "-")


def options_of_page(text):
    return set(re.findall(r"Fl -([a-z][a-z-]*)", text)) | set(re.findall(r"(?<=\| )-([a-z][a-z-]+)", text))


def options_of_help(text):
    """Of the lines that explain an option; sentences may name those of others."""
    return {name for line in text.splitlines() if re.match(r"  (-\w,)?--", line) for name in OPTION.findall(line.split("  ")[1])[:1]}


def commands_of_page(text):
    return set(re.findall(r"^\.It Ic ([a-z]+)", text, re.MULTILINE))


def commands_of_help(text):
    return set(re.findall(r"^  ([a-z]+) ", text.split("Subcommands:")[1], re.MULTILINE))


def items_of(page, section):
    """The names that a section of a written page lists, without their arguments."""
    text = page.split(f".Sh {section}\n")[1].split(".Sh ")[0]
    return set(re.findall(r'^\.It Ic "([a-z0-9_.]+)', text, re.MULTILINE))


def legal_in_scripts(run, rule):
    """What vdist-run says is legal where it finds a word of a fault script wrong."""
    with tempfile.TemporaryDirectory() as name:
        script = pathlib.Path(name) / "script.toml"
        script.write_text(f'[[fault]]\nrule = "{rule}"\n')
        cluster = pathlib.Path(__file__).resolve().parents[2] / "config/demo.toml"
        done = subprocess.run([run, cluster, "--faults", script], capture_output=True, text=True, timeout=30)
    return set(re.search(r"legal: ([^)]*)\)", done.stderr).group(1).split(", "))


def compare(what, page, program):
    for name in sorted(program - page):
        yield f"{what}: the page lacks {name}"
    for name in sorted(page - program):
        yield f"{what}: the page names {name}, which the program does not know"


def complaints_of_man(page):
    if not shutil.which("man"):
        return
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100", "MANROFFSEQ": ""}
    done = subprocess.run(["man", "-l", "--warnings", page], capture_output=True, text=True, timeout=30, env=environment)
    if done.returncode != 0 or done.stderr:
        yield f"man {page}: {done.stderr.strip()}"


def differences(folder, written, run, ctl, bench):
    keys_page, faults_page = written / "cluster.toml.5", written / "faults.toml.5"
    page = plain(folder / "vdist-run.1")
    yield from compare("vdist-run", options_of_page(page), options_of_help(help_of(run).split("Keys of")[0]))
    page = plain(folder / "vdist-ctl.1")
    text = help_of(ctl)
    commands = commands_of_help(text)
    options = options_of_help(text).union(*(options_of_help(help_of(ctl, name)) for name in commands))
    yield from compare("vdist-ctl", options_of_page(page), options)
    yield from compare("vdist-ctl", commands_of_page(page), commands)
    page = plain(folder / "vdist-bench.1")
    yield from compare("vdist-bench", commands_of_page(page), commands_of_help(help_of(bench)))
    keys = set(re.findall(r"^([a-z_]+(?:\.[a-z_]+)+) = ", help_of(run), re.MULTILINE))
    described = set(re.findall(r'^\.It Ic "([a-z_.]+)"', plain(keys_page), re.MULTILINE))
    yield from compare("cluster.toml", described, keys)
    page = plain(faults_page)
    yield from compare("faults.toml", items_of(page, "ACTIONS"), legal_in_scripts(run, "worker.step_end nothing"))
    yield from compare("faults.toml", items_of(page, "POINTS"), legal_in_scripts(run, "nowhere kill9"))
    for one in [*sorted(folder.glob("*.1")), keys_page, faults_page]:
        yield from complaints_of_man(one)


def main():
    folder, written, *programs = sys.argv[1:]
    found = list(differences(pathlib.Path(folder), pathlib.Path(written), *programs))
    for line in found:
        print(line)
    if not found:
        print("manual: ok")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
