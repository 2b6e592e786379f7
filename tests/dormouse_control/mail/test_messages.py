"""What mail says."""

import pytest

from dormouse_control.mail.messages import write
from dormouse_control.mail.models import MailKind


@pytest.mark.parametrize("kind", list(MailKind))
@pytest.mark.parametrize("url", ["https://models.example", "https://example.org/models/"])
def test_every_link_begins_with_the_platforms_address(kind: MailKind, url: str) -> None:
    message = write(kind, to="ada@example.org", url=url, token="ott_1.x", about="second_factor")

    links = [word for word in message.text.replace(",", " ").split() if "://" in word]
    assert links or kind is MailKind.INVITATION
    assert all(link.startswith(url.rstrip("/")) for link in links)
    assert "//account" not in message.text
    assert "None" not in message.text
    assert message.text.isascii()


def test_links_keep_the_token_where_servers_do_not_see_it() -> None:
    message = write(
        MailKind.RESET_PASSWORD, to="ada@example.org", url="https://x.example", token="ott_1.x"
    )

    assert "  https://x.example/account/reset#token=ott_1.x\n" in message.text
    assert message.subject == "Dormouse: Set a new password"
