"""Seeded defects of asynchronous requests: delegations, claims, room, webhooks."""

from twins.defect import Defect

CONTROL = "control-plane/dormouse_control"
DELEGATION = "tests/attacks/test_delegation.py"
REQUESTS = "tests/dormouse_control/requests"
WEBHOOKS = "tests/dormouse_control/webhooks"

DEFECTS = (
    Defect(
        "T07",
        "a delegation is good for any call",
        "client/dormouse/delegation.py",
        find='if claims["rid"] != request:',
        replace='if not claims["rid"]:',
        tests=f"{DELEGATION}::test_one_that_says_something_else_is_none",
    ),
    Defect(
        "T07",
        "a delegation may live for an hour",
        "client/dormouse/delegation.py",
        find='if claims["exp"] - claims["iat"] > DELEGATED_SECONDS:',
        replace='if claims["exp"] - claims["iat"] > 3600:',
        tests=f"{DELEGATION}::test_one_that_says_something_else_is_none",
    ),
    Defect(
        "T07",
        "delegations are believed with any key of ours",
        f"{CONTROL}/keys.py",
        find='return KeyRing(folder / JWKS, f"{purpose}-")',
        replace='return KeyRing(folder / JWKS, "")',
        tests=f"{DELEGATION}::test_no_other_key_makes_one",
    ),
    Defect(
        "T07",
        "a credential id of somebody else is taken",
        f"{CONTROL}/internal/operations.py",
        find="mine = (ApiKey.id == question.credential, ApiKey.user_id == question.user)",
        replace="mine = (ApiKey.id == question.credential,)",
        tests=f"{DELEGATION}::test_what_it_stands_for_is_looked_up_at_that_moment",
    ),
    Defect(
        "T07",
        "callers can say that theirs is a delegation",
        f"{CONTROL}/gateway/calls.py",
        find='                    "x-dormouse-worker",\n                    "x-request-id",',
        replace='                    "x-dormouse-worker",\n'
        '                    "x-dormouse-delegating",\n                    "x-request-id",',
        tests="tests/dormouse_control/gateway/test_asynchronous.py"
        "::test_no_caller_can_say_that_their_credential_is_a_delegation",
    ),
    Defect(
        "T36",
        "a narrow key sees all requests of its owner",
        f"{CONTROL}/requests/operations.py",
        find="if caller.restricted:",
        replace="if caller.restricted and not caller.id:",
        tests=f"{REQUESTS}/test_requests.py::test_a_narrow_key_sees_its_own_only",
    ),
    Defect(
        "R17",
        "whoever lost a request still writes",
        f"{CONTROL}/requests/claims.py",
        find="        AsyncRequest.attempt == attempt,\n",
        replace="",
        tests=f"{REQUESTS}/test_claims.py::test_a_zombie_writes_nothing",
    ),
    Defect(
        "R17",
        "a request that was cancelled gets a result",
        f"{CONTROL}/requests/claims.py",
        find="        AsyncRequest.attempt == attempt,\n        AsyncRequest.status == _RUNNING,\n",
        replace="        AsyncRequest.attempt == attempt,\n",
        tests=f"{REQUESTS}/test_claims.py::test_what_was_cancelled_while_it_ran_stays_cancelled",
    ),
    Defect(
        "R17",
        "each attempt is charged",
        f"{CONTROL}/requests/calling.py",
        find='"x-request-id": request.call_id,',
        replace='"x-request-id": f"{request.call_id[:-1]}{request.attempt}",',
        tests=f"{REQUESTS}/test_worker.py"
        "::test_what_comes_too_early_is_tried_again_under_the_same_id",
    ),
    Defect(
        "R35",
        "a webhook that failed is not tried again",
        f"{CONTROL}/webhooks/outbox.py",
        find="state = DeliveryState.PENDING\n",
        replace="state = DeliveryState.GIVEN_UP\n",
        tests=f"{WEBHOOKS}/test_webhooks.py::test_it_is_tried_ever_more_slowly_for_half_a_day",
    ),
    Defect(
        "R35",
        "nobody is told of requests that expired",
        f"{CONTROL}/requests/claims.py",
        find="    outbox.due(session, late, now=now)\n",
        replace="",
        tests=f"{WEBHOOKS}/test_webhooks.py::test_it_is_due_when_its_request_expires",
    ),
    Defect(
        "T57",
        "one public address among others is enough",
        f"{CONTROL}/webhooks/addresses.py",
        find="for text in addresses:",
        replace="for text in addresses[:1]:",
        tests=f"{WEBHOOKS}/test_addresses.py::test_t57_what_is_not_public_is_refused",
    ),
    Defect(
        "T58",
        "addresses inside of addresses are public",
        f"{CONTROL}/webhooks/addresses.py",
        find="        and not any(address in network for network in _NEVER)\n",
        replace="",
        tests=f"{WEBHOOKS}/test_addresses.py::test_t57_what_is_not_public_is_refused",
    ),
    Defect(
        "T58",
        "numbers are names",
        f"{CONTROL}/webhooks/addresses.py",
        find="if literal is None and (not _NAME.fullmatch(host) or _is_numeric(host)):",
        replace="if literal is None and not _NAME.fullmatch(host):",
        tests=f"{WEBHOOKS}/test_addresses.py::test_t58_what_is_no_plain_https_url_is_refused",
    ),
    Defect(
        "T59",
        "redirects are followed",
        f"{CONTROL}/webhooks/posting.py",
        find="follow_redirects=False",
        replace="follow_redirects=True",
        tests=f"{WEBHOOKS}/test_posting.py::test_t59_no_redirect_is_followed",
    ),
    Defect(
        "T59",
        "the name is looked up again to connect",
        f"{CONTROL}/webhooks/posting.py",
        find='f"{wanted.scheme}://{numeric}:{wanted.port}{wanted.path}"',
        replace='f"{wanted.scheme}://{wanted.host}:{wanted.port}{wanted.path}"',
        tests=f"{WEBHOOKS}/test_posting.py"
        "::test_t59_the_name_is_looked_up_once_and_the_connection_goes_there",
    ),
    Defect(
        "T61",
        "a receiver may take its time",
        f"{CONTROL}/webhooks/posting.py",
        find="async with asyncio.timeout(SECONDS):",
        replace="async with asyncio.timeout(20 * SECONDS):",
        tests=f"{WEBHOOKS}/test_posting.py::test_t61_who_answers_without_end_is_not_listened_to",
    ),
    Defect(
        "T61",
        "one user's names take all threads that look names up",
        f"{CONTROL}/webhooks/lookups.py",
        find=" or self._running[user] >= MOST_OF_A_USER",
        replace="",
        tests=f"{WEBHOOKS}/test_lookups.py::test_t61_names_that_hang_hold_up_nobody_else",
    ),
    Defect(
        "T61",
        "one user's receivers take all places",
        f"{CONTROL}/webhooks/decisions.py",
        find=" and users[user] < MOST_OF_A_USER",
        replace="",
        tests=f"{WEBHOOKS}/test_sender.py"
        "::test_t61_receivers_that_are_slow_take_some_places_of_their_owner_only",
    ),
    Defect(
        "R35",
        "whoever was late says how a webhook fared",
        f"{CONTROL}/webhooks/outbox.py",
        find="WebhookDelivery.attempts == delivery.attempts + 1",
        replace="WebhookDelivery.attempts > delivery.attempts",
        tests=f"{WEBHOOKS}/test_webhooks.py::test_while_an_attempt_lasts_nobody_begins_another",
    ),
    Defect(
        "R17",
        "what runs is given back while its result is written",
        f"{CONTROL}/requests/writing.py",
        find="await to_its_end(write, ",
        replace="await asyncio.to_thread(write, ",
        tests=f"{REQUESTS}/test_worker.py"
        "::test_an_answer_is_written_before_what_runs_is_given_back",
    ),
    Defect(
        "T108",
        "the same key asks another model",
        f"{CONTROL}/idempotency/route.py",
        find="    asked += _meant(request)\n",
        replace="",
        tests=f"{REQUESTS}/test_intake.py::test_a_repeated_request_is_taken_once",
    ),
)
