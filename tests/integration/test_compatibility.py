"""docs/COMPATIBILITY.md and dist/ecs.defaults say what the program's own tables say.

Run as a program, this file writes the tables anew: tests/integration/test_compatibility.py [path of ecsd]"""

import os
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD = os.environ.get("ECSD_BUILD") or os.path.join(ROOT, "build")
DOCUMENT = os.path.join(ROOT, "docs", "COMPATIBILITY.md")
DEFAULTS = os.path.join(ROOT, "dist", "ecs.defaults")


def output(*arguments, program=os.path.join(BUILD, "ecsd")):
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True, env={}).stdout


def table(text):
    head, *rows = [line.split("\t") for line in text.splitlines()]
    assert all(len(row) == len(head) for row in rows)
    return [dict(zip(head, row)) for row in rows]


def code(text):
    return f"`{text.replace('|', chr(92) + '|')}`" if text else ""


def configuration_rows(text):
    for row in table(text):
        state = row["state"] + (f": {row['detail']}" if row["detail"] else "")
        yield (f"| {code(row['name'])} | {row['type'].replace('|', ' or ')} | {code(row['default'])} | "
               f"{code(row['packaged'])} | {code(row['json'])} | {state} |")


def capability_rows(text):
    for row in table(text):
        state = "works" if row["state"] == "advertised" else "later"
        if row["refused"]:
            state += f"; refused: `{row['refused']}`"
        yield f"| {row['row']} | {code(row['name'])} | {row['condition']} | {state} |"


TABLES = {"Configuration": ("-help-config=tsv", configuration_rows),
          "Capabilities": ("-help-capabilities", capability_rows)}


def documented(section):
    """The rows of a section's table, with the place of the first and behind the last."""
    with open(DOCUMENT) as file:
        lines = file.read().splitlines()
    start = lines.index(f"## {section}")
    first = next(i for i in range(start, len(lines)) if lines[i].startswith("|---")) + 1
    last = next(i for i in range(first, len(lines)) if not lines[i].startswith("|"))
    return lines, first, last


def check(section):
    argument, rows = TABLES[section]
    lines, first, last = documented(section)
    expected, actual = list(rows(output(argument))), lines[first:last]
    assert [row for row in expected if row not in actual] == [], f"not in docs/COMPATIBILITY.md, {section}"
    assert [row for row in actual if row not in expected] == [], f"only in docs/COMPATIBILITY.md, {section}"
    assert actual == expected


def test_configuration():
    check("Configuration")


def test_capabilities():
    check("Capabilities")
    assert [row["row"] for row in table(output("-help-capabilities"))] == [str(n) for n in range(1, 60)]


def test_packaged_defaults():
    with open(DEFAULTS) as file:
        assert file.read() == output("-print-packaged-defaults"), "run make tables"


def test_packaged_defaults_are_clean():
    """With them ecsd has nothing to warn about."""
    environment = dict(line.split("=", 1) for line in output("-print-packaged-defaults").splitlines()
                       if not line.startswith("#"))
    environment["ECS_LOGFILE"] = ""
    done = subprocess.run([os.path.join(BUILD, "ecsd"), "-blackhole-ec2-metadata"], env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "msg=configuration" not in done.stderr, done.stderr


if __name__ == "__main__":
    program_path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(BUILD, "ecsd")
    for name, (flag, make_rows) in TABLES.items():
        whole, begin, end = documented(name)
        whole[begin:end] = make_rows(output(flag, program=program_path))
        with open(DOCUMENT, "w") as out:
            out.write("\n".join(whole) + "\n")
