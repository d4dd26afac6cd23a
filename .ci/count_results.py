"""Counts test cases in the events of a `bazel test` run.

Usage: count_results.py EVENTS BAZEL_STATUS CHECKS_PASSED CHECKS_FAILED CHECKS_SKIPPED

Prints "N passed, N failed" as its last line, and above it "N skipped" when a check was skipped, or a
test with every case of it. Exits with 1 if anything failed or no test ran.
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree

PASSED = ("PASSED", "FLAKY")


def read_events(path):
    with open(path, encoding="utf-8") as events:
        return [json.loads(line) for line in events if line.strip()]


def xml_path(result):
    for output in result.get("testActionOutput", []):
        if output["name"] == "test.xml":
            return urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
    return None


def count_cases(result):
    """(passed, failed, skipped) of one test result.

    A test without a readable report counts as one case, and so does one that skipped all it has.
    """
    ok = result["status"] in PASSED
    path = xml_path(result)
    try:
        cases = list(xml.etree.ElementTree.parse(path).iter("testcase")) if path else []
    except (OSError, xml.etree.ElementTree.ParseError):
        cases = []
    ran = [case for case in cases if case.get("status", "run") == "run" and case.find("skipped") is None]
    failed = sum(
        1 for case in ran if case.find("failure") is not None or case.find("error") is not None
    )
    passed = len(ran) - failed
    if not ok:
        return passed, max(failed, 1), 0
    if not ran and any(case.find("skipped") is not None for case in cases):
        return 0, 0, 1
    return max(passed, 1), 0, 0


def main(arguments):
    events_path, status, checks_passed, checks_failed, checks_skipped = arguments
    passed, failed, skipped = 0, 0, int(checks_skipped)
    for event in read_events(events_path):
        if "testResult" in event:
            case_passed, case_failed, case_skipped = count_cases(event["testResult"])
            passed += case_passed
            failed += case_failed
            skipped += case_skipped
            if case_skipped:
                print("skipped: " + event["id"]["testResult"]["label"])
            if case_failed:
                print("failed: " + event["id"]["testResult"]["label"])
        elif "targetCompleted" in event["id"] and not event.get("completed", {}).get("success"):
            print("failed to build: " + event["id"]["targetCompleted"]["label"])
            failed += 1
    ran = passed + failed
    if status != "0" and failed == 0:
        print("bazel test ended with status " + status)
        failed += 1
    passed += int(checks_passed)
    failed += int(checks_failed)
    if ran == 0:
        print("no test ran")
    if skipped:
        print("%d skipped" % skipped)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or ran == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
