"""Settings that every test shares."""

from hypothesis import settings

# A deadline times the machine, not the code: first calls import slow libraries, and test machines are busy.
settings.register_profile("eqmesh", deadline=None)
settings.load_profile("eqmesh")
