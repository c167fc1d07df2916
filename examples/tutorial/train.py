"""Trains the guide's classifier of iris flowers and writes it beside this file, where app_modal.py takes it from."""

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

MODEL = Path(__file__).with_name("iris_model.pkl")

features, species = load_iris(return_X_y=True)
model = RandomForestClassifier(n_estimators=50, random_state=0).fit(features, species)
joblib.dump(model, MODEL)
print(f"Accuracy on the training data: {model.score(features, species):.3f}. Wrote {MODEL.name}.")
