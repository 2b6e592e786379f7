"""Holes in the administration, and in what users see of each other."""

from twins.defect import Defect

_CONTROL = "control-plane/dormouse_control"
_OBJECTS = "tests/attacks/test_objects.py"
_ADMINISTRATION = "tests/attacks/test_administration.py"
_ERASING = "tests/attacks/test_erased.py"
_MINE = (
    "    wanted = (ApiKey.id == key_id, ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))\n"
)

DEFECTS = (
    Defect(
        "T31",
        "who comes again under an erased address is the old user",
        f"{_CONTROL}/leaving/operations.py",
        find="    user.status, user.role, user.tier = UserStatus.ERASED, Role.USER, FIRST_TIER\n",
        replace="    user.email = email\n",
        tests=f"{_ERASING}::test_t31_who_registers_an_erased_address_is_somebody_new",
    ),
    Defect(
        "T36",
        "a key is revoked whoever owns it",
        f"{_CONTROL}/identity/apikeys.py",
        find=_MINE + "    revoked =",
        replace=_MINE.replace("ApiKey.user_id == user_id, ", "") + "    revoked =",
        tests=f"{_OBJECTS}::test_t36_an_object_of_another_user_is_as_if_it_did_not_exist",
    ),
    Defect(
        "T36",
        "a cursor is good for whoever has it",
        f"{_CONTROL}/pages.py",
        find="json.dumps([self.owner, self.name,",
        replace="json.dumps([self.name,",
        tests=f"{_OBJECTS}::test_t36_a_cursor_of_another_user_is_as_good_as_an_invented_one",
    ),
    Defect(
        "T37",
        "a member is taken out of whatever group they are in",
        f"{_CONTROL}/groups/operations.py",
        find="    wanted = (GroupMember.group_id == group_id, GroupMember.user_id == user_id)\n",
        replace="    wanted = (GroupMember.user_id == user_id,)\n",
        tests=f"{_OBJECTS}::test_t37_a_child_under_another_parent_is_not_found",
    ),
    Defect(
        "T38",
        "totals are of all users",
        f"{_CONTROL}/usage/operations.py",
        find="    ).where(*filters.conditions())\n    requests, prompt",
        replace="    )\n    requests, prompt",
        tests=f"{_OBJECTS}::test_t38_every_list_count_and_filter_is_what_a_model_says",
    ),
    Defect(
        "T38",
        "a search takes wildcards",
        f"{_CONTROL}/users/operations.py",
        find="filters.text.casefold(), autoescape=True",
        replace="filters.text.casefold()",
        tests=f"{_OBJECTS}::test_t38_a_search_pattern_finds_only_what_it_says",
    ),
    Defect(
        "T40",
        "users may list users",
        f"{_CONTROL}/users/api.py",
        find='@router.get("", response_model=Page[UserRead], dependencies=[rules.OPERATOR])',
        replace='@router.get("", response_model=Page[UserRead], dependencies=[rules.CALLER])',
        tests=f"{_ADMINISTRATION}::test_t40_no_user_may_administrate",
    ),
    Defect(
        "T41",
        "operators may change users",
        f"{_CONTROL}/users/api.py",
        find='@router.patch("/{id}", response_model=UserRead, dependencies=[rules.ADMINISTRATOR])',
        replace='@router.patch("/{id}", response_model=UserRead, dependencies=[rules.OPERATOR])',
        tests=f"{_ADMINISTRATION}::test_t41_an_operator_gives_no_role_to_anybody",
    ),
    Defect(
        "T41",
        "operators grant what nobody asked for",
        f"{_CONTROL}/entitlements/decisions.py",
        find="    if found is None and role is not Role.ADMINISTRATOR:\n",
        replace="    if found is None and role is Role.USER:\n",
        tests=f"{_ADMINISTRATION}::test_t41_an_operator_grants_nothing_that_was_not_asked_for",
    ),
)
