from catalog.runs.claim_watch import ClaimWatch


def test_a_claim_lives_while_it_moves() -> None:
    """A claim that changes is somebody's; one that has stood still for six seconds is dead, and no claim is none."""
    watch = ClaimWatch()
    assert not watch.is_alive("", 0.0)
    assert watch.is_alive("beat 1", 1.0)
    assert watch.is_alive("beat 2", 6.0)
    assert watch.is_alive("beat 2", 11.0)
    assert not watch.is_alive("beat 2", 12.0)
    assert watch.is_alive("beat 3", 13.0)
    assert not watch.is_alive("", 14.0)
