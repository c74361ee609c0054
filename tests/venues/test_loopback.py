"""The loopback adapter is an argument of detached sessions, so it can be copied elsewhere."""

import pickle

import pytest

import regimeflow as rf
from regimeflow.errors import VenueError


def test_a_copy_leads_to_the_same_venue_and_has_no_connection_yet() -> None:
    venue = rf.venues.Loopback(port=7001, settle_ms=20.0)
    copy = pickle.loads(pickle.dumps(venue))
    assert repr(copy) == repr(venue)
    assert copy.capabilities == venue.capabilities
    with pytest.raises(VenueError, match="there is no connection"):
        copy.balances()
    copy.close()
