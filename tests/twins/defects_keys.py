"""Holes in API keys, in what the authorizer knows, and in where credentials are taken from."""

from twins.defect import Defect

_CONTROL = "control-plane/dormouse_control"
_KEYS = "tests/attacks/test_keys.py"

DEFECTS = (
    Defect(
        "T18",
        "only the beginning of a key counts",
        f"{_CONTROL}/identity/operations.py",
        find="ApiKey.sha256 == apikeys.digest(key)",
        replace="ApiKey.prefix == key[:9]",
        tests=f"{_KEYS}::test_t18_what_is_almost_a_key_is_none",
    ),
    Defect(
        "T18",
        "the authorizer asks about a key that was cut to its length",
        f"{_CONTROL}/authorizer/credentials.py",
        find="            if not _KEY.fullmatch(secret):\n"
        "                raise invalid_credentials()\n",
        replace='            digest = hashlib.sha256(secret[:46].encode("latin-1")).hexdigest()\n',
        tests=f"{_KEYS}::test_t18_what_is_almost_a_key_is_none",
    ),
    Defect(
        "T19",
        "a key is written into the statement",
        f"{_CONTROL}/identity/operations.py",
        find="ApiKey.sha256 == apikeys.digest(key)",
        replace='__import__("sqlalchemy").literal_column("prefix") == '
        '__import__("sqlalchemy").text("\'" + key[:60] + "\'")',
        tests=f"{_KEYS}::test_t19_a_hostile_credential_is_401_and_never_part_of_a_statement",
    ),
    Defect(
        "T20",
        "a key may name what its owner may not",
        f"{_CONTROL}/identity/keys_limits.py",
        find="    if service not in owner.rights:\n",
        replace="    if not service:\n",
        tests=f"{_KEYS}::test_t20_no_key_is_made_or_changed_beyond_its_owner",
    ),
    Defect(
        "T20",
        "a key keeps what its owner lost",
        f"{_CONTROL}/internal/operations.py",
        find="        if allowed is None or service in allowed\n    }\n",
        replace="        if allowed is None or service in allowed\n"
        "    } | dict.fromkeys(allowed or ())\n",
        tests=f"{_KEYS}::test_t20_a_key_never_has_more_than_its_owner_whatever_happens",
    ),
    Defect(
        "T20",
        "limits of a key are not looked at when it is used",
        f"{_CONTROL}/authorizer/permissions.py",
        find="    check_reach(principal, route, endpoint)\n    check_budget(principal, route)\n",
        replace="    check_budget(principal, route)\n",
        tests="tests/dormouse_control/authorizer/test_check.py"
        "::test_a_narrowed_key_is_refused_what_lies_outside_and_told_what",
    ),
    Defect(
        "T21",
        "a credential in the address is let pass",
        f"{_CONTROL}/identity/channels.py",
        find="    if query and _holds_credential(query):\n",
        replace="    if not query and _holds_credential(query):\n",
        tests="tests/attacks/test_channels.py"
        "::test_t21_both_doors_decide_the_same_about_every_form",
    ),
    Defect(
        "T21",
        "the authorizer sees the last of two headers",
        f"{_CONTROL}/authorizer/app.py",
        find='        headers[name] = f"{headers[name]},{text}" if name in headers else text\n',
        replace="        headers[name] = text\n",
        tests="tests/attacks/test_channels.py"
        "::test_t21_both_doors_decide_the_same_about_every_form",
    ),
    Defect(
        "T21",
        "the authorizer does not look at the address",
        f"{_CONTROL}/authorizer/permissions.py",
        find="    if ranges is not None and not addresses.contains(ranges, address):\n",
        replace="    if ranges is not None and not addresses.contains(ranges, ranges[0][:-3]):\n",
        tests="tests/attacks/test_channels.py::test_t21_no_channel_carries_another_address",
    ),
    Defect(
        "T23",
        "bodies take what they do not know",
        f"{_CONTROL}/wire.py",
        find='extra="forbid", strict=True',
        replace='extra="ignore", strict=True',
        tests=f"{_KEYS}::test_t23_a_key_takes_nothing_but_its_limits",
    ),
    Defect(
        "T24",
        "the gateway goes on by a decision that was taken back",
        f"{_CONTROL}/authorizer/permits.py",
        find="lambda held: wanted & {",
        replace="lambda held: set() & {",
        tests="tests/dormouse_control/authorizer/test_permits.py::test_whoever_is_named_loses_it",
    ),
    Defect(
        "T24",
        "a decision is left with the gateway although a revocation overtook it",
        f"{_CONTROL}/authorizer/check.py",
        find=" or position != self._tokens.position:\n",
        replace=":\n",
        tests="tests/dormouse_control/authorizer/test_check.py"
        "::test_what_a_revocation_overtakes_decides_nothing",
    ),
    Defect(
        "T24",
        "a revocation is acknowledged before anybody has heard of it",
        f"{_CONTROL}/internal/bell.py",
        find="if heard < last]",
        replace="if heard < -9]",
        tests="tests/dormouse_control/internal/test_bell.py"
        "::test_a_commit_waits_until_a_follower_has_acted",
    ),
    Defect(
        "T24",
        "entries are found by a part of the credential",
        f"{_CONTROL}/authorizer/credentials.py",
        find='f"key:{digest}"',
        replace='f"key:{secret[:20]}"',
        tests=f"{_KEYS}::test_t24_two_credentials_never_share_an_entry",
    ),
    Defect(
        "T24",
        "an answer that a revocation overtook is remembered",
        f"{_CONTROL}/authorizer/principals.py",
        find="        elif changes == self._changes:\n",
        replace="        elif changes <= self._changes:\n",
        tests=f"{_KEYS}::test_t24_an_answer_older_than_a_revocation_is_not_remembered",
    ),
    Defect(
        "T24",
        "a changed key is not announced",
        f"{_CONTROL}/identity/apikeys.py",
        find="    revocations.record(session, RevocationKind.KEY, key_id, now=now, cuts=cuts)\n",
        replace="",
        tests=f"{_KEYS}::test_t24_what_was_allowed_is_refused_once_it_is_taken_back",
    ),
    Defect(
        "T40",
        "FastAPI's pages of documentation are open",
        f"{_CONTROL}/app.py",
        find="        docs_url=None,\n",
        replace="",
        tests="tests/attacks/test_routes.py::test_t40_every_route_is_on_the_list",
    ),
    Defect(
        "T42",
        "a name with a version leads to the model without it",
        f"{_CONTROL}/authorizer/routes.py",
        find="        found = self._routes.get(name)\n        if found is None and",
        replace='        found = self._routes.get(name.split(":")[-2 if ":" in name else 0])\n'
        "        if found is None and",
        tests="tests/attacks/test_routes.py"
        "::test_t42_a_name_that_leads_nowhere_is_404_at_both_doors",
    ),
    Defect(
        "T105",
        "keys are counted without holding on to their owner",
        f"{_CONTROL}/identity/apikeys.py",
        find="    user = session.scalar(wanted.with_for_update(key_share=True))\n",
        replace="    user = session.scalar(wanted)\n",
        tests=f"{_KEYS}::test_t105_a_race_for_the_last_keys_never_gives_more_than_the_tier",
    ),
    Defect(
        "T22",
        "the list of keys shows their hashes",
        f"{_CONTROL}/identity/keys_api.py",
        find="prefix=row.prefix,",
        replace="prefix=row.sha256,",
        tests="tests/attacks/test_matrix.py"
        "::test_t22_no_answer_shows_what_is_stored_to_prove_something[GET:/api/v1/keys]",
    ),
)
