"""Serves the iris model the traditional way: an application of its own, with its checks, its errors and its logs."""

import logging
import os
from contextlib import asynccontextmanager
from pathlib import Path

import joblib
import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"), format="%(asctime)s %(levelname)s %(name)s %(message)s")
log = logging.getLogger("iris")

MODEL_PATH = Path(os.environ.get("MODEL_PATH", Path(__file__).with_name("iris_model.pkl")))
CLASS_NAMES = ["setosa", "versicolor", "virginica"]


class Item(BaseModel):
    features: list[float] = Field(min_length=4, max_length=4, examples=[[5.1, 3.5, 1.4, 0.2]])


class Prediction(BaseModel):
    prediction: int
    class_name: str


@asynccontextmanager
async def lifespan(app: FastAPI):
    try:
        app.state.model = joblib.load(MODEL_PATH)
    except FileNotFoundError:
        log.exception("There is no model at %s. Train it, or set MODEL_PATH.", MODEL_PATH)
        raise
    log.info("loaded %s", MODEL_PATH)
    yield


app = FastAPI(title="iris-classifier", lifespan=lifespan)


@app.get("/healthz")
def healthz():
    return {"status": "ok"}


@app.get("/readyz")
def readyz(request: Request):
    if not hasattr(request.app.state, "model"):
        raise HTTPException(503, "The model is not loaded yet.")
    return {"status": "ready"}


@app.post("/predict")
async def predict(item: Item, request: Request) -> Prediction:
    features = np.array(item.features).reshape(1, -1)
    try:
        found = await run_in_threadpool(request.app.state.model.predict, features)
    except ValueError as error:
        log.warning("refused %s: %s", item.features, error)
        raise HTTPException(422, "These features cannot be classified.") from error
    return Prediction(prediction=int(found[0]), class_name=CLASS_NAMES[found[0]])
