#!/usr/bin/env python3
"""Runs each example that examples/README.md shows, and holds what it prints against what is written there.

    examples.py README FOLDER           compares
    examples.py README FOLDER --write   writes what they print into the README
"""
import pathlib
import re
import subprocess
import sys

SECTION = re.compile(r"(^## `(?P<name>\w+)`\n.*?^```text\n)(?P<text>.*?)(^```$)", re.MULTILINE | re.DOTALL)


def run(folder, name):
    done = subprocess.run([folder / name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, text=True)
    if done.returncode != 0:
        sys.exit(f"example {name}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def main(readme, folder, *options):
    readme, folder = pathlib.Path(readme), pathlib.Path(folder)
    text = readme.read_text(encoding="utf-8")
    shown = {found["name"]: found["text"] for found in SECTION.finditer(text)}
    there = {path.stem for path in readme.parent.glob("*.rs")}
    if missing := sorted(there - shown.keys()):
        sys.exit(f"examples without a section in {readme}: {', '.join(missing)}")
    printed = {name: run(folder, name) for name in shown}
    if "--write" in options:
        readme.write_text(SECTION.sub(lambda found: found[1] + printed[found["name"]] + found[4], text), encoding="utf-8")
        return
    wrong = [name for name in shown if shown[name] != printed[name]]
    for name in wrong:
        print(f"--- {name}: written\n{shown[name]}--- printed\n{printed[name]}")
    if wrong:
        sys.exit(f"examples that print something else: {', '.join(wrong)}")
    print(f"{len(shown)} examples print what is written")


main(*sys.argv[1:])
