"""Training steps of a small CNN in TensorFlow (oneDNN); prints the losses."""

import numpy as np
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.keras.utils.set_random_seed(3)
random = np.random.default_rng(5)
x = random.standard_normal((32, 16, 16, 3)).astype(np.float32)
y = np.arange(32) % 10
layers = tf.keras.layers
net = tf.keras.Sequential(
    [layers.Conv2D(16, 3), layers.BatchNormalization(), layers.ReLU(), layers.Conv2D(16, 3), layers.ReLU(), layers.Flatten(), layers.Dense(10)]
)
criterion = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimiser = tf.keras.optimizers.SGD(0.05)
for _ in range(5):
    with tf.GradientTape() as tape:
        value = criterion(y, net(x, training=True))
    optimiser.apply_gradients(zip(tape.gradient(value, net.trainable_variables), net.trainable_variables, strict=True))
    print("loss", float(value).hex())
