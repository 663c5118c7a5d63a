import pytest

from graphql_service.web.media_types import choose_media_type

OFFERED = ("application/json", "application/graphql-response+json", "text/html")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("  ", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/*", "text/html"),
        ("Text/HTML", "text/html"),
        ("application/graphql-response+json, application/json;q=0.9", "application/graphql-response+json"),
        ("application/graphql-response+json;q=0.5, application/json;q=0.9", "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", "text/html"),
        ("application/json;q=0, */*;q=0.1", "application/graphql-response+json"),
        ("*/*;q=0.1, application/json;q=0", "application/graphql-response+json"),
        ("application/json; charset=utf-8", "application/json"),
        ('application/json; charset="UTF-8"', "application/json"),
        ("application/json; charset=utf-16", None),
        ("image/png", None),
        ("*/html", None),
        ("application/json;q=2", None),
        ("application/json;q=much", None),
        ("application/json;q=0", None),
        ("nonsense, ,;;q, text/html;q=0.1", "text/html"),
    ],
)
def test_what_is_asked_for_is_chosen(accept: str | None, chosen: str | None) -> None:
    assert choose_media_type(accept, OFFERED) == chosen
