"""Trains the model of this example and writes it to models/iris.joblib."""

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


def main() -> None:
    features, labels = load_iris(return_X_y=True)
    target = Path(__file__).with_name("models") / "iris.joblib"
    target.parent.mkdir(exist_ok=True)
    joblib.dump(LogisticRegression(max_iter=500).fit(features, labels), target)
    print(f"Wrote {target}")


if __name__ == "__main__":
    main()
