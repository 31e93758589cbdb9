"""TensorFlow and Keras: checkpoints with a manager that deletes the oldest, SavedModel, .keras, ModelCheckpoint, a run that goes on.

usage: job.py prepare | train | resume | keras | serve
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np
import tensorflow as tf

STEPS = 3


def prepare() -> None:
    rng = np.random.default_rng(9)
    for name in ("first", "second"):
        x = rng.normal(size=(200, 4)).astype(np.float32)
        np.savez(f"{name}.npz", x=x, y=x.sum(axis=1))
    with tf.io.TFRecordWriter("samples.tfrecord") as out:
        for row in x[:50]:
            out.write(tf.io.serialize_tensor(row).numpy())


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(name) as part:
        return part["x"], part["y"]


class Line(tf.Module):
    def __init__(self) -> None:
        self.w = tf.Variable(tf.zeros([4]))
        self.steps = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def __call__(self, x):
        return tf.linalg.matvec(x, self.w)

    def step(self, x, y) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(x) - y) ** 2)
        self.w.assign_sub(0.1 * tape.gradient(loss, self.w))
        self.steps.assign_add(1)


def fit(data: str, resume: bool) -> None:
    line = Line()
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(line=line), "checkpoints", max_to_keep=2)
    if resume:
        manager.checkpoint.restore(manager.latest_checkpoint).assert_consumed()
    x, y = load(data)
    for _ in range(STEPS):
        line.step(x, y)
        manager.save()
    if resume:
        tf.saved_model.save(line, "exported")


def train() -> None:
    fit("first.npz", False)


def resume() -> None:
    fit("second.npz", True)


def keras() -> None:
    tf.keras.utils.set_random_seed(1)
    model = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x, y = load("first.npz")
    keep = [
        tf.keras.callbacks.ModelCheckpoint("best.weights.h5", save_weights_only=True),
        tf.keras.callbacks.ModelCheckpoint("epoch-{epoch}.keras"),
    ]
    model.fit(x, y, epochs=2, verbose=0, callbacks=keep)
    model.save("model.keras")


def serve() -> None:
    line = tf.saved_model.load("exported")
    records = tf.data.TFRecordDataset("samples.tfrecord").map(lambda r: tf.io.parse_tensor(r, tf.float32)).batch(10)
    model = tf.keras.models.load_model("model.keras")
    answers = [np.stack([line(x), model(x)[:, 0]]) for x in records]
    np.save("answers.npy", np.concatenate(answers, axis=1))


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, train, resume, keras, serve)}[sys.argv[1]]()
