from pathlib import Path

import numpy as np
import onnx
import pytest

from medai.core.error import MedaiError
from medai.inference.candidate import open_candidate
from medai.inference.mlflow_model import model_in
from medai.tracking.run import _client
from tests.inference.conftest import WriteContract, WriteModel

PIXELS = np.random.default_rng(1).integers(0, 256, (2, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder of runs with MLflow's default store, and a run in it."""
    runs = tmp_path_factory.mktemp("runs")
    client = _client(f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.create_experiment("vendors", artifact_location=(runs / "artifacts").as_uri())
    return runs, client.create_run(experiment).info.run_id


def _mlmodel(folder: Path, model: Path, flavor: str = "onnx") -> Path:
    """What mlflow.onnx.log_model leaves, without its ten seconds."""
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model.read_bytes())
    (folder / "MLmodel").write_text(f"flavors:\n  {flavor}:\n    data: model.onnx\n", encoding="utf-8")
    return folder


@pytest.mark.usefixtures("no_network")
def test_a_model_of_a_run_or_of_the_registry_is_fetched_and_run(
    store: tuple[Path, str], write_model: WriteModel, write_contract: WriteContract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    from mlflow import MlflowClient

    (runs, run), model, contract = store, write_model(), write_contract()
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}", f"sqlite:///{runs / 'mlflow.db'}")
    logged = _mlmodel(tmp_path / "model", model)
    (logged / "contract.yaml").write_bytes(contract.read_bytes())
    client.log_artifacts(run, str(logged), "model")
    client.log_artifact(run, str(model), "plain")
    client.create_registered_model("chest")
    client.create_model_version("chest", f"{client.get_run(run).info.artifact_uri}/model", run)
    client.set_registered_model_alias("chest", "approved", "1")
    expected = open_candidate(model, contract=contract).predict(PIXELS).probability
    for uri in (f"runs:/{run}/model", "models:/chest/1", "models:/chest@approved"):
        candidate = open_candidate(uri, runs=runs)
        np.testing.assert_array_equal(candidate.predict(PIXELS).probability, expected)
        assert candidate.path.is_relative_to(runs / "fetched")
    plain = open_candidate(f"runs:/{run}/plain/vendor.onnx", contract=contract, runs=runs)
    assert plain.hash == open_candidate(model, contract=contract).hash
    assert open_candidate(f"runs:/{run}/plain", contract=contract, runs=runs).hash == plain.hash  # a folder with one model
    for uri in ("models:/chest/7", "models:/other/1", f"runs:/{run}/nothing", "runs:/0123/model"):
        with pytest.raises(MedaiError, match=rf"{uri} cannot be fetched from sqlite:") as caught:
            open_candidate(uri, runs=runs)
        assert "\n" not in str(caught.value)


def test_a_pickled_flavor_is_refused(write_model: WriteModel, tmp_path: Path) -> None:
    folder = _mlmodel(tmp_path / "model", write_model(), "python_function")
    with pytest.raises(MedaiError, match=r"of the flavor python_function, which would have to be unpickled; log it as ONNX"):
        open_candidate(folder)
    (folder / "MLmodel").write_text("flavors:\n  onnx:\n    data: ../../etc/passwd\n", encoding="utf-8")
    with pytest.raises(MedaiError, match=r"names the file '../../etc/passwd', which is not in it"):
        model_in(folder)
    (folder / "MLmodel").write_text("- a list", encoding="utf-8")
    with pytest.raises(MedaiError, match=r"does not say what it is"):
        model_in(folder)


@pytest.mark.parametrize(
    "uri", ["models:/chest", "models:/chest/Production", "models:chest/1", "runs:/", "runs:/abc", "models:/chest/1/../../x"]
)
def test_an_address_of_no_model_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match=r"is no MLflow URI that names one model; expected models:/NAME/VERSION"):
        open_candidate(uri, runs=tmp_path)


def test_without_a_store_it_says_where_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(MedaiError, match=r"there is no MLflow store in .*; set MLFLOW_TRACKING_URI"):
        open_candidate("models:/chest/1", runs=tmp_path)
    assert list(tmp_path.glob("**/mlflow.db")) == []


def test_the_builder_of_these_tests_makes_valid_models(write_model: WriteModel) -> None:
    onnx.checker.check_model(onnx.load(str(write_model())))
