"""End-to-end encryption: the state of Olm and Megolm over vodozemac, room keys in and out, cross-signing.

https://spec.matrix.org/v1.16/client-server-api/#end-to-end-encryption. The only owner of vodozemac. What is remembered
is in the `Vault`; nothing of it is kept in memory, so that a transaction that fails has changed nothing.
"""
