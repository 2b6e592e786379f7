"""Holes in limits, budgets and the ledger."""

from twins.defect import Defect

_ACCOUNTING = "control-plane/dormouse_control/authorizer/accounting"
_LEASES = "control-plane/dormouse_control/leases"
_HERE = "tests/dormouse_control/authorizer/accounting"

DEFECTS = [
    Defect(
        "T104",
        "a call is let through without money for the most that it can cost",
        f"{_ACCOUNTING}/shortage.py",
        find="money.free >= account.reserve:",
        replace="money.free >= -account.reserve:",
        tests=f"{_HERE}/test_accounts.py"
        "::test_parallel_calls_at_the_edge_of_a_budget_wait_for_each_other",
    ),
    Defect(
        "T104",
        "several authorizers let a last call through",
        f"{_ACCOUNTING}/shortage.py",
        find="money.free > 0 and not money.others):",
        replace="money.free > 0):",
        tests=f"{_HERE}/test_accounts.py"
        "::test_the_last_of_a_budget_waits_for_calls_of_other_authorizers",
    ),
    Defect(
        "T104",
        "what a call has cost is not taken from what is left",
        f"{_ACCOUNTING}/account.py",
        find="            self.money.use(cost, now)\n",
        replace="            pass\n",
        tests=f"{_HERE}/test_account.py"
        "::test_a_call_holds_its_share_until_it_has_ended_and_then_pays_what_it_used",
    ),
    Defect(
        "T104",
        "a budget lends what other leases hold of it",
        f"{_LEASES}/decisions.py",
        find="return self.limit - self.charged - self.others - self.mine",
        replace="return self.limit - self.charged - self.mine",
        tests="tests/attacks/test_three_authorizers.py"
        "::test_t104_a_budget_is_passed_by_less_than_one_call",
    ),
    Defect(
        "R20",
        "a call that never arrives holds its place for ever",
        f"{_ACCOUNTING}/account.py",
        find="return max(0, self._arrived_before - self._totals(now).began)",
        replace="return 0",
        tests=f"{_HERE}/test_account.py::test_a_call_that_never_arrives_is_lost_after_a_while",
    ),
    Defect(
        "R18",
        "calls of a dead predictor hold their places for ever",
        f"{_ACCOUNTING}/account.py",
        find="            return self._over(heard.meters) if now - heard.at > SILENCE_SECONDS "
        "else heard.meters\n",
        replace="            return heard.meters\n",
        tests=f"{_HERE}/test_account.py"
        "::test_a_predictor_that_fell_silent_runs_nothing_and_may_come_back",
    ),
    Defect(
        "R25",
        "callers are told of requests that another authorizer may take",
        f"{_ACCOUNTING}/pieces.py",
        find="found = self.free + (self._level(now) if alone else 0.0)",
        replace="found = self.free + self._level(now)",
        tests=f"{_HERE}/test_accounts.py"
        "::test_beside_other_authorizers_only_what_is_ours_is_promised",
    ),
    Defect(
        "R26",
        "without control plane limits are as wide as anybody likes",
        f"{_ACCOUNTING}/pieces.py",
        find="min(self.balance + grown, max(1.0, self.capacity / 8)))",
        replace="self.capacity)",
        tests=f"{_HERE}/test_accounts.py::test_without_control_plane_no_more_than_the_rate",
    ),
    Defect(
        "T78",
        "permits are left with the gateway beyond the calls at once",
        f"{_ACCOUNTING}/accounts.py",
        find="            share = min(share, slots.free // 4)\n",
        replace="            pass\n",
        tests=f"{_HERE}/test_accounts.py::test_permits_are_a_part_of_what_is_left_of_every_limit",
    ),
]
