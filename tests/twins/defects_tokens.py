"""Holes in how tokens are read, keys replaced, rights taken away and backups put back."""

from twins.defect import Defect

_TOKENS = "client/dormouse/tokens.py"
_TESTS = "tests/attacks/test_tokens.py"
_HEADER = 'if set(header) != {"alg", "typ", "kid"} or header["alg"] != "EdDSA"'
_KEY = '    key = keys.get(header["kid"]) if isinstance(header["kid"], str) else None\n'

DEFECTS = (
    Defect(
        "T01",
        "a token that says none is believed",
        _TOKENS,
        find=f"    {_HEADER}",
        replace=f"""    if str(header.get("alg")).lower() == "none":
        return _strict_json(parts[1])
    {_HEADER}""",
        tests=f"{_TESTS}::test_t01_no_algorithm_is_none",
    ),
    Defect(
        "T02",
        "the public key serves as shared secret",
        _TOKENS,
        find=f"    {_HEADER}",
        replace=f"""    if str(header.get("alg")).startswith("HS"):
        import hmac

        signed = ".".join(parts[:2]).encode()
        mac = hmac.digest(keys[header["kid"]].public_bytes_raw(), signed, "sha256")
        if mac == _bytes(parts[2]):
            return _strict_json(parts[1])
    {_HEADER}""",
        tests=f"{_TESTS}::test_t02_our_public_key_is_no_shared_secret",
    ),
    Defect(
        "T03",
        "headers that nobody knows are passed over",
        _TOKENS,
        find='set(header) != {"alg", "typ", "kid"}',
        replace='not {"alg", "typ", "kid"} <= set(header)',
        tests=f"{_TESTS}::test_t03_a_header_that_we_do_not_know_is_not_passed_over",
    ),
    Defect(
        "T04",
        "internal keys verify session tokens",
        "client/dormouse/keyring.py",
        find="if kid.startswith(self._prefix)",
        replace="if kid",
        tests=f"{_TESTS}::test_t04_a_key_is_good_for_its_purpose_only",
    ),
    Defect(
        "T05",
        "a key id is the name of a file",
        _TOKENS,
        find=_KEY,
        replace=f"""    if str(header["kid"]).startswith("/"):
        open(header["kid"]).close()
{_KEY}""",
        tests=f"{_TESTS}::test_t05_a_key_id_is_a_name_and_nothing_else",
    ),
    Defect(
        "T06",
        "tokens of any length are decoded",
        _TOKENS,
        find="if len(token) > MAX_TOKEN_BYTES or not token.isascii():",
        replace="if not token.isascii():",
        tests=f"{_TESTS}::test_t06_what_is_longer_than_a_token_is_not_looked_at",
    ),
    Defect(
        "T07",
        "any type of token is an access token",
        _TOKENS,
        find=' or header["typ"] != typ:',
        replace=":",
        tests=f"{_TESTS}::test_t07_another_type_is_no_access_token",
    ),
    Defect(
        "T08",
        "the last of two claims wins",
        _TOKENS,
        find="object_pairs_hook=_no_duplicates, ",
        replace="",
        tests=f"{_TESTS}::test_t08_nothing_is_said_twice",
    ),
    Defect(
        "T08",
        "any number is a time",
        _TOKENS,
        find="return type(value) is int and 0 <= value < _LAST_SECOND",
        replace="return isinstance(value, int | float)",
        tests=f"{_TESTS}::test_t08_a_time_is_a_whole_number_of_seconds",
    ),
    Defect(
        "T08",
        "a token without an end is valid for ever",
        _TOKENS,
        find='if claims["exp"] <= now:',
        replace='if claims["exp"] <= 0:',
        tests=f"{_TESTS}::test_t08_a_token_is_valid_for_its_time_only",
    ),
    Defect(
        "T09",
        "one audience of several will do",
        _TOKENS,
        find='claims.get("aud") != audience',
        replace='audience not in (claims.get("aud") or ())',
        tests=f"{_TESTS}::test_t09_the_audience_is_us_alone",
    ),
    Defect(
        "T09",
        "an issuer that begins like us is us",
        _TOKENS,
        find='claims.get("iss") != ISSUER',
        replace='not str(claims.get("iss")).startswith(ISSUER)',
        tests=f"{_TESTS}::test_t09_the_issuer_is_us_exactly",
    ),
    Defect(
        "T10",
        "the old key is forgotten when the new one signs",
        "control-plane/dormouse_control/keys.py",
        find="[*_read_retired(folder), _retired(old, purpose, now)]",
        replace="_read_retired(folder)",
        tests="tests/attacks/test_signing_keys.py"
        "::test_t10_a_key_of_which_nothing_valid_is_left_is_refused",
    ),
    Defect(
        "T10",
        "every unknown key id reads the file",
        "client/dormouse/keyring.py",
        find="if seen != self._seen:",
        replace="if seen:",
        tests="tests/attacks/test_signing_keys.py"
        "::test_t10_a_flood_of_unknown_key_ids_reads_no_file",
    ),
    Defect(
        "T11",
        "a token of before the revocation is good after it",
        "predictors/dormouse_predictors/revoked.py",
        find="if self._hits(claims):",
        replace="if not claims:",
        tests="tests/dormouse_predictors/test_revocations.py"
        "::test_t11_a_token_signed_before_the_revocation_is_refused_after_it",
    ),
    Defect(
        "T11",
        "what runs goes on",
        "predictors/dormouse_predictors/revoked.py",
        find="            call.finish(access_revoked())\n",
        replace="",
        tests="tests/dormouse_predictors/test_revocations.py"
        "::test_t11_a_running_stream_ends_with_an_error_and_is_charged",
    ),
    Defect(
        "T14",
        "an older copy of the database passes for the newest",
        "control-plane/dormouse_control/restores/operations.py",
        find="return _writes(session) < marks.writes",
        replace="return _writes(session) < 0",
        tests="tests/dormouse_control/restores/test_restores.py"
        "::test_t14_a_used_refresh_token_stays_used",
    ),
    Defect(
        "T14",
        "the journal is not read",
        "control-plane/dormouse_control/restores/operations.py",
        find="    keys = _settle_keys(session, losses, now=now)\n",
        replace="    keys: list[str] = []\n",
        tests="tests/dormouse_control/restores/test_restores.py"
        "::test_t14_a_revoked_key_stays_revoked_and_others_live",
    ),
    Defect(
        "R36",
        "sessions of before the restore go on",
        "control-plane/dormouse_control/restores/operations.py",
        find="update(UserSession).where(UserSession.revoked_at.is_(None))",
        replace='update(UserSession).where(UserSession.id == "")',
        tests="tests/attacks/test_restore.py"
        "::test_r36_a_backup_made_while_everybody_writes_is_whole_and_revives_nothing",
    ),
)
