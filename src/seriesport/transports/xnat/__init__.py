"""XNAT over HTTP: one session per process and server, typed listings, files proven one by one.

`session` moves requests within clocks, `paths` writes and reads paths, `catalog` lists what a
server has, `download` fetches files.
"""
