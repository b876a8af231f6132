"""Put first on PYTHONPATH by `fase run` when a policy needs PyTorch; Python executes it at start-up.

It hands over to the user's own sitecustomize, and otherwise only waits for `import torch`. Kept to what every Python 3 can read.
"""

# mypy: ignore-errors
# No annotations: an old interpreter has to get as far as the message that it is too old.
import importlib.util
import os
import sys

_VARIABLE = "FASE_PYTHON"
_OLDEST = (3, 11)


class _Package:
    """Finds the package `fase`, and nothing else, where `fase run` found it, in case this interpreter has none."""

    def __init__(self, folder):
        self.folder = folder

    def find_spec(self, name, path=None, target=None):  # noqa: ARG002
        if name != "fase":
            return None
        return importlib.util.spec_from_file_location(name, os.path.join(self.folder, "__init__.py"), submodule_search_locations=[self.folder])  # noqa: PTH118


class _Loader:
    """The framework's own loader, and then our hooks."""

    def __init__(self, own, then):
        self.own = own
        self.then = then

    def __getattr__(self, name):
        return getattr(self.own, name)

    def create_module(self, spec):
        return self.own.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.own
        self.own.exec_module(module)
        self.then()


class _WaitForTorch:
    """First on sys.meta_path until torch is imported."""

    def find_spec(self, name, path=None, target=None):  # noqa: ARG002
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, _torch_is_here)
        return spec


def _torch_is_here():
    if sys.version_info < _OLDEST:
        sys.stderr.write("fase: error: --torch and --dynamic need Python 3.11 or newer in the program, this is %s\n" % sys.version.split()[0])  # noqa: UP031
        sys.stderr.flush()
        os._exit(2)
    from fase.integrations.startup import torch_is_here

    torch_is_here(os.environ[_VARIABLE])


def _hand_over():
    """Lets the sitecustomize run that this one stands in front of."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != here]  # noqa: PTH100
    ours = sys.modules.pop(__name__)
    try:
        if importlib.util.find_spec(__name__) is not None:
            importlib.import_module(__name__)
    finally:
        sys.modules.setdefault(__name__, ours)


if os.environ.get("FASE_PYTHON") and "FASE_PACKAGE" in os.environ:
    sys.meta_path.append(_Package(os.environ["FASE_PACKAGE"]))
    sys.meta_path.insert(0, _WaitForTorch())
_hand_over()
