from sage_pl.evaluation.floors import best_floor, floors_by, is_floor, label, standing

METRICS = {
    "floor/popularity/full/ndcg@10": 0.01,
    "floor/popularity/full/ndcg@10/item_tail": 0.5,
    "floor/popularity/sampled100/ndcg@10": 0.2,
    "floor/neighbours/full/ndcg@10": 0.03,
    "floor/neighbours/sampled100/ndcg@10": 0.1,
    "test/full/ndcg@10": 0.02,
    "test/sampled100/ndcg@10": 0.3,
}


def test_the_best_floor_is_that_of_the_protocol() -> None:
    assert floors_by(METRICS, "full") == {"neighbours": 0.03, "popularity": 0.01}
    assert best_floor(METRICS, "full") == "neighbours"
    assert best_floor(METRICS, "sampled100") == "popularity"
    assert best_floor({"floor/transitions/full/hr@5": 0.1}, "full") == "popularity"


def test_a_run_below_its_floor_is_told() -> None:
    floors = "Floors by ndcg@10: neighbours 3.00, popularity 1.00."
    assert standing(METRICS, "full") == f"{floors} Below the floor neighbours: 2.00 < 3.00."
    assert standing(METRICS | {"test/full/ndcg@10": 0.03}, "full") == floors
    assert "Below" not in standing(METRICS, "sampled100")
    assert standing({"test/full/hr@5": 0.1}, "full") == ""


def test_rows_of_floors_are_known_by_their_label() -> None:
    assert is_floor(label("repeat"))
    assert is_floor("popularity"), "as earlier versions named the row"
    assert not is_floor("neighbours"), "a run of that method"
