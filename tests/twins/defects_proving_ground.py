"""Holes that only the tests of everything together are there to see."""

from twins.defect import Defect

_CONTROL = "control-plane/dormouse_control"
_MATRIX = "tests/attacks/test_matrix.py"
_MACHINE = (
    "tests/attacks/test_state_machine.py::test_t38_everybody_sees_and_changes_only_what_is_theirs"
)
_UPGRADE = "tests/dormouse_control/migrations/test_upgrade.py"

DEFECTS = (
    Defect(
        "T40",
        "no operation looks at the role",
        f"{_CONTROL}/rules.py",
        find="if not caller.role.reaches(self.role):",
        replace="if not caller.role.reaches(Role.USER):",
        tests=f"{_MATRIX}::test_t40_a_lower_role_or_a_key_that_may_not_changes_nothing",
    ),
    Defect(
        "T20",
        "an API key does what takes a session",
        f"{_CONTROL}/rules.py",
        find='if caller.credential == "key" and self.keys == "none":',
        replace='if caller.restricted and self.keys == "none":',
        tests=f"{_MATRIX}::test_t40_a_lower_role_or_a_key_that_may_not_changes_nothing",
    ),
    Defect(
        "T21",
        "two headers are as good as one",
        f"{_CONTROL}/identity/channels.py",
        find='once = len(authorization) == 1 and "," not in credential',
        replace='once = "," not in credential',
        tests=f"{_MATRIX}::test_t07_what_is_no_valid_credential_can_nothing",
    ),
    Defect(
        "T40",
        "a router within a router needs no rules",
        f"{_CONTROL}/app.py",
        find="        if not isinstance(route, APIRoute):\n",
        replace="        if not isinstance(route, APIRoute):\n            continue\n",
        tests=f"{_MATRIX}::test_an_operation_without_a_rule_does_not_start",
    ),
    Defect(
        "T36",
        "a session is ended whoever it belongs to",
        f"{_CONTROL}/identity/sessions.py",
        find="mine = (UserSession.id == session_id, UserSession.user_id == user_id)",
        replace="mine = (UserSession.id == session_id,)",
        tests=f"{_MATRIX}::test_t36_an_object_of_somebody_else_is_as_if_there_were_none",
    ),
    Defect(
        "T37",
        "a key is revoked under any user's name",
        f"{_CONTROL}/identity/apikeys.py",
        find="wanted = (ApiKey.id == key_id, ApiKey.user_id == user_id,",
        replace="wanted = (ApiKey.id == key_id,",
        tests=f"{_MATRIX}::test_t37_a_child_of_another_parent_is_as_if_there_were_none",
    ),
    Defect(
        "T38",
        "the list of sessions is everybody's",
        f"{_CONTROL}/identity/sessions.py",
        find="wanted = select(UserSession).where(UserSession.user_id == user_id, *living(",
        replace="wanted = select(UserSession).where(*living(",
        tests=_MACHINE,
    ),
    Defect(
        "T11",
        "who is enabled again has the sessions of before",
        f"{_CONTROL}/users/operations.py",
        find="    if cuts:\n        sessions.end_all(",
        replace="    if not user:\n        sessions.end_all(",
        tests=_MACHINE,
    ),
    Defect(
        "R17",
        "the migration commits half of itself",
        f"{_CONTROL}/migrations/versions/0002_accounts_that_hold.py",
        find="    _users()\n    _sessions()\n",
        replace="    _users()\n"
        '    op.get_bind().exec_driver_sql("COMMIT")\n'
        '    op.get_bind().exec_driver_sql("BEGIN")\n'
        "    _sessions()\n",
        tests=f"{_UPGRADE}::test_r17_killed_at_some_statements_it_leaves_everything_as_it_was",
    ),
)
