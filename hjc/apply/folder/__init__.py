"""Tables of any number and size: cut into parts, coded by several processes, and gone on with after a kill.

Every input becomes one output under the same name. Its rows are coded part by part (:mod:`.parts`); a finished part is
a file and a record of it, both renamed into place, under ``OUT/.hjc``. When all parts of an input are there they
become its output, which is renamed into place too, and a line of the manifest (:mod:`.manifest`). A killed command
leaves nothing else behind, so the same command goes on where it was: no row is lost, none is there twice.
"""
