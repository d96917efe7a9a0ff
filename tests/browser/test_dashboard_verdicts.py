"""Verdicts on the dashboard: the list, withdrawal and paging, driven with AppTest, against the real API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from catalog.settings import MilvusSettings
from dashboard.review.duplicates_page import GROUPS, turn_page
from dashboard.review.question_queue import Queue, groups_of, question_of
from search_api.client import ApiError, Client
from search_api.schemas import Decision, DuplicateGroup, PutVerdict
from tests.support.data.exports import MakeExport
from tests.support.data.insight_files import duplicate, suggestion, write_insights
from tests.support.data.models import fake_embedder
from tests.support.paths import ROOT
from tests.support.servers.serving import make_app, serving

APP = ROOT / "dashboard" / "app.py"
DECISIONS: tuple[Decision, ...] = ("skip", "reject", "accept")


@pytest.fixture
def api(
    make_export: MakeExport, lite: MilvusSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """Run an API with three suggestions, and one more duplicate group than a page holds."""
    app = make_app(make_export(listings=2 * GROUPS + 2, photos_each=1), fake_embedder(), lite)
    suggestions = [suggestion(f"l{number}", "Garden", "Home") for number in (1, 3, 5)]
    groups = [duplicate(f"l{number}", f"l{number + 1}") for number in range(0, 2 * GROUPS + 2, 2)]
    write_insights(tmp_path / "insights", app.state.catalogue.photos, suggestions, groups)
    with serving(app) as address, Client(address) as api:
        monkeypatch.setenv("MARKETLENS_DASHBOARD__API_URL", address)
        st.cache_data.clear()
        yield api


@pytest.fixture
def decided(api: Client) -> AppTest:
    """Open the list of three verdicts: newest first, the skipped one last."""
    for item, decision in zip(api.suggestions().suggestions, DECISIONS, strict=True):
        api.decide(PutVerdict(question=question_of(item), decision=decision))
    app = page("review/wrong_category_page.py", view="Decided")
    assert len(app.dataframe[0].value) == 3
    return app


def page(name: str, **params: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60).run().switch_page(name)
    for param, value in params.items():
        app.query_params[param] = value
    return run_without_error(app)


def run_without_error(changed: AppTest | Button) -> AppTest:
    app = changed.run()
    assert not app.exception, app.exception[0].message
    return app


def select_row(app: AppTest, row: int) -> None:
    app.session_state[app.dataframe[0].key] = {"selection": {"rows": [row]}}
    assert run_without_error(app).button(key="withdraw").label == "Withdraw 1"


@pytest.mark.parametrize("row", [0, 1, 2])
def test_only_the_selected_verdict_is_withdrawn(api: Client, decided: AppTest, row: int) -> None:
    """Exactly one verdict is withdrawn, and no other one becomes selected in its place."""
    before = api.verdicts().verdicts
    select_row(decided, row)
    run_without_error(decided.button(key="withdraw").click())
    assert api.verdicts().verdicts == [*before[:row], *before[row + 1 :]]
    assert decided.button(key="withdraw").disabled


def test_another_list_starts_without_a_selection(decided: AppTest) -> None:
    """A row that is selected among all verdicts is not selected among the accepted ones, and may not exist there."""
    select_row(decided, 2)
    decided.session_state["decision"] = "accept"
    run_without_error(decided)
    assert len(decided.dataframe[0].value) == 1
    assert decided.button(key="withdraw").disabled


def test_a_verdict_that_is_already_withdrawn(api: Client, decided: AppTest) -> None:
    """Withdrawing a verdict that somebody else has already withdrawn is no error and withdraws no other one."""
    newest, *others = api.verdicts().verdicts
    select_row(decided, 0)
    api.withdraw(newest.verdict_id)
    run_without_error(decided.button(key="withdraw").click())
    assert not decided.error
    assert api.verdicts().verdicts == others


def test_a_refused_withdrawal_shows_an_error(api: Client, decided: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says why, and the verdict stays."""

    def refuse(*_: object) -> None:
        raise ApiError("This key may only read.", status=403)

    monkeypatch.setattr(Client, "withdraw", refuse)
    select_row(decided, 0)
    run_without_error(decided.button(key="withdraw").click())
    assert [error.value for error in decided.error] == ["Not every verdict was withdrawn."]
    assert any(text.value == "This key may only read." for text in decided.text)
    assert len(api.verdicts().verdicts) == 3


@pytest.mark.usefixtures("api")
def test_the_next_page_of_groups() -> None:
    """It starts after the last group on screen, and the URL contains the start."""
    app = page("review/duplicates_page.py")
    run_without_error(app.button(key="next").click())
    assert app.query_params["after"] == str(GROUPS)
    assert app.button(key="next").disabled


def test_the_next_page_after_everything_was_decided(api: Client) -> None:
    """A press on an outdated pager finds no group, which is no error."""
    queue = Queue(api, lambda after: groups_of(api.duplicates(after=after, limit=2 * GROUPS)), [])
    while groups := queue.first(GROUPS):
        queue.decide(groups[0], "accept")
    turn_page(queue)


def test_the_next_page_of_an_unavailable_api(api: Client) -> None:
    """The press raises no error: the page that is drawn next says that the API does not answer."""

    def fetch(after: int | None) -> tuple[list[DuplicateGroup], int, int | None]:
        if after is not None:
            raise ApiError("No answer.")
        return groups_of(api.duplicates(limit=1))

    turn_page(Queue(api, fetch, []))
