"""The program at the database: it backs up, verifies, restores, switches over and migrates databases.

It runs in the backup service's container and in one-off containers of its image. psycopg asks and decides; PostgreSQL's
own programs carry the data. Modules import downwards only, in the order: events, server, programs; then
what a workflow needs; then the workflows; `cli` last.
"""
