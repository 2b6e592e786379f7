"""Which variables predictors are given: what fetching needs, and only where it does."""

import pytest

from dormouse_control.nest.credentials import for_sources, for_zygotes

ENVIRONMENT = {
    "PATH": "/bin",
    "HOME": "/root",
    "LC_ALL": "C",
    "CUDA_VISIBLE_DEVICES": "0",
    "HF_ENDPOINT": "https://mirror.example",
    "HF_TOKEN": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AZURE_CLIENT_SECRET": "secret",
    "GOOGLE_APPLICATION_CREDENTIALS": "/secret.json",
    "https_proxy": "http://user:secret@proxy.example",
    "DORMOUSE_DATABASE_URL": "postgresql://user:secret@db.example/dormouse",
    "DORMOUSE_SMTP_URL": "smtps://user:secret@mail.example",
    "PGPASSWORD": "secret",
}


def test_a_zygote_has_no_secret() -> None:
    found = for_zygotes(ENVIRONMENT)
    assert set(found) == {"PATH", "HOME", "LC_ALL", "CUDA_VISIBLE_DEVICES", "HF_ENDPOINT"}
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        ([], set()),
        (["builtin", "file", "package"], set()),
        (["hf"], {"HF_TOKEN", "https_proxy"}),
        (["https", "builtin"], {"https_proxy"}),
        (["s3"], {"AWS_SECRET_ACCESS_KEY", "https_proxy"}),
        (["gs"], {"GOOGLE_APPLICATION_CREDENTIALS", "https_proxy"}),
        (["abfs"], {"AZURE_CLIENT_SECRET", "https_proxy"}),
        (["hf", "s3"], {"HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "https_proxy"}),
    ],
)
def test_a_service_is_told_what_its_sources_need(sources: list[str], names: set[str]) -> None:
    assert set(for_sources(sources, ENVIRONMENT)) == names


def test_for_a_place_that_we_do_not_know_all_that_is_for_fetching_is_told() -> None:
    found = for_sources(["ftp"], ENVIRONMENT)
    assert {"HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AZURE_CLIENT_SECRET"} <= set(found)
    assert not {name for name in found if name.startswith(("DORMOUSE_", "PG"))}
