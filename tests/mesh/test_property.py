"""What holds in whatever order events come: nothing unchecked is confirmed, and checks keep to their share."""

from hypothesis import given, settings
from hypothesis import strategies as st

from node.protocol.trust import (
    Accused,
    Admitted,
    Attested,
    Banned,
    Checked,
    Dropped,
    Event,
    Heard,
    Ledger,
    Repeated,
    Stage,
    Started,
    Ticked,
    TrustError,
    TrustSettings,
    Unbanned,
)

CLAIMS, PEERS, ITEMS = ("c0", "c1", "c2"), ("p0", "p1", "p2", "p3", "p4"), ("0", "19", "weights")
claims, peers, items = st.sampled_from(CLAIMS), st.sampled_from(PEERS), st.sampled_from(ITEMS)
proofs = st.sampled_from((Stage.WEIGHTS, Stage.REPLAY))
at = st.floats(0.0, 1e7)

EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Ticked, at=at, compute=st.floats(0.0, 50.0)),
    st.builds(
        Heard,
        at=at,
        claim=claims,
        peer=peers,
        task=st.just("t"),
        replayable=st.booleans(),
        enters=st.booleans(),
        surprise=st.floats(0.0, 1.0),
        duty=st.booleans(),
        audit=st.booleans(),
    ),
    st.builds(
        Started, at=at, claim=claims, cost=st.sampled_from((0.01, 0.05, 0.15, 1.0)), newcomer=st.booleans()
    ),
    st.builds(
        Checked, at=at, claim=claims, stage=proofs, passed=st.booleans(), complete=st.booleans(), item=items
    ),
    st.builds(
        Checked,
        at=at,
        claim=claims,
        stage=st.just(Stage.RETRAIN),
        passed=st.just(value=True),
        claimed=st.floats(0.0, 100.0),
        mine=st.floats(0.0, 100.0),
    ),
    st.builds(Repeated, at=at, claim=claims, stage=proofs, item=items, passed=st.booleans()),
    st.builds(
        Attested,
        at=at,
        claim=claims,
        attester=peers,
        stage=st.sampled_from(Stage),
        member=st.booleans(),
        worked=st.booleans(),
    ),
    st.builds(Accused, at=at, claim=claims, accuser=peers, stage=proofs, item=items, member=st.booleans()),
    st.builds(Admitted, at=at, claim=claims),
    st.builds(Dropped, at=at, claim=claims),
    st.builds(Banned, at=at, peer=peers, until=st.floats(2e7, 3e7), reason=st.just("r")),
    st.builds(Unbanned, at=at, peer=peers),
)


@settings(max_examples=300)
@given(st.lists(EVENTS, max_size=60), st.sampled_from((0.05, 0.15, 0.25)))
def test_nothing_unchecked_is_confirmed_and_checks_keep_to_their_share(
    events: list[Event], share: float
) -> None:
    ledger = Ledger(settings=TrustSettings(check_share=share))
    earned = spent = spent_on_newcomers = 0.0
    now = 0.0
    taken: list[Event] = []
    for event in events:
        now = max(now, event.at)
        try:
            ledger.apply(event)
        except TrustError:
            continue
        taken.append(event)
        if isinstance(event, Ticked):
            earned += event.compute
        elif isinstance(event, Started):
            spent += event.cost
            spent_on_newcomers += event.cost * event.newcomer
        assert spent <= share * earned + 1e-9
        assert spent_on_newcomers <= 0.2 * share * earned + 1e-9
        for claim, record in ledger.claims.items():
            if ledger.standing(claim, now) == "confirmed":
                assert record.weighed, "stage 1 was passed here"
                assert record.checked or any(v.stage is not Stage.WEIGHTS for v in record.attesters)
                assert not record.false
                assert not record.failures
                assert ledger.ban(record.peer, now) is None
    assert Ledger.replay(TrustSettings(check_share=share), taken) == ledger
