"""Holes in registration, verification, resets, invitations and the first administrator."""

from twins.defect import Defect

_CONTROL = "control-plane/dormouse_control"
_TOKENS = f"{_CONTROL}/proofs/tokens.py"
_REGISTRATION = f"{_CONTROL}/identity/registration.py"
_ADMINISTRATORS = f"{_CONTROL}/identity/administrators.py"
_INVITATIONS = f"{_CONTROL}/invitations/operations.py"
_ATTACKS = "tests/attacks/test_accounts.py"

_USED = """        .values(used_at=now)
        .returning(OneTimeToken)
"""
_INVITATION_UNUSED = """            Invitation.id == invitation_id,
            Invitation.used_at.is_(None),
            Invitation.revoked_at.is_(None),
"""
DEFECTS = (
    Defect(
        "T18",
        "a token may go on after its end",
        _TOKENS,
        find="parts = _FORM.fullmatch(text)",
        replace="parts = _FORM.match(text)",
        tests=f"{_ATTACKS}::test_t18_only_exactly_the_mailed_token_sets_a_password",
    ),
    Defect(
        "T18",
        "the MAC of a token is not looked at",
        _TOKENS,
        find="parts is None or not sealing.is_mac(",
        replace="parts is None or False and not sealing.is_mac(",
        tests=f"{_ATTACKS}::test_t18_only_exactly_the_mailed_token_sets_a_password",
    ),
    Defect(
        "T25",
        "a one-time token is not marked as used",
        _TOKENS,
        find=_USED,
        replace=_USED.replace("used_at=now", "used_at=None"),
        tests=f"{_ATTACKS}::test_t25_a_verification_token_is_taken_once"
        f" {_ATTACKS}::test_t25_a_reset_token_sets_one_password",
    ),
    Defect(
        "T25",
        "an invitation is looked at first and marked later",
        _INVITATIONS,
        find=_INVITATION_UNUSED,
        replace="            Invitation.id == invitation_id,\n",
        tests=f"{_ATTACKS}::test_t25_an_invitation_makes_one_account",
    ),
    Defect(
        "T29",
        "a taken address is told although addresses are verified",
        _REGISTRATION,
        find="    elif settings.verify_email:\n",
        replace="    elif settings.verify_email and invitation:\n",
        tests=f"{_ATTACKS}::test_t29_a_taken_address_registers_like_a_new_one",
    ),
    Defect(
        "T29",
        "who just registered is told that the account waits for its mail",
        f"{_CONTROL}/proofs/checks.py",
        find="_GONE = (UserStatus.UNVERIFIED, UserStatus.DISABLED,",
        replace="_GONE = (UserStatus.DISABLED,",
        tests=f"{_ATTACKS}::test_t29_signing_in_right_after_registering_tells_nothing",
    ),
    Defect(
        "T29",
        "an invitation is kept for the next question",
        _REGISTRATION,
        find="    if invited is not None:\n        # Also when",
        replace="    if invited is not None and invited.email:\n        # Also when",
        tests=f"{_ATTACKS}::test_t29_an_invitation_is_used_up_by_a_taken_address_too",
    ),
    Defect(
        "T29",
        "a reset looks the account up before it answers",
        f"{_CONTROL}/identity/accounts_api.py",
        find="    outbox.ask(session, MailKind.RESET_PASSWORD,",
        replace="    from sqlalchemy import select\n\n"
        "    from dormouse_control.identity.models import User\n\n"
        "    if session.scalar(select(User.id).where(User.email == address)) is None:\n"
        "        return Accepted()\n"
        "    outbox.ask(session, MailKind.RESET_PASSWORD,",
        tests=f"{_ATTACKS}::test_t29_a_reset_does_the_same_work_for_everybody",
    ),
    Defect(
        "T31",
        "addresses are not folded",
        f"{_CONTROL}/identity/emails.py",
        find="""unicodedata.normalize("NFKC", email.strip()).casefold()""",
        replace="email.strip()",
        tests=f"{_ATTACKS}::test_t31_parallel_registrations_make_one_account",
    ),
    Defect(
        "T31",
        "an address may have two @ and end in a dot",
        f"{_CONTROL}/identity/emails.py",
        find="not _FORM.fullmatch(found)",
        replace='"@" not in found',
        tests=f"{_ATTACKS}::test_t31_what_could_be_read_in_two_ways_is_no_address",
    ),
    Defect(
        "T32",
        "links lead to where the request says it came from",
        f"{_CONTROL}/deps.py",
        find="    return cast(Platform, request.app.state.platform)\n",
        replace="    found = cast(Platform, request.app.state.platform)\n"
        '    host = request.headers.get("x-forwarded-host")\n'
        "    if host:\n"
        '        object.__setattr__(found.settings, "__dict__", found.settings.__dict__\n'
        '            | {"public_url": f"http://{host}"})\n'
        "    return found\n",
        tests=f"{_ATTACKS}::test_t32_links_come_from_the_settings_alone",
    ),
    Defect(
        "T33",
        "registration by invitation is open to all who bring none",
        _REGISTRATION,
        find='        if platform.settings.registration == "invitation":\n',
        replace='        if platform.settings.registration == "closed":  # type: ignore\n',
        tests=f"{_ATTACKS}::test_t33_registration_that_is_closed_stays_closed",
    ),
    Defect(
        "T33",
        "an invitation does not end",
        _INVITATIONS,
        find="    return unused and invitation.expires_at > now\n",
        replace="    return unused\n",
        tests="tests/dormouse_control/invitations/test_invitations.py"
        "::test_mail_of_an_invitation_that_ended_is_not_sent",
    ),
    Defect(
        "T33",
        "an invitation does not end, checked at its use",
        _INVITATIONS,
        find="            Invitation.expires_at > now,\n",
        replace="",
        tests="tests/dormouse_control/invitations/test_invitations.py"
        "::test_an_invitation_that_ends_while_the_password_is_hashed_is_not_used",
    ),
    Defect(
        "T33",
        "several tokens make several first administrators",
        _ADMINISTRATORS,
        find="    if _exist(session):\n        raise",
        replace="    if not email:\n        raise",
        tests=f"{_ATTACKS}::test_t33_two_tokens_make_one_first_administrator",
    ),
    Defect(
        "T33",
        "first administrators do not wait for each other",
        _ADMINISTRATORS,
        find="    take_turn(session, _TURN)\n    tokens.redeem(",
        replace="    tokens.redeem(",
        tests=f"{_ATTACKS}::test_t33_two_tokens_make_one_first_administrator",
    ),
)
