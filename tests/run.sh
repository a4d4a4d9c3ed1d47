#!/bin/sh
# Integration tests (pytest); ends with a plain line "N passed, N failed" that adds the unit tests' count.
cd "$(dirname "$0")/.." || exit 1
report=$(mktemp)
trap 'rm -f "$report"' EXIT
# A module has an instance of its own, so that two of them are tested at a time (WORKERS=0: in this process).
/usr/bin/python3 -m pytest -q -p no:cacheprovider -n "${WORKERS:-2}" --dist loadfile --junitxml "$report" tests/integration tests/crash "$@"
status=$?
/usr/bin/python3 - "$report" <<'EOF'
import sys
import xml.etree.ElementTree as xml
try:
    suite = next(xml.parse(sys.argv[1]).iter("testsuite")).attrib
except Exception:
    print("0 passed, 1 failed")
    sys.exit()
total, skipped = int(suite["tests"]), int(suite["skipped"])
failed = int(suite["failures"]) + int(suite["errors"])
print(f"{max(total - failed - skipped, 0)} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
EOF
exit $status
