"""summary.py JUNIT_XML — counts test cases over all programs of one ctest run and prints one closing line.

ctest knows programs; each Boost.Test program prints its own counts as one line of XML (BOOST_TEST_REPORT_FORMAT=XML).
A program that ended without them (a crash, a time-out, a script) counts as one case. The closing line is
`N passed, N failed, N skipped`; the exit code is 1 when anything failed or nothing passed.
"""

import re
import sys
import xml.etree.ElementTree as xml

REPORT = re.compile(r'<TestResult><TestSuite name="vdist"([^>]*)>')
COUNT = re.compile(r'(test_cases_\w+|result)="(\w+)"')
FAILED = ("test_cases_failed", "test_cases_timed_out")  # an aborted case is a failed one too
PASSED = ("test_cases_passed", "test_cases_passed_with_warnings")


def counts_of(case):
    """(passed, failed, skipped) of one ctest entry."""
    status = case.get("status")
    report = REPORT.search(case.findtext("system-out") or "")
    if report is None:
        if status == "run":
            return 1, 0, 0
        skip = case.find("skipped")
        is_skip = status == "disabled" or (skip is not None and skip.get("message", "").startswith("SKIP_"))
        return (0, 0, 1) if is_skip else (0, 1, 0)  # a program that could not be started is a failure
    fields = dict(COUNT.findall(report.group(1)))
    passed = sum(int(fields.get(name, 0)) for name in PASSED)
    failed = sum(int(fields.get(name, 0)) for name in FAILED)
    if status != "run" and failed == 0:
        failed = 1  # it failed outside its cases
    return passed, failed, int(fields.get("test_cases_skipped", 0))


def main(path):
    try:
        cases = list(xml.parse(path).getroot().iter("testcase"))
    except (OSError, xml.ParseError) as cause:
        print(f"summary: {path}: {cause}", file=sys.stderr)
        cases = []
    total = [0, 0, 0]
    for case in cases:
        counts = counts_of(case)
        total = [have + more for have, more in zip(total, counts)]
        if counts[1] or counts[2]:
            print(f"{case.get('name')}: {counts[1]} failed, {counts[2]} skipped")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 0 if total[0] > 0 and total[1] == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
