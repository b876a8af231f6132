"""faulthandler in a forked child that runs FMAs and then reads address 0: the trace must name the function, the child must die by SIGSEGV."""

import ctypes
import faulthandler
import os

import numpy as np

faulthandler.enable()


def read_nothing() -> None:
    ctypes.string_at(0)


products = np.ones((64, 64), np.float32)
products @= products
child = os.fork()
if not child:
    products @= products
    read_nothing()
    os._exit(0)
_, status = os.waitpid(child, 0)
print("signal", os.WTERMSIG(status))
print("sum", float((products @ products).sum()))
