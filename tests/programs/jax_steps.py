"""Training steps of a tanh MLP in JAX (XLA's own code); prints the losses."""

import jax
import jax.numpy as jnp
import numpy as np

random = np.random.default_rng(5)
x = jnp.asarray(random.standard_normal((64, 32)), jnp.float32)
y = jnp.tanh(x[:, :4] * 2)
weights = [jnp.asarray(random.standard_normal(shape) / shape[0] ** 0.5, jnp.float32) for shape in ((32, 64), (64, 4))]


def loss(weights: list[jax.Array]) -> jax.Array:
    return jnp.mean((jnp.tanh(jnp.tanh(x @ weights[0]) @ weights[1]) - y) ** 2)


step = jax.jit(jax.value_and_grad(loss))
for _ in range(20):
    value, gradients = step(weights)
    weights = [w - 0.3 * g for w, g in zip(weights, gradients, strict=True)]
    print("loss", float(value).hex())
