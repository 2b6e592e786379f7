"""Holes in passwords, guesses, sessions and what they are refreshed with."""

from twins.defect import Defect

_IDENTITY = "control-plane/dormouse_control/identity"
_PROOFS = "control-plane/dormouse_control/proofs"
_PASSWORDS = "tests/attacks/test_passwords.py"
_SESSIONS = "tests/attacks/test_sessions.py"
_SIGN_IN = "tests/attacks/test_sign_in.py"
_SECOND_FACTOR = "tests/dormouse_control/proofs/test_second_factor.py"

DEFECTS = (
    Defect(
        "T07",
        "any type of token is an access token",
        "client/dormouse/tokens.py",
        find=' or header["typ"] != typ:',
        replace=":",
        tests=f"{_SIGN_IN}::test_t07_no_other_kind_of_token_passes_for_an_access_token_anywhere",
    ),
    Defect(
        "T11",
        "an ended session's access token lives on",
        f"{_IDENTITY}/operations.py",
        find="wanted.where(UserSession.revoked_at.is_(None), UserSession.expires_at > now)",
        replace="wanted.where(UserSession.expires_at > now)",
        tests=f"{_SESSIONS}::test_t11_nothing_of_an_ended_session_is_worth_anything",
    ),
    Defect(
        "T11",
        "what runs goes on when its session ends",
        f"{_IDENTITY}/sessions.py",
        find="session_id, now=now, cuts=True)\n    details",
        replace="session_id, now=now)\n    details",
        tests=f"{_SESSIONS}::test_t11_authorizers_are_told_to_cut_what_runs",
    ),
    Defect(
        "T11",
        "an idle session can be refreshed for ever",
        f"{_IDENTITY}/sessions.py",
        find="        UserSession.last_used_at > now - signing.idle,\n",
        replace="",
        tests=f"{_SESSIONS}::test_t11_a_session_that_nobody_used_for_long_has_ended",
    ),
    Defect(
        "T12",
        "a token used again is only refused",
        f"{_IDENTITY}/rotation.py",
        find="        end_session(session, session_id=family.id, now=now, actor=actor,"
        ' reason="replay")\n',
        replace="",
        tests=f"{_SESSIONS}::test_t12_a_token_used_again_ends_its_whole_family_and_is_noted",
    ),
    Defect(
        "T13",
        "every one of several uses rotates",
        f"{_IDENTITY}/rotation.py",
        find="""        .where(UserSession.id == token.family, UserSession.seq == token.seq)
        .where(*living(signing, now=now))
        .values(seq=token.seq + 1,""",
        replace="""        .where(UserSession.id == token.family)
        .where(*living(signing, now=now))
        .values(seq=UserSession.seq + 1,""",
        tests=f"{_SESSIONS}::test_t13_parallel_uses_of_one_token_make_one_new_pair",
    ),
    Defect(
        "T14",
        "any used token counts as one whose answer was lost",
        f"{_IDENTITY}/rotation.py",
        find="family.seq == token.seq + 1",
        replace="family.seq >= token.seq + 1",
        tests=f"{_SESSIONS}::test_t14_a_used_token_stays_used_when_the_process_is_killed",
    ),
    Defect(
        "T15",
        "a lost answer ends the session",
        f"{_IDENTITY}/rotation.py",
        find="if rotated is None and not _reply_was_lost(family, token, now=now):",
        replace="if rotated is None:",
        tests=f"{_SESSIONS}::test_t15_nobody_is_locked_out_by_a_lost_answer",
    ),
    Defect(
        "T16",
        "anybody may end a session whose id they know",
        f"{_IDENTITY}/sessions.py",
        find="mine = (UserSession.id == session_id, UserSession.user_id == user_id)",
        replace="mine = (UserSession.id == session_id, UserSession.user_id != '')",
        tests=f"{_SESSIONS}::test_t16_a_session_of_another_answers_as_one_that_is_none",
    ),
    Defect(
        "T16",
        "the MAC of a refresh token does not cover its family",
        f"{_IDENTITY}/refresh.py",
        find='f"dormouse refresh {named}".encode()',
        replace='f"dormouse refresh {token.seq}".encode()',
        tests=f"{_SESSIONS}::test_t16_a_token_is_good_for_its_own_session_and_place_only",
    ),
    Defect(
        "T17",
        "the answer leaves before the commit",
        "control-plane/dormouse_control/deps.py",
        find='SessionDep = Annotated[Session, Depends(session, scope="function")]',
        replace="SessionDep = Annotated[Session, Depends(session)]",
        tests=f"{_SESSIONS}::test_t17_a_failed_revocation_is_never_called_a_success",
    ),
    Defect(
        "T18",
        "the end of a refresh token does not count",
        f"{_IDENTITY}/refresh.py",
        find="hmac.compare_digest(write(token, key), text)",
        replace="hmac.compare_digest(write(token, key)[:-1], text[:-1])",
        tests=f"{_SESSIONS}::test_t18_nothing_but_the_refresh_token_itself_refreshes",
    ),
    Defect(
        "T22",
        "a hash is as good as its password",
        f"{_IDENTITY}/passwords.py",
        find="        try:\n            wanted = known or self._nobodys",
        replace="        if password == known:\n            return True\n"
        "        try:\n            wanted = known or self._nobodys",
        tests=f"{_PASSWORDS}::test_t22_no_answer_holds_a_hash_and_no_hash_signs_in",
    ),
    Defect(
        "T26",
        "only the length of a password counts",
        f"{_IDENTITY}/weak_passwords.py",
        find="if points(seen, known) >= ENOUGH:",
        replace="if len(seen) >= ENOUGH:",
        tests=f"{_PASSWORDS}::test_t26_passwords_that_are_guessed_first_are_refused",
    ),
    Defect(
        "T27",
        "characters after the 72nd do not count",
        f"{_IDENTITY}/passwords.py",
        find='return unicodedata.normalize("NFKC", password)',
        replace='return unicodedata.normalize("NFKC", password)[:72]',
        tests=f"{_PASSWORDS}::test_t27_the_last_of_many_characters_counts",
    ),
    Defect(
        "T27",
        "one letter written in two ways is two",
        f"{_IDENTITY}/passwords.py",
        find='return unicodedata.normalize("NFKC", password)',
        replace="return password",
        tests=f"{_PASSWORDS}::test_t27_one_form_of_every_letter_is_documented_and_nul_is_refused",
    ),
    Defect(
        "T28",
        "every login is hashed at once",
        f"{_IDENTITY}/passwords.py",
        find="at_once = at_once or os.cpu_count() or 1",
        replace="at_once = 100",
        tests=f"{_PASSWORDS}::test_t28_of_200_parallel_logins_as_many_are_hashed_as_there_are_cores",
    ),
    Defect(
        "T28",
        "a password may be of any length",
        f"{_IDENTITY}/schemas.py",
        find="if len(password.encode()) > LONGEST_BYTES:",
        replace="if len(password.encode()) > LONGEST_BYTES**3:",
        tests=f"{_PASSWORDS}::test_t28_an_endless_password_is_refused_before_anything_is_hashed",
    ),
    Defect(
        "T29",
        "nothing is hashed for who is unknown",
        f"{_PROOFS}/checks.py",
        find="right = platform.passwords.fits(password, known)",
        replace="right = known is not None and platform.passwords.fits(password, known)",
        tests=f"{_SIGN_IN}::test_t29_the_same_work_is_done_for_known_and_unknown",
    ),
    Defect(
        "T29",
        "unknown accounts are not counted",
        f"{_PROOFS}/checks.py",
        find="        attempt = count(platform, email=email, address=address)\n",
        replace="""        with platform.database.reads() as reading:
            known_here = reading.scalar(select(User.id).where(User.email == email))
        attempt = Attempt("", "", "")
        if known_here:
            attempt = count(platform, email=email, address=address)
""",
        tests=f"{_SIGN_IN}::test_t29_refusals_for_too_many_guesses_look_the_same",
    ),
    Defect(
        "T30",
        "guesses are counted, and looked at all the same",
        f"{_PROOFS}/attempts.py",
        find=".where(*row, _allowed(now))",
        replace=".where(*row)",
        tests=f"{_SIGN_IN}::test_t30_a_burst_of_64_guesses_gets_ten_looked_at",
    ),
    Defect(
        "T30",
        "a flood keeps the owner out",
        f"{_PROOFS}/attempts.py",
        find="counted = source if _is_known(session, account, source) else _STRANGERS",
        replace="counted = _STRANGERS",
        tests=f"{_SIGN_IN}::test_t30_a_flood_from_elsewhere_does_not_keep_the_owner_out",
    ),
    Defect(
        "T30",
        "the count begins anew after the longest pause",
        f"{_PROOFS}/attempts.py",
        find="pauses = [pause_seconds(failures) for failures in range(MOST)]",
        replace="pauses = [pause_seconds(failures) for failures in range(MOST * 100)]",
        tests=f"{_SIGN_IN}::test_t30_a_hundred_failures_are_the_most_however_long_one_waits",
    ),
    Defect(
        "T30",
        "the address is the one that the caller claims",
        "control-plane/dormouse_control/gateway/envoy.py",
        find='            "use_remote_address": True,\n',
        replace='            "use_remote_address": False,\n',
        tests="tests/dormouse_control/gateway/test_envoy.py"
        "::test_t30_the_address_is_that_of_the_connection_whatever_is_claimed",
    ),
    Defect(
        "T30",
        "a code of the second factor is good again and again",
        f"{_PROOFS}/second_factor.py",
        find="        .where(User.id == user.id, unused)\n",
        replace="        .where(User.id == user.id)\n",
        tests=f"{_SECOND_FACTOR}::test_a_code_is_good_for_once_and_so_are_older_ones",
    ),
    Defect(
        "T35",
        "a new password keeps the session that was there",
        f"{_PROOFS}/changes.py",
        find="        sessions.end_all(session, user_id=user.id, now=now, actor=actor)\n",
        replace="        sessions.end_all(\n            session, user_id=user.id, now=now,"
        " actor=actor, but=caller.credential_id\n        )\n",
        tests=f"{_SIGN_IN}::test_t35_a_new_password_and_a_code_do_not_keep_what_was_there",
    ),
)
