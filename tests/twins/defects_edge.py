"""Seeded defects of the edge: hosts, headers, cursors, errors, files, repeated requests."""

from twins.defect import Defect

CONTROL = "control-plane/dormouse_control"
NATIVE = f"{CONTROL}/gateway/native"
GATEWAY = "tests/dormouse_control/gateway"
KEYED = "tests/attacks/test_idempotency.py::test_t108_"

DEFECTS = (
    Defect(
        "T34",
        "every Host is served on loopback",
        f"{CONTROL}/gateway/hosts.py",
        find="if not (allowed or is_loopback(host)):",
        replace="if not allowed or is_loopback(host):",
        tests="tests/dormouse_control/gateway/test_hosts.py"
        "::test_t34_other_names_are_refused_and_reach_nobody[evil.example-GET-/healthz]",
    ),
    Defect(
        "T34",
        "names that only begin like ours are served",
        f"{CONTROL}/gateway/calls.py",
        find='"domains": list(gateway.hosts)',
        replace='"domains": [*gateway.hosts, *(f"{host}.*" for host in gateway.hosts[:2])]',
        tests="tests/dormouse_control/gateway/test_hosts.py"
        "::test_t34_other_names_are_refused_and_reach_nobody[127.0.0.1.evil.example-GET-/healthz]",
    ),
    Defect(
        "T34",
        "a body without a type is taken for JSON",
        f"{CONTROL}/app.py",
        find="redoc_url=None,",
        replace="redoc_url=None,\n        strict_content_type=False,",
        tests="tests/attacks/test_edge.py::test_t34_no_page_of_others_changes_anything[-null]",
    ),
    Defect(
        "T39",
        "a cursor is not bound to its owner",
        f"{CONTROL}/pages.py",
        find="[self.owner, self.name,",
        replace="[self.name,",
        tests="tests/attacks/test_cursors.py::test_t39_a_cursor_is_good_for_its_owner_only",
    ),
    Defect(
        "T39",
        "a cursor is not bound to its filters",
        f"{CONTROL}/pages.py",
        find="sorted(self.query.items()), position]",
        replace="position]",
        tests="tests/attacks/test_cursors.py::test_t39_a_cursor_is_good_for_its_filters_only",
    ),
    Defect(
        "T39",
        "MACs are compared as the bytes that they stand for",
        f"{CONTROL}/sealing.py",
        find="return hmac.compare_digest(self.mac(purpose, text).encode(),"
        ' mac.encode("utf-8", "replace"))',
        replace='return base64.urlsafe_b64decode(self.mac(purpose, text) + "=")'
        ' == base64.urlsafe_b64decode(mac.encode("ascii", "replace") + b"===")',
        tests="tests/attacks/test_cursors.py"
        "::test_t39_a_cursor_with_any_character_changed_added_or_left_out_is_refused",
    ),
    Defect(
        "T108",
        "a key is everybody's",
        f"{CONTROL}/idempotency/route.py",
        find="await _claim(request, caller.id, key, session, platform)",
        replace="await _claim(request, NOBODY, key, session, platform)",
        tests=f"{KEYED}a_key_belongs_to_its_user_and_its_route",
    ),
    Defect(
        "T108",
        "the body is not looked at",
        f"{CONTROL}/idempotency/route.py",
        find='\\n".encode() + await request.body()',
        replace='\\n".encode()',
        tests=f"{KEYED}the_same_key_for_another_body_is_refused[other]",
    ),
    Defect(
        "T108",
        "the object is not looked at",
        f"{CONTROL}/idempotency/route.py",
        find="{request.url.path}\\n",
        replace="\\n",
        tests=f"{KEYED}the_same_key_for_another_object_is_refused",
    ),
    Defect(
        "R13",
        "the reply is stored after the commit",
        f"{CONTROL}/idempotency/route.py",
        find="if not store(self.session,",
        replace="self.session.commit()\n        if not store(self.session,",
        tests="tests/attacks/test_idempotency.py::test_r13_sixteen_at_once_have_one_effect[sqlite]",
    ),
    Defect(
        "R11",
        "the reply is stored in a transaction after that of the change",
        f"{CONTROL}/idempotency/route.py",
        find="if not store(self.session,",
        replace="self.session.commit()\n        if not store(self.session,",
        tests="tests/attacks/test_lost_commits.py"
        "::test_r11_twenty_lost_commits_have_one_effect_each",
    ),
    Defect(
        "R12",
        "what creates does not take a key",
        f"{CONTROL}/idempotency/route.py",
        find='or ()) & {"POST", "PUT"}:',
        replace='or ()) & {"PUT"}:',
        tests="tests/attacks/test_idempotency.py"
        "::test_r12_a_client_that_repeats_everything_makes_nothing_twice",
    ),
    Defect(
        "R12",
        "our client makes a new key for every attempt",
        "client/dormouse/transport.py",
        find="headers=headers | dict(call.headers),",
        replace="headers=headers"
        " | {name: value + str(uuid4()) for name, value in call.headers.items()},",
        tests="tests/dormouse/test_transport.py"
        "::test_r12_a_call_that_the_server_knows_again_is_repeated_with_its_key",
    ),
    Defect(
        "T108",
        "the stored reply can be read",
        f"{CONTROL}/idempotency/operations.py",
        find="sealing.seal(_PURPOSE, reply.body)",
        replace="reply.body.decode()",
        tests=f"{KEYED}no_reply_lies_readable_in_the_database",
    ),
    Defect(
        "T108",
        "a key is remembered for ever",
        f"{CONTROL}/idempotency/operations.py",
        find="return now - KEPT",
        replace="return now - 365 * KEPT",
        tests=f"{KEYED}a_key_is_forgotten_after_a_day",
    ),
    Defect(
        "T112",
        "private answers may be kept by caches",
        f"{CONTROL}/safe_headers.py",
        find='"cache-control": "no-store"',
        replace='"cache-control": "private"',
        tests="tests/attacks/test_edge.py::test_t112_the_headers_are_these",
    ),
    Defect(
        "T112",
        "refusals of the outermost layer come without the headers",
        f"{CONTROL}/app.py",
        find="    app.add_middleware(RequestLog, api=api, max_body=max_body, longer=longer)\n"
        "    app.add_middleware(SafeHeaders)\n",
        replace="    app.add_middleware(SafeHeaders)\n"
        "    app.add_middleware(RequestLog, api=api, max_body=max_body, longer=longer)\n",
        tests="tests/attacks/test_edge.py::test_t112_every_answer_stays_out_of_caches_and_frames",
    ),
    Defect(
        "T113",
        "a bug's text is told",
        f"{CONTROL}/monitoring/requests.py",
        find='await _refuse(PlatformError("Something went wrong here."), scope, receive, watching)',
        replace="import traceback\n"
        "            error = PlatformError(traceback.format_exc())\n"
        "            await _refuse(error, scope, receive, watching)",
        tests="tests/attacks/test_errors.py"
        "::test_t113_an_exception_in_any_handler_tells_nothing[bug]",
    ),
    Defect(
        "T113",
        "the database's text is told",
        f"{CONTROL}/app.py",
        find='return errors.Unavailable("The database does not answer. Try again shortly.")',
        replace="return errors.Unavailable(str(error))",
        tests="tests/attacks/test_errors.py"
        "::test_t113_an_exception_in_any_handler_tells_nothing[away]",
    ),
    Defect(
        "T114",
        "a public address without TLS is accepted",
        f"{CONTROL}/setting_groups/network.py",
        find="if not (secure or is_loopback(self.host) or self.allow_plain_http):",
        replace="if False:",
        tests="tests/attacks/test_own_machine.py"
        "::test_t114_a_public_address_without_tls_is_refused",
    ),
    Defect(
        "T114",
        "the database is readable by everybody",
        f"{CONTROL}/control_plane.py",
        find="os.umask(0o077)",
        replace="os.umask(0o022)",
        tests="tests/attacks/test_own_machine.py::test_t114_files_of_state_are_their_owners_alone",
    ),
    Defect(
        "T115",
        "the documentation pages are there",
        f"{CONTROL}/app.py",
        find="docs_url=None,",
        replace='docs_url="/docs",',
        tests="tests/attacks/test_edge.py"
        "::test_t115_there_is_nothing_to_look_behind_the_curtain_with[/docs]",
    ),
    Defect(
        "T115",
        "a check that python -O leaves out",
        f"{CONTROL}/pages.py",
        find='        if not self.sealing.is_mac("cursor", self._bound(position), mac):\n'
        "            raise InvalidCursor",
        replace="        try:\n"
        '            assert self.sealing.is_mac("cursor", self._bound(position), mac)\n'
        "        except AssertionError:\n"
        "            raise InvalidCursor",
        tests="tests/attacks/test_edge.py::test_t115_nothing_depends_on_asserts",
    ),
    Defect(
        "T104",
        "the compiled filter lets calls through without a permit",
        f"{NATIVE}/admission.c",
        find="left < 0 || ",
        replace="",
        tests=f"{GATEWAY}/test_admission.py"
        "::test_calls_go_through_until_the_permits_are_used[native]",
    ),
    Defect(
        "T63",
        "the compiled filter takes the first of two models",
        f"{NATIVE}/model_name.c",
        find="find(body, value, MODEL, sizeof MODEL - 1) == NONE",
        replace="true",
        tests=f"{GATEWAY}/test_compiling.py::test_what_it_takes_the_lua_finds_too",
    ),
    Defect(
        "T63",
        "the compiled filter reads behind the end of a body",
        f"{NATIVE}/model_name.c",
        find="if (at >= text.length || text.at[at] != '\"' || length == 0",
        replace="if (text.at[at] != '\"' || length == 0",
        tests=f"{GATEWAY}/test_compiling.py::test_what_it_takes_the_lua_finds_too",
    ),
    Defect(
        "T66",
        "slow senders take all memory of a predictor",
        "predictors/dormouse_predictors/arriving.py",
        find="if others and others",
        replace="if others < 0 and others",
        tests="tests/dormouse_predictors/test_arriving.py"
        "::test_one_user_may_not_fill_it_and_all_together_may_not_go_beyond",
    ),
)
