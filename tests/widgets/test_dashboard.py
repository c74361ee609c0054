"""One dashboard for the same sources, whatever the order in which cells run."""

from __future__ import annotations

import pytest

import regimeflow as rf


def run(folder, **options):
    venue = rf.venues.Simulated(rf.datasets.synthetic(n=100), **{"speed": None, **options})
    return rf.LiveSession(lambda ctx, bar: None, venue, run_dir=folder)


@pytest.fixture
def made():
    kept = []

    def make(*sources):
        kept.append(rf.Dashboard(*sources))
        return kept[-1]

    yield make
    for one in kept:
        one.close()


def test_the_same_sources_give_the_same_dashboard(tmp_path, made):
    session = run(tmp_path / "a").run(progress=False)
    other = run(tmp_path / "b").run(progress=False)
    first = made(session)
    assert made(session) is first
    assert made([session]) is first
    both = made(session, other)
    assert both is not first
    assert both.sessions == (session, other)
    first.close()
    assert made(session) is not first


def test_a_run_that_is_named_twice_is_shown_once(tmp_path, made):
    session = run(tmp_path / "a").run(progress=False)
    twice = made(session, [session, session.run_dir, str(session.run_dir)])
    assert twice.sessions == (session,)
    assert made(session) is twice


def test_a_new_session_of_the_same_directory_has_a_panel_of_its_own(tmp_path, made):
    first = made(run(tmp_path / "a").run(progress=False))
    again = made(tmp_path / "a")
    assert again is not first
    assert again.sessions[0].status.phase == "stopped"


def test_without_a_notebook_it_is_text(tmp_path, made):
    dashboard = made(run(tmp_path / "a").run(progress=False))
    assert repr(dashboard) == "<Dashboard of <lambda>: stopped>"
    assert "SIMULATED" in str(dashboard)
    assert "<b>SIMULATED</b>" in dashboard.html
    assert dashboard.freeze() is dashboard


@pytest.mark.parametrize(("sources", "error"), [((), "needs"), ((7,), "not int"), (([],), "needs")])
def test_what_is_no_source_is_refused(sources, error):
    with pytest.raises(rf.ConfigError, match=error):
        rf.Dashboard(*sources)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(rf.SessionError, match="no run"):
        rf.Dashboard(tmp_path)


def test_a_session_that_is_not_started_yet_is_followed_once_it_is(tmp_path, made):
    session = run(tmp_path / "a")
    dashboard = made(session)
    assert repr(dashboard) == "<Dashboard of <lambda>: new>"
    session.run(progress=False)
    dashboard._pump.update()
    assert repr(dashboard) == "<Dashboard of <lambda>: stopped>"


def test_a_session_that_was_stopped_is_shown_as_stopped_at_once(tmp_path, made):
    session = run(tmp_path / "a", speed=60.0)
    dashboard = made(session)
    dashboard._pump.stop()  # nobody but those who ask below follows it
    session.start()
    assert repr(dashboard) == "<Dashboard of <lambda>: running>"
    assert " · trading" in str(dashboard)
    session.stop()
    assert repr(dashboard) == "<Dashboard of <lambda>: stopped>"
    assert " · stopped" in str(dashboard)
    assert " &middot; stopped" in dashboard.html


def test_what_is_saved_holds_nothing_that_is_not_seen(tmp_path, made):
    def strategy(ctx, bar):
        ctx.log("a\x1b[2Jb\u202ec\U000e0041d")

    strategy.__name__ = "mean\x1b[2J\u202e\U000e0041"
    venue = rf.venues.Simulated(rf.datasets.synthetic(n=20), speed=None)
    session = rf.LiveSession(strategy, venue, run_dir=tmp_path / "a").run(progress=False)
    dashboard = made(session)
    for text in (dashboard.html, str(dashboard), repr(dashboard), session._repr_html_()):
        assert "mean\ufffd[2J\ufffd\ufffd" in text
        assert not {"\x1b", "\u202e", "\U000e0041"} & set(text)
