"""Holes in sign-ins through providers."""

from twins.defect import Defect

_FLOWS = "control-plane/dormouse_control/oidc/flows.py"
_TOKENS = "control-plane/dormouse_control/oidc/id_tokens.py"
_TESTS = "tests/attacks/test_oidc.py"
_LINK = '''{request}    caller: CallerDep,
    session: SessionDep,
    platform: PlatformDep,
) -> LinkStarted:
    """Link an account at a provider to yours; done when its login code is exchanged."""
    found = platform.providers.find('''

DEFECTS = (
    Defect(
        "T25",
        "a state of a sign-in works again",
        _FLOWS,
        find="            OidcFlow.used_at.is_(None),\n",
        replace="",
        tests=f"{_TESTS}::test_t25_a_state_works_once_of_16_at_once",
    ),
    Defect(
        "T25",
        "a login code is looked at and not used up",
        "control-plane/dormouse_control/oidc/exchange.py",
        find="        tokens.redeem(",
        replace="        tokens.peek(",
        tests=f"{_TESTS}::test_t25_a_login_code_works_once_of_16_at_once",
    ),
    Defect(
        "T32",
        "a link begins where the Host header says",
        "control-plane/dormouse_control/oidc/api.py",
        find="    body: LinkStart,\n" + _LINK.format(request="") + "provider)\n",
        replace="    body: LinkStart,\n"
        + _LINK.format(request="    request: Request,\n")
        + "provider)\n"
        + '    host = "http://" + request.headers["x-forwarded-host"]\n'
        + "    found = type(found)(found.config, public_url=host, clock=platform.clock)\n",
        tests=f"{_TESTS}::test_t32_the_provider_sends_people_back_to_the_configured_address_only",
    ),
    Defect(
        "T111",
        "any path may follow",
        "control-plane/dormouse_control/oidc/redirects.py",
        find="    if len(redirect) > LONGEST or not allowed:",
        replace='    if len(redirect) > LONGEST or not (allowed or redirect.startswith("/")):',
        tests=f"{_TESTS}::test_t111_a_sign_in_cannot_end_elsewhere",
    ),
    Defect(
        "T35",
        "the cookie of a sign-in is for scripts too",
        "control-plane/dormouse_control/oidc/cookies.py",
        find='        httponly=True,\n        samesite="lax",  # the',
        replace='        httponly=False,\n        samesite="lax",  # the',
        tests=f"{_TESTS}::test_t35_the_cookie_of_a_sign_in_cannot_be_read_stolen_or_planted",
    ),
    Defect(
        "T04",
        "the token says by which algorithm it is read",
        _TOKENS,
        find="            algorithms=list(fitting[0].algorithms),",
        replace='            algorithms=[jwt.get_unverified_header(token)["alg"]],',
        tests=f"{_TESTS}::test_t04_a_key_signs_by_its_own_algorithm_only",
    ),
    Defect(
        "T09",
        "a token with more audiences is taken as ours",
        _TOKENS,
        find='        if not several or "azp" not in claims:',
        replace="        if not several:",
        tests=f"{_TESTS}::test_t09_a_token_for_somebody_else_is_refused",
    ),
    Defect(
        "T10",
        "every unknown key is asked for",
        "control-plane/dormouse_control/oidc/documents.py",
        find="_UNKNOWN_KEY_AT_MOST_EVERY_SECONDS = 30",
        replace="_UNKNOWN_KEY_AT_MOST_EVERY_SECONDS = -1",
        tests=f"{_TESTS}::test_t10_unknown_keys_cause_one_fetch_in_30_seconds",
    ),
)
