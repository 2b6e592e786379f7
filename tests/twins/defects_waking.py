"""Holes where predictors and zygotes die or hang."""

from twins.defect import Defect

_NEST = "control-plane/dormouse_control/nest"
_REQUESTS = "control-plane/dormouse_control/requests"

DEFECTS = [
    Defect(
        "R18",
        "an answer that nobody got is charged by estimate",
        "predictors/dormouse_predictors/worker.py",
        find="        if not running.job.stream:\n            return\n",
        replace="",
        tests="tests/dormouse_predictors/test_worker.py"
        "::test_r18_an_answer_that_would_be_given_whole_costs_nothing_if_we_die",
    ),
    Defect(
        "R19",
        "a zygote that hangs holds its services",
        f"{_NEST}/predictor.py",
        find="return self._unheard_checks > checks",
        replace="return False",
        tests="tests/dormouse_control/nest/test_service.py"
        "::test_r19_a_wake_in_which_nothing_moves_any_more_is_given_up",
    ),
    Defect(
        "R19",
        "a predictor that stops while it loads holds its service",
        f"{_NEST}/predictor.py",
        find='if self._silent_checks is None or self.state == "gone":',
        replace='if self._silent_checks is None or self.state in ("starting", "gone"):',
        tests="tests/dormouse_control/nest/test_service.py"
        "::test_r19_a_wake_in_which_nothing_moves_any_more_is_given_up",
    ),
    Defect(
        "R19",
        "a zygote that is ended is asked once more",
        f"{_NEST}/zygote.py",
        find="            self._process.kill()\n        self._process = None\n",
        replace="            self._process.kill()\n",
        tests="tests/dormouse_control/nest/test_zygote.py"
        "::test_r19_a_zygote_that_hangs_can_be_replaced_at_once",
    ),
    Defect(
        "R42",
        "a request may end one predictor after the other",
        f"{_REQUESTS}/claims.py",
        find="AsyncRequest.interruptions + int(interrupted)",
        replace="AsyncRequest.interruptions",
        tests="tests/dormouse_control/requests/test_worker.py"
        "::test_r42_one_that_three_predictors_did_not_survive_is_refused_and_others_go_on",
    ),
    Defect(
        "R42",
        "a request that ends predictors takes its neighbours with it to the last",
        f"{_REQUESTS}/decisions.py",
        find="            taken.add(each.service)\n",
        replace="",
        tests="tests/dormouse_control/requests/test_decisions.py"
        "::test_r42_those_that_two_processes_did_not_survive_run_one_at_a_time",
    ),
    Defect(
        "R42",
        "a predictor that died looks like one that is not there",
        "control-plane/dormouse_control/gateway/replies.py",
        find="connection_termination",
        replace="something_else",
        tests="tests/dormouse_control/gateway/test_envoy.py"
        "::test_r42_a_predictor_that_ends_while_it_answers_is_told_from_one_that_is_not_there",
    ),
]
