import json

import numpy as np
import pytest
from scenes import write_coco

from multiposenet.commands import benchmark
from multiposenet.commands.make_results import main as make_results
from multiposenet.engines import Peer
from multiposenet.errors import UserError
from test_infer import TwoPeople


def test_tables_and_json(tmp_path, monkeypatch, capsys):
    write_coco(tmp_path, 2, size=64, people=1)
    monkeypatch.setattr(benchmark, "load_engine", lambda name: TwoPeople())
    monkeypatch.setattr(benchmark, "time_start", lambda weights, path: dict(weights=weights))
    monkeypatch.setattr(benchmark, "run_model", lambda model, batch: seen.append(batch.shape) or {"count": len(batch) * [2]})
    seen = []
    assert benchmark.main([str(tmp_path / "images"), "--weights", "a.onnx", "b", "--size", "64", "96", "--batch", "1", "3",
                           "--rounds", "2", "--output", str(tmp_path / "figures.json")]) == 0
    assert seen == 6 * [(1, 64, 96, 3)] + 6 * [(3, 64, 96, 3)]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [(row["weights"], row["batch"]) for row in figures["network"]] == [("a.onnx", 1), ("b", 1), ("a.onnx", 3), ("b", 3)]
    assert figures["network"][0]["people"] == 2 and not figures["crowds"] and (tmp_path / "figures.png").stat().st_size
    assert set(figures["whole"][0]) == {"weights", "read_s", "predict_s", "draw_s"}
    assert figures["date"] and figures["versions"]["numpy"] == np.__version__
    table = "| weights | height | width |"
    assert table in capsys.readouterr().out
    assert make_results([f"speed={tmp_path / 'figures.json'}", "--output", str(tmp_path / "page.md")]) == 0
    page = (tmp_path / "page.md").read_text()
    assert "### speed" in page and table in page and f"numpy {np.__version__}" in page and figures["command"] in page


def test_a_page_of_something_else_than_a_benchmark(tmp_path, capsys):
    (tmp_path / "old.json").write_text('{"network": []}')
    assert make_results([str(tmp_path / "old.json"), "--output", str(tmp_path / "page.md")]) == 2
    assert "old.json: not written by benchmark.py, or by an older version" in capsys.readouterr().err


def test_a_training_is_rehearsed_for_the_table(tmp_path, monkeypatch, capsys):
    write_coco(tmp_path, 6, size=64, people=2)
    (tmp_path / "prn.yaml").write_text(json.dumps({
        "preset": "lite", "model": {"prn_hidden": 4}, "train": {"workers": 0, "batch_size": 6},
        "data": {"sets": [{"annotations": "annotations.json", "repeat": 20}], "validation": 0}}))
    monkeypatch.setattr(benchmark, "load_engine", lambda name: TwoPeople())
    monkeypatch.setattr(benchmark, "time_start", lambda weights, path: dict(weights=weights))
    assert benchmark.main([str(tmp_path / "images"), "--size", "64", "96", "--rounds", "1",
                           "--train", "prn", str(tmp_path / "prn.yaml"), "--set", f"data.root={tmp_path}",
                           "--output", str(tmp_path / "f.json")]) == 0
    [row] = json.loads((tmp_path / "f.json").read_text())["training"]
    assert row["head"] == "prn" and row["batch"] == 6 and row["loaded_per_s"] > 0
    assert row["trained_per_s"] == pytest.approx(6 / row["step_s"])
    assert "| prn |  | 6 |" in capsys.readouterr().out


def test_a_training_that_fails_leaves_the_other_figures(tmp_path, monkeypatch):
    write_coco(tmp_path, 1, size=64, people=1)
    monkeypatch.setattr(benchmark, "load_engine", lambda name: TwoPeople())
    monkeypatch.setattr(benchmark, "time_start", lambda weights, path: dict(weights=weights))
    (tmp_path / "prn.yaml").write_text("preset: lite")  # without data
    assert benchmark.main([str(tmp_path / "images"), "--size", "64", "96", "--rounds", "1", "--train", "prn",
                           str(tmp_path / "prn.yaml"), "--output", str(tmp_path / "f.json")]) == 2
    assert json.loads((tmp_path / "f.json").read_text())["network"]


@pytest.mark.parametrize("training, says", [(("prn", "none.yaml"), "none.yaml"), (("os", "none.yaml"), "no such head")])
def test_a_wrong_training_is_refused_before_anything_is_measured(capsys, training, says):
    assert benchmark.main(["none.jpg", "--train", *training]) == 2
    assert says in capsys.readouterr().err


def test_a_fixed_graph_runs_where_it_fits(monkeypatch):
    model = TwoPeople()
    model.size = (64, 96)
    fits, wrong = np.zeros((1, 64, 96, 3), "uint8"), np.zeros((1, 96, 64, 3), "uint8")
    assert benchmark.time_network({"a": model}, fits, 1, 1)
    assert not benchmark.time_network({"a": model}, fits, 2, 1) and not benchmark.time_network({"a": model}, wrong, 1, 1)


class Counts:
    """Finds as many people as the canvas has white dots."""

    def __call__(self, batch):
        return {"count": np.sum(batch.max(axis=-1) > 40, axis=(1, 2))}


def test_crowds_are_made_of_the_pictures():
    dot = np.zeros((2, 60, 60, 3), "uint8")
    dot[:, 15:25, 15:25] = 255  # 100 "people", scaled with the picture
    counts = [Counts()(canvas[None])["count"][0] for canvas in benchmark.crowded({"a": Counts()}, dot, [0, 1, 90])]
    assert counts == [0, 100]
    rows = benchmark.time_network({"a": Counts()}, dot, 2, 1)
    assert rows[0]["people"] == 100


def test_nobody_asked_for_crowds_or_no_model_of_the_size():
    fixed = TwoPeople()
    fixed.size = (32, 32)
    canvases = np.zeros((1, 64, 96, 3), "uint8")
    assert benchmark.crowded({"a": Counts()}, canvases, []) == benchmark.crowded({"a": fixed}, canvases, [1]) == []


def test_a_process_that_fails_is_no_figure():
    with pytest.raises(UserError, match="infer.py fails on gone.jpg"):
        benchmark.time_start("nothing.onnx", "gone.jpg")


def test_a_peer_takes_turns_at_its_own_size(tmp_path):
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    for name, sides in (("fixed", [1, 3, 32, 64]), ("free", [1, 3, "height", "width"])):
        shape = [onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, sides) for end in ("image", "same")]
        graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["image"], ["same"])], name, shape[:1], shape[1:])
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 15)], ir_version=8),
                  tmp_path / f"{name}.onnx")
    peer = Peer(tmp_path / "fixed.onnx")
    canvases = np.zeros((1, 64, 96, 3), "uint8")
    rows = benchmark.time_network({"ours": TwoPeople(), "theirs": peer}, canvases, 1, 2)
    assert [(row["height"], row["width"]) for row in rows] == [(64, 96), (32, 64)]
    assert rows[0]["x theirs"] == pytest.approx(rows[1]["median_s"] / rows[0]["median_s"]) and rows[1]["x theirs"] == 1
    assert not benchmark.time_network({"theirs": peer}, canvases, 2, 1)
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    for name, says in (("free", "fixed height and width"), ("broken", "cannot open"), ("gone", "cannot open")):
        with pytest.raises(UserError, match=f"{name}.onnx: .*{says}"):
            Peer(tmp_path / f"{name}.onnx")
