"""Which presets a run starts from."""

from node.service import SEEDS, starting_presets


def test_a_search_alone_starts_from_the_presets_in_their_order() -> None:
    assert starting_presets(None) == SEEDS


def test_nodes_of_a_mesh_start_from_the_same_presets_in_orders_of_their_own() -> None:
    orders = [starting_presets(f"12D3KooW{name}") for name in "abcdefghijkl"]
    assert all(sorted(order) == sorted(SEEDS) for order in orders)
    assert {order[0] for order in orders} == set(SEEDS)
    assert starting_presets("12D3KooWa") == orders[0]
