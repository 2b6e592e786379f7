"""Seeded defects of the audit log."""

from twins.defect import Defect

RECORD = "control-plane/dormouse_control/audit/record.py"
OPERATIONS = "control-plane/dormouse_control/audit/operations.py"
TESTS = "tests/attacks/test_audit.py::"

DEFECTS = (
    Defect(
        "T109",
        "the hash does not cover who acted",
        RECORD,
        find='    "actor",\n',
        replace="",
        tests=f"{TESTS}test_t109_a_changed_entry_is_found[sqlite-actor-7]",
    ),
    Defect(
        "T109",
        "the hash does not cover the one before",
        RECORD,
        find="f\"{entry['previous']}\\n{canonical}\"",
        replace="canonical",
        tests=f"{TESTS}test_t109_a_spoilt_hash_before_is_found[sqlite]"
        f" {TESTS}test_t109_the_hash_covers_the_one_before",
    ),
    Defect(
        "T109",
        "gaps are not looked for",
        OPERATIONS,
        find='    if row["seq"] != last.seq + 1:\n'
        '        return f"entry {last.seq + 1} is missing"\n',
        replace="",
        tests=f"{TESTS}test_t109_a_missing_entry_is_found[sqlite-1]"
        f" {TESTS}test_t109_a_missing_entry_is_found[sqlite-7]",
    ),
    Defect(
        "T109",
        "entries are not compared with the one before",
        OPERATIONS,
        find='if row["previous"] != last.hash:',
        replace="if False:",
        tests=f"{TESTS}test_t109_an_entry_that_was_written_again_with_its_hash_is_found[sqlite]",
    ),
    Defect(
        "T109",
        "a log that ends before the noted head is sound",
        OPERATIONS,
        find="if problem is None and expect is not None and expect.seq > last.seq:",
        replace="if False:",
        tests=f"{TESTS}test_t109_entries_cut_off_at_the_end_are_found_by_who_noted_the_head[sqlite]",
    ),
    Defect(
        "T109",
        "details are written as they are",
        RECORD,
        find="json.dumps(details or {}, sort_keys=True),",
        replace="json.dumps(details or {}, sort_keys=True, ensure_ascii=False),",
        tests=f"{TESTS}test_t109_nothing_in_details_steers_terminals_or_breaks_lines",
    ),
    Defect(
        "T109",
        "the entry is committed apart from its change",
        RECORD,
        find="    session.flush()\n",
        replace="    session.flush()\n    session.commit()\n",
        tests=f"{TESTS}test_t109_no_record_without_its_change[sqlite]",
    ),
    Defect(
        "T109",
        "refused acts of administrators are not entered",
        "control-plane/dormouse_control/rules.py",
        find="if self.role is not Role.USER:\n            route",
        replace="if False:\n            route",
        tests=f"{TESTS}test_t109_every_refused_act_of_an_administrator_leaves_an_entry",
    ),
    Defect(
        "R37",
        "a new key leaves no entry",
        "control-plane/dormouse_control/identity/apikeys.py",
        find='"key.create"',
        replace='"key.create" if False else "x.y"',
        tests=f"{TESTS}test_r37_a_kill_leaves_no_change_without_entry_and_no_entry_without_change",
    ),
)
