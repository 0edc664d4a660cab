"""The DICOM network: a synchronous engine for the requestor's side of an association.

One thread, one socket, no reactor: `link` moves bytes within clocks, `pdu` frames them (PS3.8),
`message` encodes and reads command sets (PS3.7), `association` negotiates, and a module per
service (`echo`, `find`, `get`, `store`) speaks the messages of PS3.4.
"""
