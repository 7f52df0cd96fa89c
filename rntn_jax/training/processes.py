"""Several processes that train as one, under JAX's own distributed runtime.

Each runs the same program on devices of its own. The first one alone writes; what it has read from
a disk is what all go on with, so that they need no common file system. With one process, which is
what JAX begins with, every function here does nothing.
"""

from __future__ import annotations

import json
import signal
import threading
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from rntn_jax.training.keys import is_key

__all__ = ["agreed", "connect", "from_first", "is_first", "stop_agreed"]

Tree = TypeVar("Tree")

A_DAY = 86_400  # the first process may take long over its report, for which the others wait


def connect(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat: int = 30,
) -> None:
    """Joins the other processes; to be called before JAX is used.

    Without arguments the cluster is asked (Slurm, TPU pods, Kubernetes, Open MPI). When a process
    has died or stands still, the others are ended by JAX within ``heartbeat`` seconds or soon
    after. SIGTERM to any of them then goes to all: `stop_agreed`.

    Args:
        coordinator: ``address:port`` of the first process, where it listens.
        num_processes: how many there are.
        process_id: which of them this one is, from 0.
        heartbeat: seconds without a sign of life after which a process counts as dead.

    Raises:
        ValueError: when something is missing, and no cluster says it.
    """
    options: dict[str, Any] = {}
    if coordinator is not None:
        options = {
            "coordinator_address": coordinator,
            "num_processes": num_processes,
            "process_id": process_id,
            "cluster_detection_method": "deactivate",
        }
        if coordinator.startswith("127.0.0.1:"):
            options["coordinator_bind_address"] = coordinator  # nobody else's affair
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # JAX's runtime handles it from here on
    jax.distributed.initialize(
        **options,
        heartbeat_timeout_seconds=heartbeat,
        shutdown_timeout_seconds=A_DAY,
    )


def is_first() -> bool:
    """Whether this is the process that writes: the first, or the only one."""
    return jax.process_index() == 0


def from_first(value: Any) -> Any:
    """What the first process says; all processes must ask.

    Args:
        value: anything JSON can hold; that of the first process counts.

    Returns:
        The value.

    Example:
        >>> from_first({"epoch": 3})
        {'epoch': 3}
    """
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = text if is_first() else np.zeros(length, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text)).tobytes())


def agreed(tree: Tree) -> Tree:
    """The first process's arrays; all processes must ask, with arrays of the same shapes.

    Args:
        tree: a pytree of arrays on this process, and PRNG keys.

    Returns:
        The pytree, as NumPy arrays and keys where there are several processes.
    """
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    plain = [np.asarray(jax.random.key_data(x) if is_key(x) else x) for x in leaves]
    found = multihost_utils.broadcast_one_to_all(plain)
    found = [
        jax.random.wrap_key_data(jnp.asarray(new), impl=jax.random.key_impl(old))
        if is_key(old)
        else np.asarray(new).astype(own.dtype).reshape(own.shape)
        for new, old, own in zip(found, leaves, plain)
    ]
    return jax.tree.unflatten(structure, found)


def stop_agreed(call: int) -> bool:
    """Whether all processes are to save and to stop now, since one of them was sent SIGTERM.

    Args:
        call: a number that grows by one from call to call, the same in all processes.
    """
    return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(call)
