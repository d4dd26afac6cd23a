"""Counts test cases in the events of a `bazel test` run.

Usage: count_results.py EVENTS BAZEL_STATUS CHECKS_PASSED CHECKS_FAILED CHECKS_SKIPPED

Prints "N passed, N failed" as its last line, followed by ", N skipped" when any check was skipped. Exits with 1 if anything failed or no test ran.
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
    """(passed, failed) of one test result; a test without a readable report counts as one case."""
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
    if ok:
        return max(passed, 1), 0
    return passed, max(failed, 1)


def main(arguments):
    events_path, status, checks_passed, checks_failed, checks_skipped = arguments
    passed, failed = 0, 0
    for event in read_events(events_path):
        if "testResult" in event:
            case_passed, case_failed = count_cases(event["testResult"])
            passed += case_passed
            failed += case_failed
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
    skipped = ", %s skipped" % checks_skipped if checks_skipped != "0" else ""
    print("%d passed, %d failed%s" % (passed, failed, skipped))
    return 1 if failed or ran == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
