import json

import numpy as np
import pytest
from scenes import write_coco

from multiposenet.commands import benchmark
from multiposenet.errors import UserError
from test_infer import TwoPeople


def test_tables_and_json(tmp_path, monkeypatch, capsys):
    write_coco(tmp_path, 2, size=64, people=1)
    monkeypatch.setattr(benchmark, "load_engine", lambda name: TwoPeople())
    monkeypatch.setattr(benchmark, "time_start", lambda weights, path: dict(weights=weights))
    monkeypatch.setattr(benchmark, "run_model", lambda model, batch: seen.append(batch.shape))
    seen = []
    assert benchmark.main([str(tmp_path / "images"), "--weights", "a.onnx", "b", "--size", "64", "96", "--batch", "1", "3",
                           "--rounds", "2", "--output", str(tmp_path / "figures.json")]) == 0
    assert seen == 6 * [(1, 64, 96, 3)] + 6 * [(3, 64, 96, 3)]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [(row["weights"], row["batch"]) for row in figures["network"]] == [("a.onnx", 1), ("b", 1), ("a.onnx", 3), ("b", 3)]
    assert set(figures["whole"][0]) == {"weights", "read_s", "predict_s", "draw_s"}
    assert "| weights | height | width |" in capsys.readouterr().out


def test_a_fixed_graph_runs_where_it_fits(monkeypatch):
    model = TwoPeople()
    model.size = (64, 96)
    fits, wrong = np.zeros((1, 64, 96, 3), "uint8"), np.zeros((1, 96, 64, 3), "uint8")
    assert benchmark.time_network({"a": model}, fits, 1, 1)
    assert not benchmark.time_network({"a": model}, fits, 2, 1) and not benchmark.time_network({"a": model}, wrong, 1, 1)


def test_a_process_that_fails_is_no_figure():
    with pytest.raises(UserError, match="infer.py fails on gone.jpg"):
        benchmark.time_start("nothing.onnx", "gone.jpg")
