"""What may be pruned, by examples and by 1,000 random histories against a model of the rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wepp_backup.catalog import Entry, Manifest
from wepp_backup.retention import expired, find_collapse

DAY = timedelta(days=1)
NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


def entry(
    age: float, rows: int = 5, tables: int = 2, *, ours: bool = True, manual: bool = False, verified: bool = True,
    fails: str = "", accepted: bool = False,
) -> Entry:  # fmt: skip
    """Return a dump of so many days ago, with rows in the first of its tables."""
    at = NOON - age * DAY
    held = {f"public.t{number}": rows if number == 0 else 0 for number in range(tables)}
    manifest = Manifest(at, rows=rows, tables=held, not_restorable=fails, collapse_accepted=accepted)
    return Entry(f"at {age}", "", at, 0, manual, ours, verified, manifest if verified else None)


def ages(entries: list[Entry], keep: float = 7, least: int = 3, percent: int = 50) -> list[float]:
    ordered = sorted(entries, key=lambda each: each.created, reverse=True)
    return [(NOON - each.created) / DAY for each in expired(ordered, NOON, keep * DAY, least, percent)]


def collapse(*entries: Entry, percent: int = 50) -> str:
    return str(
        find_collapse(sorted(entries, key=lambda each: each.created, reverse=True), NOON, percent) or ""
    )


def test_what_is_older_than_the_days_to_keep_goes_and_so_do_dumps_by_hand() -> None:
    fresh = [entry(each) for each in (0, 1, 2)]
    by_hand = [entry(8.5, ours=False, manual=True, verified=False), entry(6, ours=False, manual=True)]
    others = entry(900, ours=False, verified=False)
    assert ages([*fresh, entry(7), entry(8), entry(9, verified=False), *by_hand, others]) == [8, 8.5, 9]


def test_so_many_generations_stay_whatever_their_age() -> None:
    assert ages([entry(each) for each in (8, 9, 10, 11)]) == [11]
    assert ages([entry(each) for each in (8, 9, 10, 11)], least=1) == [9, 10, 11]
    # Neither of these is one to rely on.
    assert ages([entry(0, verified=False), entry(1, fails="no"), *map(entry, (8, 9, 10, 11))]) == [11]


def test_nothing_goes_while_nothing_is_verified() -> None:
    assert ages([entry(8, verified=False), entry(9, ours=False, manual=True, verified=False)]) == []


def test_what_is_from_the_future_does_not_push_out_what_is_not() -> None:
    assert ages([entry(-30), entry(-31), entry(-32), entry(8), entry(9)]) == []


def test_four_old_backups_outlive_an_empty_one_and_what_follows_it() -> None:
    old = [entry(each, 50000, 12) for each in (8, 9, 10, 11)]
    assert ages([*old, entry(0, 0, 0)]) == []
    assert ages([*old, entry(0, 0, 0), entry(1, 0, 12), entry(2, 300, 12)]) == []
    assert "from 50000 rows in 12 tables (at 8) to 0 in 0 (at 0)" in collapse(
        *old, entry(0, 0, 0), entry(1, 0, 0)
    )


def test_after_a_collapse_that_was_accepted_the_rule_is_the_ordinary_one() -> None:
    old = [entry(each, 50000, 12) for each in (8, 9, 10, 11)]
    accepted = [entry(0, 9, 1), entry(1, 7, 1, accepted=True)]
    assert collapse(*old, *accepted) == ""
    assert ages([*old, *accepted]) == [9, 10, 11]


def test_what_collapsed_in_between_is_none_of_the_generations_that_stay() -> None:
    assert ages([entry(0, 5000), entry(1, 0), entry(2, 0), entry(9, 5000), entry(10, 5000)]) == []


@pytest.mark.parametrize(
    ("before", "after", "collapsed"),
    [
        ((1000, 2), (499, 2), True),
        ((1000, 2), (500, 2), False),
        ((999, 2), (1, 2), False),  # a small database is not nagged
        ((999, 2), (0, 2), True),
        ((1, 1), (0, 0), True),
        ((0, 1), (0, 0), True),
        ((0, 0), (0, 0), False),
        ((9, 10), (9, 4), True),
        ((9, 10), (9, 5), False),
        ((9, 9), (9, 1), False),
        ((9, 1), (50000, 40), False),
    ],
)
def test_a_collapse_is_all_of_it_or_a_share_of_what_was_no_trifle(
    before: tuple[int, int], after: tuple[int, int], collapsed: bool
) -> None:
    assert bool(collapse(entry(1, *before), entry(0, *after))) == collapsed


def test_without_a_share_only_nothing_at_all_is_a_collapse() -> None:
    assert collapse(entry(1, 50000, 12), entry(0, 1, 1), percent=0) == ""
    assert collapse(entry(1, 50000, 12), entry(0, 0, 12), percent=0) != ""


# ---- the rule against a model of it ----


steps = st.lists(
    st.tuples(
        st.sampled_from([0.5, 1, 24, 24, 24, 100, -48]),  # hours that went by; somebody may set the clock
        st.sampled_from([0, 0, 40, 600, 5000, 5000, 6000, 50000]),
        st.sampled_from(["good", "good", "good", "good", "not restorable", "accepted"]),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(steps, st.integers(0, 9), st.integers(1, 5), st.sampled_from([0, 50, 90]))
def test_no_history_of_backups_and_prunes_breaks_the_rule(
    history: list[tuple[float, int, str]], keep: int, least: int, percent: int
) -> None:
    now, there = NOON, dict[datetime, Entry]()
    for hours, rows, kind in history:
        now += timedelta(hours=hours)
        if now in there:
            continue
        tables = len(str(rows)) if rows else 0
        there[now] = entry(
            (NOON - now) / DAY,
            rows,
            tables,
            fails="no" if kind == "not restorable" else "",
            accepted=kind == "accepted",
        )
        ordered = [there[at] for at in sorted(there, reverse=True)]
        gone = expired(ordered, now, keep * DAY, least, percent)

        # The model, told in other words: what is good is found from the oldest on.
        past = [
            at
            for at in sorted(there)
            if at <= now + timedelta(minutes=1) and _of(there[at]).not_restorable == ""
        ]
        good: list[datetime] = []
        for at in past:
            one = _of(there[at])
            before = _of(there[good[-1]]) if good else None
            fell = before is not None and (
                (before.rows > 0 and one.rows == 0)
                or (before.rows >= 1000 and one.rows / before.rows < percent / 100)
                or (len(before.tables) > 0 and len(one.tables) == 0)
            )
            if not fell or one.collapse_accepted:
                good.append(at)
        collapsed = bool(past) and past[-1] not in good
        assert bool(find_collapse(ordered, now, percent)) == collapsed
        for each in gone:
            assert not collapsed
            assert now - each.created > keep * DAY
            assert each.created not in good[-least:]
        left = [at for at in good if there[at] not in gone]
        assert len(left) >= min(least, len(good))
        if good and not collapsed:  # and nothing stays without a reason
            for at, each in there.items():
                assert each in gone or now - at <= keep * DAY or at in good[-least:]
        for each in gone:
            del there[each.created]


def _of(found: Entry) -> Manifest:
    assert found.manifest
    return found.manifest
