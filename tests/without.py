"""Programs that find some packages not installed."""

#: first lines of a program for which the packages named after its first argument are not there
WITHOUT = (
    "import sys\n"
    "class Hidden:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.split('.')[0] in sys.argv[2:]:\n"
    "            raise ModuleNotFoundError(name)\n"
    "sys.meta_path.insert(0, Hidden())\n"
)
