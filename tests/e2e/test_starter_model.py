"""The shipped model's evaluation, asked through the whole platform in place of llama.cpp alone."""

from dormouse_predictors.starter.corpus import load_facts, split


def test_nine_of_ten_held_out_phrasings_are_answered_over_http(platform, account):
    held_out = split(load_facts(), 2026).held_out
    right = 0
    for question in held_out:
        answer = platform.chat(account.key, question.text)
        assert answer.status_code == 200, answer.text
        text = answer.json()["choices"][0]["message"]["content"]
        right += question.fact.answered_by(text)
    assert len(held_out) > 200
    assert right / len(held_out) >= 0.9
